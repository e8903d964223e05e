import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GitForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from preprocessing.caption import ModelCaptionStep, SourceCaptionStep, build_caption_step, captioner_weights
from preprocessing.config import CaptionConfig
from preprocessing.git_captioner import GitCaptioner
from preprocessing.load_encoders import load_encoders
from preprocessing.recipe import make_recipe
from syncflow.errors import UserError
from syncflow.records import CaptionedClip, ClipRef, DecodedClip, DecodedWindow, Dropped
from tests.precompute_case import job, write_weights
from tests.tiny_git import tiny_git


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
def git(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GIT for video of random weights, as a folder."""
    folder = tmp_path_factory.mktemp("git")
    torch.manual_seed(0)
    model, tokenizer = tiny_git()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


VISION = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>"]


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3-VL of random weights with a tokenizer of letters, as a folder."""
    folder = tmp_path_factory.mktemp("qwen")
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *VISION]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE({word: n for n, word in enumerate([*letters, *special])}, []))
    words.pre_tokenizer, words.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    words.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<|im_end|>", pad_token=special[0])
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in zip("sieV", VISION, strict=True)}
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]},
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_heads": 2,
            "patch_size": 4,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        vision_start_token_id=ids["s"],
        image_token_id=ids["i"],
        vision_end_token_id=ids["e"],
        video_token_id=ids["V"],
    )
    torch.manual_seed(0)
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, size={"shortest_edge": 64, "longest_edge": 4096}
    ).save_pretrained(folder)
    return folder


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


@pytest.mark.parametrize("kind", ["git", "qwen3-vl"])
def test_a_model_captions_each_window_whatever_the_batch(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind.split("3")[0])
    clips = [clip("a", windows=2), clip("bb"), clip("ccc", windows=3)]
    written = []
    for batch in (1, 4):
        config = CaptionConfig(
            kind=kind, model=str(folder), max_tokens=5, frames=3, batch=batch, fallback="nothing said"
        )
        results = build_caption_step(config, device="cpu")(clips)
        assert all(isinstance(result, CaptionedClip) for result in results)
        written.append([result.captions for result in results])
    assert written[0] == written[1]
    assert [len(captions) for captions in written[0]] == [2, 1, 3]


def test_qwen_is_shown_every_frame_in_order_and_asked_the_prompt(qwen: Path) -> None:
    config = CaptionConfig(kind="qwen3-vl", model=str(qwen), frames=3, max_tokens=3, prompt="What is it?")
    step = build_caption_step(config, device="cpu")
    assert isinstance(step, ModelCaptionStep)
    captioner, seen = step.captioner, {}
    generate = captioner.model.generate

    def spy(**inputs):
        seen.update(inputs)
        return generate(**inputs)

    captioner.model.generate = spy
    step([clip("a")])
    text = captioner.tokenizer.decode(seen["input_ids"][0])
    shown = "<|vision_start|>" + 15 * "<|image_pad|>" + "<|vision_end|>"  # 24 x 40 pixels, places of 8 x 8
    assert text == f"<|im_start|>user\n{3 * shown}What is it?<|im_end|>\n<|im_start|>assistant\n"
    assert seen["image_grid_thw"].tolist() == 3 * [[1, 6, 10]]
    alone = captioner.images.preprocess([clip("a").windows[0].frames[-1]], return_tensors="pt")
    assert torch.equal(seen["pixel_values"][-60:], alone["pixel_values"]), "the last frame comes last"


def test_a_caption_of_the_whole_clip_is_written_once_and_serves_all_windows() -> None:
    config = CaptionConfig(kind="git", span="clip", frames=2)
    looked = []

    def captioner(pictures: list[np.ndarray]) -> list[str]:
        looked.extend(pictures)
        return [f"a  clip of brightness {int(frames.mean())}" for frames in pictures]

    overviews = [np.full((2, 24, 40, 3), brightness, np.uint8) for brightness in (7, 9)]
    clips = [
        dataclasses.replace(clip(name, windows=3), overview=overview)
        for name, overview in zip("ab", overviews, strict=True)
    ]
    first, second = ModelCaptionStep(config, captioner)(clips)
    assert len(looked) == 2 and np.array_equal(looked[0], overviews[0])
    assert isinstance(first, CaptionedClip) and isinstance(second, CaptionedClip)
    assert first.captions == ("a clip of brightness 7",) * 3
    assert second.captions == ("a clip of brightness 9",) * 3


def test_a_model_that_writes_nothing_is_a_rejected_clip_or_the_fallback() -> None:
    (dropped,) = ModelCaptionStep(CaptionConfig(kind="git"), lambda pictures: ["  "])([clip("a")])
    assert isinstance(dropped, Dropped) and (dropped.kind, dropped.reason) == ("rejected", "no_caption")
    told = CaptionConfig(kind="git", fallback="a video")
    (kept,) = ModelCaptionStep(told, lambda pictures: [""])([clip("a")])
    assert isinstance(kept, CaptionedClip) and (kept.captions, kept.caption_source) == (
        ("a video",),
        "fallback",
    )


def test_git_sees_a_square_of_normalised_frames(git: Path) -> None:
    step = build_caption_step(CaptionConfig(kind="git", model=str(git)), device="cpu")
    assert isinstance(step, ModelCaptionStep) and isinstance(step.captioner, GitCaptioner)
    white = step.captioner._pixels(np.full((6, 24, 40, 3), 255, np.uint8))
    assert white.shape == (6, 3, 16, 16)
    assert torch.allclose(white[:, 0], torch.tensor((1 - 0.48145466) / 0.26862954), atol=1e-4)


@pytest.mark.parametrize("kind", ["git", "qwen3-vl"])
def test_a_model_that_is_not_there_is_named(kind: str, tmp_path: Path) -> None:
    config = CaptionConfig(kind=kind, model=str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"caption\.model .*none'"):
        build_caption_step(config, device="cpu")


def test_git_that_takes_fewer_frames_is_refused(git: Path) -> None:
    with pytest.raises(UserError, match=r"takes 6 frames, caption\.frames is 7"):
        build_caption_step(CaptionConfig(kind="git", model=str(git), frames=7), device="cpu")


def test_the_weights_of_a_captioning_model_are_part_of_a_recipe(git: Path, tmp_path: Path) -> None:
    write_weights(tmp_path)
    copy = Path(shutil.copytree(git, tmp_path / "git"))

    def parts(**caption: object) -> dict[str, object]:
        config = job(tmp_path, tmp_path, tmp_path / "out", caption=caption)
        weights = captioner_weights(config.caption)
        return make_recipe(config, load_encoders(config.encode), captioner=weights).parts

    before = parts(kind="git", model=str(git))
    name = "weights of caption.model"
    assert parts(kind="git", model=str(copy))[name] == before[name]
    model = GitForCausalLM.from_pretrained(copy)
    torch.nn.init.ones_(model.get_output_embeddings().weight)
    model.save_pretrained(copy)
    assert parts(kind="git", model=str(copy))[name] != before[name]
    assert name not in parts(kind="label", model=str(git))
    with pytest.raises(UserError, match=r"caption\.model '.*absent': cannot be loaded"):
        parts(kind="git", model=str(tmp_path / "absent"))
