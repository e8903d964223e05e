from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ByT5Tokenizer, GitConfig, GitForCausalLM

from preprocessing.caption import GitCaptionStep, SourceCaptionStep, build_caption_step, load_git
from preprocessing.config import CaptionConfig
from syncflow.errors import UserError
from syncflow.records import CaptionedClip, ClipRef, DecodedClip, DecodedWindow, Dropped


def clip(name: str, *, windows: int = 1, **source: str | tuple[str, ...]) -> DecodedClip:
    draw = np.random.default_rng(len(name))
    made = [
        DecodedWindow(
            index=k,
            start_s=0.0,
            frames=draw.integers(0, 255, (8, 24, 40, 3), dtype=np.uint8),
            audio=np.zeros(10, np.float32),
        )
        for k in range(windows)
    ]
    ref = ClipRef(dataset="set", clip_id=name, path=Path("/x"), **source)  # type: ignore[arg-type]
    return DecodedClip(ref=ref, source_sha256="s", windows=tuple(made), scores=({},) * windows)


@pytest.fixture(scope="module")
def git() -> tuple[GitForCausalLM, ByT5Tokenizer]:
    tokenizer = ByT5Tokenizer(extra_ids=0)
    config = GitConfig(
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 16,
            "patch_size": 8,
        },
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_image_with_embedding=6,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    return GitForCausalLM(config), tokenizer


def test_caption_of_the_source_serves_every_window() -> None:
    step = SourceCaptionStep(CaptionConfig(kind="label"))
    (result,) = step([clip("a", label="  a dog\n barks ", caption="a cat", windows=3)])
    assert isinstance(result, CaptionedClip)
    assert result.captions == ("a dog barks",) * 3 and result.caption_source == "label"


def test_caption_of_a_window_outranks_that_of_the_clip_and_that_its_label() -> None:
    step = SourceCaptionStep(CaptionConfig(kind="manifest"))
    of_windows, of_clip, by_label = step(
        [
            clip("a", label="dog", caption="a dog", window_captions=("", "it barks"), windows=3),
            clip("b", label="dog", caption="a dog"),
            clip("c", label="dog"),
        ]
    )
    assert isinstance(of_windows, CaptionedClip) and isinstance(of_clip, CaptionedClip)
    assert of_windows.captions == ("a dog", "it barks", "a dog")
    assert (of_clip.captions, of_clip.caption_source) == (("a dog",), "manifest")
    assert isinstance(by_label, CaptionedClip)
    assert (by_label.captions, by_label.caption_source) == (("dog",), "label")


def test_clip_without_a_caption_is_rejected_or_falls_back() -> None:
    (dropped,) = SourceCaptionStep(CaptionConfig(kind="manifest"))([clip("a")])
    assert isinstance(dropped, Dropped) and (dropped.kind, dropped.reason) == ("rejected", "no_caption")
    (kept,) = SourceCaptionStep(CaptionConfig(kind="manifest", fallback="a video"))([clip("a")])
    assert isinstance(kept, CaptionedClip)
    assert kept.captions == ("a video",) and kept.caption_source == "fallback"


def test_git_captions_each_window_whatever_the_batch(git) -> None:
    clips = [clip("a", windows=2), clip("bb"), clip("ccc", windows=3)]
    written = []
    for batch in (1, 4):
        config = CaptionConfig(kind="git", max_tokens=5, batch=batch)
        step = GitCaptionStep(config, model=git[0], tokenizer=git[1])
        written.append([result.captions for result in step(clips)])
    assert written[0] == written[1]
    assert [len(captions) for captions in written[0]] == [2, 1, 3]


def test_git_sees_a_square_of_normalised_frames(git) -> None:
    step = GitCaptionStep(CaptionConfig(kind="git"), model=git[0], tokenizer=git[1])
    assert step._pixels(np.full((8, 24, 40, 3), 255, np.uint8)).shape == (6, 3, 16, 16)
    white = step._pixels(np.full((8, 24, 40, 3), 255, np.uint8))
    assert torch.allclose(white[:, 0], torch.tensor((1 - 0.48145466) / 0.26862954), atol=1e-4)


def test_git_comes_from_a_folder_and_a_missing_one_is_named(git, tmp_path: Path) -> None:
    git[0].save_pretrained(tmp_path)
    git[1].save_pretrained(tmp_path)
    model, _ = load_git(str(tmp_path))
    assert torch.equal(next(model.parameters()), next(git[0].parameters()))
    config = CaptionConfig(kind="git", model=str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"caption\.model .*none'"):
        build_caption_step(config, device="cpu")
