"""CLAP: the originals' spectrograms and embeddings, laion's file by its own names, and its traps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from syncflow.errors import UserError
from syncflow.evaluation.extractors import clap
from syncflow.evaluation.extractors.base import DecodedMedia, Refused
from syncflow.evaluation.extractors.waveforms import resample
from syncflow.evaluation.extractors.weight_files import MissingWeightsError
from tests.syncflow.evaluation.golden_weights import close, golden, made_weights

CASES = ("two_seconds", "three_seconds")


@pytest.mark.parametrize("case", CASES)
def test_the_front_end_equals_the_original_fused_and_not(shared: Path, case: str) -> None:
    arrays, _ = golden(shared, "clap_a")
    waveform = clap.rounded_to_int16(arrays[f"{case}.waveform"])  # the original's path for files
    for fused, name in ((False, "unfused"), (True, "fusion")):
        mel = clap.log_mel(waveform, clap.feature_extractor(fused=fused))
        assert len(mel) == (4 if fused else 1)
        theirs = arrays[f"{case}.log_mel_{name}"]
        heard = theirs > theirs.max() - 80  # below, float32 noise of digital silence
        close(mel[0].numpy() * heard, theirs * heard)


def test_transformers_own_lowest_frequency_is_wrong_for_the_models(shared: Path) -> None:
    """The trap: a front end that starts at 0 Hz is up to 25 dB off."""
    from transformers import ClapFeatureExtractor

    arrays, _ = golden(shared, "clap_a")
    plain = ClapFeatureExtractor(truncation="rand_trunc")
    assert plain.frequency_min == 0
    mel = clap.log_mel(arrays["two_seconds.waveform"], plain)[0].numpy()
    assert np.abs(mel - arrays["two_seconds.log_mel_unfused"]).max() > 10


def golden_model(shared: Path) -> Any:
    _, keys = golden(shared, "clap_a")
    sizes = json.loads((shared / "golden/clap_a/config.json").read_text())["roberta"]
    weights = made_weights(keys["original"], gain=1.0, leave_out=tuple(keys["not_filled"]))
    scales = {f"logit_scale_{side}": torch.zeros(()) for side in "at"}
    config = clap.laion_config(fused=False, base=False, **sizes)
    return clap.with_clap_weights(config, {**weights, **scales}, source="made")


@pytest.mark.slow
def test_embeddings_equal_the_original_with_laions_names(shared: Path) -> None:
    arrays, _ = golden(shared, "clap_a")
    weights = golden_model(shared)
    plain, rounded = (
        clap.Clap(
            weights,
            None,
            weights_sha256="x",
            settings=clap.ClapSettings(round_to_int16=round_to_int16),
            device="cpu",
        )
        for round_to_int16 in (False, True)
    )
    for case in CASES:
        clip = DecodedMedia(audio=arrays[f"{case}.waveform"], sample_rate=48_000)
        for model, name in ((plain, "audio_embedding_no_int16"), (rounded, "audio_embedding")):
            (found,) = clap.ClapAudio(model)([clip])
            assert not isinstance(found, Refused)
            close(found["embedding"][None], arrays[f"{case}.{name}"])
    assert rounded.identity != plain.identity
    tokens, mask = (torch.from_numpy(arrays[f"text.{n}"]) for n in ("input_ids", "attention_mask"))
    close(plain.embed_tokens(tokens, mask), arrays["text_embedding"])


def laion_names(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """transformers' names as laion_clap's files have them: queries, keys and values in one tensor."""
    found: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        own = name.startswith("audio_model.") and ".attention.self." in name
        if name.endswith(clap.COMPUTED) or (own and ".query." not in name and ".relative" not in name):
            continue
        if own and ".query." in name:
            parts = [tensors[name.replace(".query.", f".{part}.")] for part in ("query", "key", "value")]
            name, tensor = name.replace(".attention.self.query.", ".attn.qkv."), torch.cat(parts)
        found[_laion(name)] = tensor
    return found


def _laion(name: str) -> str:
    for side in ("text", "audio"):
        for number, layer in ((0, "linear1"), (2, "linear2")):
            name = name.replace(f"{side}_projection.{layer}.", f"{side}_projection.{number}.")
    name = name.replace("text_model.", "text_branch.", 1)
    if not name.startswith("audio_model."):
        return name
    for ours, theirs in (
        ("audio_model.audio_encoder.", "audio_branch."),
        ("batch_norm.", "bn0."),
        (".layernorm_before.", ".norm1."),
        (".layernorm_after.", ".norm2."),
        (".attention.output.dense.", ".attn.proj."),
        (".attention.self.", ".attn."),
        (".intermediate.dense.", ".mlp.fc1."),
        (".output.dense.", ".mlp.fc2."),
    ):
        name = name.replace(ours, theirs)
    return name


def test_a_fused_files_embedding_is_that_of_transformers_own_class() -> None:
    """With laion's names, the weights of fusion among them, and transformers' own front end."""
    from transformers import ClapFeatureExtractor, ClapModel

    torch.manual_seed(0)
    text = {"vocab_size": 20, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = clap.laion_config(fused=True, base=False, **text, intermediate_size=32)
    config.audio_config.depths = [1, 1, 1, 1]  # of HTSAT's four groups
    original = ClapModel(config).eval()
    tensors = laion_names(original.state_dict())
    assert any("fusion_model.local_att" in name for name in tensors)
    model = clap.with_clap_weights(config, tensors, source="made")
    settings = clap.ClapSettings(checkpoint="630k-audioset-fusion-best")
    ours = clap.ClapAudio(clap.Clap(model, None, weights_sha256="x", settings=settings, device="cpu"))
    front = ClapFeatureExtractor(frequency_min=50, truncation="fusion")
    for seconds in (2, 3.125):
        sound = np.random.default_rng(0).normal(0, 0.1, round(seconds * 48_000)).astype(np.float32)
        given = front(sound, sampling_rate=48_000, return_tensors="pt")
        assert given["is_longer"].tolist() == [[True]]  # of one clip alone; of a batch it is a random one
        with torch.inference_mode():
            theirs = original.get_audio_features(**given).pooler_output
        (found,) = ours([DecodedMedia(audio=sound, sample_rate=48_000)])
        assert not isinstance(found, Refused)
        close(found["embedding"][None], theirs.numpy(), tolerance=1e-6)
    del tensors["audio_branch.patch_embed.mel_conv2d.weight"]
    with pytest.raises(UserError, match="not this CLAP's weights"):
        clap.with_clap_weights(config, tensors, source="an unfused file")


def test_a_resampled_clip_must_be_cut_to_its_window() -> None:
    """The trap: one sample over 2 s gives four repeats and 2 s of zeros where 2 s give five."""
    sound = np.random.default_rng(0).normal(0, 0.1, 96_001).astype(np.float32)
    front = clap.feature_extractor(fused=False)
    exact, over = clap.log_mel(sound[:96_000], front)[0], clap.log_mel(sound, front)[0]
    assert float(exact[900:].amax()) > -60 and float(over[900:].amax()) < -90
    assert len(resample(sound[:88_200], 44_100, 48_000, "sinc")) == 96_000


def test_another_models_file_is_refused_and_a_missing_one_named(tmp_path: Path) -> None:
    config = clap.laion_config(fused=False, base=False, vocab_size=10, num_hidden_layers=1)
    with pytest.raises(UserError, match="not this CLAP's weights"):
        clap.with_clap_weights(config, {"audio_branch.bn0.weight": torch.zeros(64)}, source="x.pt")
    with pytest.raises(MissingWeightsError, match=r"clap-htsat-unfused/ \(614 MB, Apache-2.0\)"):
        clap.Clap.load(tmp_path)
