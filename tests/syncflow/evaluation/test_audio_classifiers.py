"""PANNs, VGGish-ish and PaSST: the originals' spectrograms, embeddings and logits; PaSST's padding."""

from pathlib import Path

import numpy as np
import pytest
import torch

from syncflow.evaluation.extractors import panns, passt, vggishish
from syncflow.evaluation.extractors.base import DecodedMedia, Refused
from syncflow.evaluation.extractors.weight_files import with_weights
from syncflow.evaluation.metrics.classes import kl_divergence
from tests.syncflow.evaluation.golden_weights import close, golden, made_weights


@pytest.mark.parametrize("variant", ["Cnn14_16k", "Cnn14_32k"])
def test_cnn14s_spectrogram_equals_the_original(shared: Path, variant: panns.PannsVariant) -> None:
    arrays, _ = golden(shared, "panns_a")
    close(panns.mel_matrix(variant), arrays[f"{variant}.mel_matrix"], tolerance=1e-5)
    audio = torch.from_numpy(arrays[f"{variant}.2s.waveform"])
    close(panns.log_mel(audio[None], variant)[0], arrays[f"{variant}.2s.log_mel"])


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["Cnn14_16k", "Cnn14_32k"])
def test_cnn14s_logits_equal_the_original(shared: Path, variant: panns.PannsVariant) -> None:
    arrays, keys = golden(shared, "panns_a")
    weights = panns.network_tensors(made_weights(keys[variant], gain=1.0, leave_out=("stft", "melW")))
    settings = panns.PannsSettings(variant=variant)
    extractor = panns.PannsExtractor(
        with_weights(panns.Cnn14, weights, source="made"), weights_sha256="x", settings=settings, device="cpu"
    )
    clip = DecodedMedia(audio=arrays[f"{variant}.2s.waveform"], sample_rate=panns.VARIANTS[variant].rate)
    found, short = extractor([clip, DecodedMedia(audio=clip.waveform[:1000], sample_rate=16_000)])
    assert not isinstance(found, Refused) and isinstance(short, Refused)
    close(found["embedding"], arrays[f"{variant}.2s.embedding_2048"])
    close(found["logits"], arrays[f"{variant}.2s.logits"])


def test_vggishishs_mel_equals_the_original(shared: Path) -> None:
    arrays, _ = golden(shared, "vggishish_a")
    close(vggishish.mel_spectrogram(arrays["2s.waveform"]), arrays["2s.mel"])


@pytest.mark.slow
def test_vggishishs_logits_equal_the_original(shared: Path) -> None:
    arrays, keys = golden(shared, "vggishish_a")
    weights = made_weights(next(iter(keys.values())), gain=2**0.5)
    extractor = vggishish.VGGishishExtractor(
        with_weights(vggishish.VGGishish, weights, source="made"),
        arrays,
        weights_sha256="x",
        settings=vggishish.VGGishishSettings(),
        device="cpu",
    )
    (found,) = extractor([DecodedMedia(audio=arrays["2s.waveform"], sample_rate=22_050)])
    assert not isinstance(found, Refused)
    close(found["logits"], arrays["2s.logits"])


def test_passts_spectrogram_equals_the_original(shared: Path) -> None:
    arrays, _ = golden(shared, "passt_a")
    close(passt.log_mel(torch.from_numpy(arrays["2s.waveform"])[None])[0], arrays["2s.log_mel"])


@pytest.mark.slow
def test_passts_logits_equal_the_original_and_padding_changes_them(shared: Path) -> None:
    """The trap: 2 s padded with zeros to 10 s are another sound to PaSST."""
    arrays, keys = golden(shared, "passt_a")
    model = with_weights(passt.Passt, made_weights(next(iter(keys.values())), gain=1.0), source="made")
    clip = DecodedMedia(audio=arrays["2s.waveform"], sample_rate=32_000)
    logits, identities = {}, []
    for case, pad_to_s in (("2s", 0.0), ("2s_zero_padded_to_10s", 10.0)):
        settings = passt.PasstSettings(pad_to_s=pad_to_s)
        extractor = passt.PasstExtractor(model, weights_sha256="x", settings=settings, device="cpu")
        (found,) = extractor([clip])
        assert not isinstance(found, Refused)
        close(found["logits"], arrays[f"{case}.logits"])
        close(found["embedding"], arrays[f"{case}.embedding_768"])
        logits[case] = found["logits"][None]
        identities.append(extractor.identity)
    assert kl_divergence(logits["2s"], logits["2s_zero_padded_to_10s"])[0] > 1.0
    assert identities[0] != identities[1]
    (long,) = extractor([DecodedMedia(audio=np.zeros(11 * 32_000, np.float32), sample_rate=32_000)])
    assert isinstance(long, Refused)
