"""The pooled adaptor: one vector a clip, whatever the time; it trains as the other one does."""

import torch

from syncflow.model.adaptor import AttentionAdaptor, PooledAdaptor
from syncflow.model.attention import rotary_frequencies, rotation
from tests.syncflow.model.conftest import build, latents, prompts, randomise, settings


def test_every_token_of_a_clip_is_the_same_vector_the_mean_of_the_features():
    adaptors = [kind(16, out=12, num_heads=2, tokens=3) for kind in (AttentionAdaptor, PooledAdaptor)]
    for adaptor in adaptors:
        randomise(adaptor)
    features = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    positions = rotation(torch.arange(5.0), rotary_frequencies(8))
    plain, pooled = (adaptor(features, positions) for adaptor in adaptors)
    assert pooled.shape == plain.shape == (2, 15, 12)
    torch.testing.assert_close(pooled, plain.mean(1, keepdim=True).expand_as(plain))


def test_a_model_with_it_trains_its_adaptors(tools):
    model = build(settings(adaptor="pooled"))
    text, t = prompts(), torch.tensor([0.2, 0.7])
    found = model(latents(), t, text, **tools.size, frame_times=tools.times)
    found.audio.square().mean().backward()
    gradients = [parameter.grad for parameter in model.adaptors.parameters()]
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
