from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.callbacks import PipelineCallback

from syncflow.errors import UserError
from syncflow.flow.config import GuidanceConfig, SolverConfig
from syncflow.model.dual_dit import DualDiT
from syncflow.sampling.pipeline import SyncFlowPipeline
from syncflow.sampling.prompts import PromptEncoder
from syncflow.text import TextEncoder
from syncflow.text_config import TextConfig

PROMPTS = [
    "a drumstick hits metal",
    "a stick scratches gravel, twice, slowly",
    "cloth",
    "wood is poked three times",
]
STEPS = 3


def make(pipeline: SyncFlowPipeline, prompt=None, **request):
    settings = {"num_inference_steps": STEPS, "output_type": "latent", "seed": 5}
    return pipeline(prompt, **{**settings, **request})


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_batch_of_4_equals_4_single_clips(pipeline: SyncFlowPipeline) -> None:
    together = make(pipeline, PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        alone = make(pipeline, prompt, index=[row])
        close(alone.frames[0], together.frames[row])
        close(alone.audio[0], together.audio[row])


def test_changing_audio_settings_never_changes_the_video(pipeline: SyncFlowPipeline) -> None:
    reference = make(pipeline, PROMPTS[:2]).frames
    noise = torch.randn(2, 25, 8, generator=torch.Generator().manual_seed(1))
    for request in ({"audio_guidance_scale": 2.0}, {"audio_guidance_scale": 0.0}, {"audio_latents": noise}):
        found = make(pipeline, PROMPTS[:2], **request)
        assert torch.equal(found.frames, reference)
    close(make(pipeline, PROMPTS[:2], modalities="video").frames, reference)


def test_weight_1_follows_the_prompt_alone_and_weight_0_ignores_it(pipeline: SyncFlowPipeline) -> None:
    one, other = PROMPTS[0], PROMPTS[1][: len(PROMPTS[0])]  # of one length: the null prompt takes the mask
    conditional = [make(pipeline, prompt, guidance_scale=1.0).audio for prompt in (one, other)]
    unconditional = [make(pipeline, prompt, guidance_scale=0.0).audio for prompt in (one, other)]
    assert not torch.allclose(*conditional, atol=1e-4)
    assert torch.equal(*unconditional)


@pytest.mark.parametrize("scale", [1.0, 2.0])
@pytest.mark.parametrize("video_every", [1, 2])
def test_keys_and_values_of_the_text_are_made_once_a_clip_and_change_nothing(
    pipeline: SyncFlowPipeline, monkeypatch: pytest.MonkeyPatch, scale: float, video_every: int
) -> None:
    request = {"guidance_scale": scale, "video_every": video_every}
    tower, made = pipeline.dual_dit.video_tower, []
    for block in (*tower.spatial_blocks, *tower.temporal_blocks):
        keys_values = block.cross_attention.keys_values

        def note(text, *, rotation=None, keys_values=keys_values):
            made.append(text)
            return keys_values(text, rotation=rotation)

        monkeypatch.setattr(block.cross_attention, "keys_values", note)
    kept = make(pipeline, PROMPTS[:2], **request)
    assert len(made) == 2 * tower.config.depth
    plain = DualDiT.prepare_text
    monkeypatch.setattr(DualDiT, "prepare_text", lambda model, text, **_: plain(model, text))
    anew = make(pipeline, PROMPTS[:2], **request)
    assert torch.equal(kept.frames, anew.frames) and torch.equal(kept.audio, anew.audio)


def test_guidance_as_settings_is_guidance_as_numbers(pipeline: SyncFlowPipeline) -> None:
    settings = GuidanceConfig(scale=3.0, audio_scale=1.5, start=0.2, end=0.7)
    numbers = {"guidance_scale": 3.0, "audio_guidance_scale": 1.5, "guidance_interval": (0.2, 0.7)}
    one, other = make(pipeline, PROMPTS[:1], guidance=settings), make(pipeline, PROMPTS[:1], **numbers)
    assert torch.equal(one.frames, other.frames) and torch.equal(one.audio, other.audio)


def test_video_to_sound_gives_back_the_given_video_at_t_1(pipeline: SyncFlowPipeline) -> None:
    given = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    seen = []

    def watch(_, step, t, state):
        seen.append((t, state["latents"]))
        return None

    given = given[:, :, : len(pipeline.video_vae.frame_spans(8))]
    for method in ("euler", "heun", "ab2"):
        solver = SolverConfig(steps=STEPS, method=method)
        found = make(pipeline, PROMPTS[0], video=given, solver=solver, callback_on_step_end=watch)
        assert torch.equal(found.frames, given)
    start = make(pipeline, PROMPTS[0], video=given, num_inference_steps=1).audio
    assert start.isfinite().all()
    for t, state in seen:
        if t == 1.0:
            close(state, given)


def test_the_sound_of_video_to_sound_depends_on_the_video(pipeline: SyncFlowPipeline) -> None:
    generator = torch.Generator().manual_seed(4)
    shape = (1, *pipeline.video_vae.latent_shape(pipeline.spec(height=None, width=None, num_frames=None)))
    one, other = (torch.randn(shape, generator=generator) for _ in range(2))
    sounds = [make(pipeline, PROMPTS[0], video=video).audio for video in (one, other)]
    assert not torch.allclose(*sounds, atol=1e-4)


def test_frames_may_be_given_and_need_no_prompt(pipeline: SyncFlowPipeline) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (12, 32, 48, 3), dtype=np.uint8)
    found = make(pipeline, video=frames, output_type="np", num_videos_per_prompt=2)
    assert found.frames.shape == (2, 12, 32, 48, 3) and found.frames.dtype == np.uint8
    assert found.audio.shape == (2, 36_000) and found.audio.dtype == np.float32
    assert not np.array_equal(found.audio[0], found.audio[1])
    assert np.array_equal(found.frames[0], found.frames[1])


@pytest.mark.parametrize(
    ("height", "width", "frames"),
    [(128, 128, 8), (256, 256, 4), (512, 512, 1), (96, 160, 9), (64, 32, 33), (32, 32, 160), (16, 16, 1)],
)
def test_sizes_and_lengths_from_one_checkpoint(
    pipeline: SyncFlowPipeline, height: int, width: int, frames: int
) -> None:
    found = make(
        pipeline,
        PROMPTS[0],
        height=height,
        width=width,
        num_frames=frames,
        output_type="np",
        num_inference_steps=1,
    )
    assert found.frames.shape == (1, frames, height, width, 3)
    assert found.audio.shape == (1, frames * 3000)


def test_reusing_the_video_tower_runs_it_less_often(pipeline: SyncFlowPipeline) -> None:
    calls: list[int] = []
    handle = pipeline.dual_dit.video_tower.register_forward_pre_hook(lambda *_: calls.append(1))
    exact = make(pipeline, PROMPTS[0], num_inference_steps=6)
    assert len(calls) == 6
    calls.clear()
    rough = make(pipeline, PROMPTS[0], num_inference_steps=6, video_every=2)
    handle.remove()
    assert len(calls) == 3
    assert not torch.equal(exact.frames, rough.frames)
    # the picture of 6 steps whose velocity changes at every other one is that of 3 steps
    close(rough.frames, make(pipeline, PROMPTS[0], num_inference_steps=3).frames)


def test_one_modality_alone(pipeline: SyncFlowPipeline, text_to_audio: SyncFlowPipeline) -> None:
    assert make(pipeline, PROMPTS[0], modalities="video").audio is None
    sound = make(text_to_audio, PROMPTS[0], modalities="audio")
    assert sound.frames is None and sound.audio.shape == (1, 25, 8)
    both = make(text_to_audio, PROMPTS[0])
    close(both.audio, sound.audio)


def test_the_same_seed_gives_the_same_clip_and_another_one_another(pipeline: SyncFlowPipeline) -> None:
    assert torch.equal(make(pipeline, PROMPTS[0]).audio, make(pipeline, PROMPTS[0]).audio)
    assert not torch.equal(make(pipeline, PROMPTS[0]).audio, make(pipeline, PROMPTS[0], seed=6).audio)
    generators = [torch.Generator().manual_seed(9) for _ in range(2)]
    one, other = (make(pipeline, PROMPTS[0], seed=None, generator=g).audio for g in generators)
    assert torch.equal(one, other)


def test_a_negative_prompt_changes_the_clip(pipeline: SyncFlowPipeline) -> None:
    plain, steered = (make(pipeline, PROMPTS[:2], negative_prompt=n).audio for n in (None, "silence"))
    assert not torch.allclose(plain, steered, atol=1e-4)


def test_a_callback_may_replace_the_latents(pipeline: SyncFlowPipeline) -> None:
    found = make(
        pipeline,
        PROMPTS[0],
        callback_on_step_end=lambda p, i, t, s: {"audio_latents": torch.zeros_like(s["audio_latents"])},
    )
    assert float(found.audio.abs().max()) == 0.0


class Emptied(PipelineCallback):
    """As diffusers' own callbacks are: it asks for tensors by name and is told the settings of the call."""

    tensor_inputs = ["latents"]  # noqa: RUF012

    def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
        assert callback_kwargs.keys() == {"latents"} and pipeline.num_timesteps > step_index
        return {"latents": callback_kwargs["latents"] * 0}


def test_a_callback_is_given_what_it_asks_for_as_diffusers_has_it(pipeline: SyncFlowPipeline) -> None:
    seen = []
    names = {"callback_on_step_end_tensor_inputs": ["audio_latents"]}
    make(pipeline, PROMPTS[0], callback_on_step_end=lambda p, i, t, s: seen.append(set(s)), **names)
    assert seen and all(each == {"audio_latents"} for each in seen)
    found = make(
        pipeline, PROMPTS[0], callback_on_step_end=Emptied(cutoff_step_ratio=None, cutoff_step_index=0)
    )
    assert float(found.frames.abs().max()) == 0.0 and float(found.audio.abs().max()) > 0.0
    with pytest.raises(UserError, match="callback_on_step_end_tensor_inputs: got 'prompt_embeds'"):
        make(pipeline, PROMPTS[0], callback_on_step_end_tensor_inputs=["prompt_embeds"])


def test_a_saved_pipeline_loads_offline_and_makes_the_same_clip(
    pipeline: SyncFlowPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pipeline.save_pretrained(tmp_path)
    parts = {"dual_dit", "video_vae", "audio_vae", "text_encoder", "tokenizer"}
    assert parts == {p.name for p in tmp_path.iterdir() if p.is_dir()}
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".bin", ".pt", ".pth", ".ckpt")]
    again = SyncFlowPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert again.config.num_frames == 8
    one, other = (make(p, PROMPTS[0]) for p in (pipeline, again))
    assert torch.equal(one.frames, other.frames) and torch.equal(one.audio, other.audio)


def test_prompts_are_embedded_as_the_training_sets_captions() -> None:
    config = TextConfig(location="", max_tokens=20, dtype="float32", width=32, layers=1, heads=2)
    text = TextEncoder(config)
    encoder = PromptEncoder(
        model=text.model, tokenizer=text.tokenizer, max_tokens=20, device=torch.device("cpu")
    )
    batch = encoder.encode(PROMPTS)
    for row, stored in enumerate(text.encode(PROMPTS)):
        length = len(stored)
        assert np.array_equal(batch.tokens[row, :length].numpy().astype(np.float16), stored)
        assert batch.mask[row].sum() == length and bool(batch.mask[row, :length].all())


BAD = [
    ({"prompt": ""}, "prompt 0: empty"),
    ({"prompt": ["fine", "  "]}, "prompt 1: empty"),
    ({"prompt": "x" * 5_001}, "5001 characters"),
    ({"prompt": []}, "none given"),
    ({}, "prompt: none given"),
    ({"prompt": "a", "num_inference_steps": 0}, "num_inference_steps: got 0"),
    ({"prompt": "a", "height": 100, "width": 30}, "nearest valid size is 96 x 32"),
    ({"prompt": "a", "height": 0}, "nearest valid size is 16 x 32"),
    ({"prompt": "a", "num_frames": 0}, "num_frames: got 0"),
    ({"video": np.zeros((0, 32, 32, 3), np.uint8)}, "has no frames"),
    ({"video": np.zeros((4, 32, 32, 3), np.float32)}, "expected uint8 frames"),
    ({"video": np.zeros((4, 40, 32, 3), np.uint8)}, "nearest valid size is 48 x 32"),
    ({"video": torch.zeros(1, 4, 3, 5, 5)}, "video .*expected"),
    ({"prompt": ["a", "b"], "index": [1]}, "index: 1 numbers for 2 clips"),
    ({"prompt": "a", "latents": torch.zeros(1, 4, 1, 1, 1)}, "latents .*expected"),
    ({"prompt": ["a", "b", "c"], "negative_prompt": ["a", "b"]}, "negative_prompt: 2 for 3"),
]


@pytest.mark.parametrize(("request_", "message"), BAD)
def test_a_request_that_cannot_be_met_gets_one_clear_line(
    pipeline: SyncFlowPipeline, request_: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make(pipeline, **request_)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"modalities": "sound"}, "modalities: got 'sound'; expected 'both' or 'video' or 'audio'"),
        ({"output_type": "pil"}, "output_type: got 'pil'; expected 'np' or 'pt' or 'latent'"),
        ({"guidance_scale": float("nan")}, "guidance_scale: got nan; expected a number of at least 0"),
        ({"guidance_scale": -1.0}, "guidance_scale: got -1.0"),
        ({"audio_guidance_scale": float("inf")}, "audio_guidance_scale: got inf"),
        ({"guidance_interval": (0.8, 0.2)}, "guidance_interval: got .0.8, 0.2.; expected two flow times"),
        ({"seed": 1.5}, "seed: got 1.5; expected a whole number of at least 0"),
        ({"seed": -1}, "seed: got -1"),
        ({"num_inference_steps": True}, "num_inference_steps: got True"),
        ({"seed": None, "generator": "cuda"}, "generator: got str; expected a torch.Generator"),
        ({"seed": None, "generator": [torch.Generator()] * 2}, "generator: 2 for 1 clips"),
    ],
)
def test_an_argument_that_cannot_be_met_is_one_line(
    pipeline: SyncFlowPipeline, request_: dict, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        make(pipeline, PROMPTS[0], **request_)


def test_integers_of_numpy_are_integers(pipeline: SyncFlowPipeline) -> None:
    plain = make(pipeline, PROMPTS[0], seed=3, index=[2], num_inference_steps=2)
    numpy = make(pipeline, PROMPTS[0], seed=np.int64(3), index=np.array([2]), num_inference_steps=np.int32(2))
    assert torch.equal(plain.frames, numpy.frames) and torch.equal(plain.audio, numpy.audio)


def test_a_generator_a_clip_makes_each_clip_as_it_makes_it_alone(pipeline: SyncFlowPipeline) -> None:
    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(number) for number in (7, 8)]

    together = make(pipeline, PROMPTS[:2], seed=None, generator=generators())
    for row, generator in enumerate(generators()):
        alone = make(pipeline, PROMPTS[row], seed=None, generator=generator)
        close(alone.frames[0], together.frames[row])
        close(alone.audio[0], together.audio[row])


def test_a_list_of_seeds_gives_each_clip_the_noise_of_its_own_seed(pipeline: SyncFlowPipeline) -> None:
    def latents(prompts: list[str], **request: object):
        return pipeline(prompts, num_inference_steps=1, output_type="latent", **request)

    together = latents(["wood", "metal"], seed=[7, 9], index=[0, 3])
    for place, (prompt, seed, index) in enumerate((("wood", 7, 0), ("metal", 9, 3))):
        alone = latents([prompt], seed=seed, index=[index])
        torch.testing.assert_close(together.frames[place], alone.frames[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.audio[place], alone.audio[0], atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match="seed or generator: 1 for 2 clips; give one a clip"):
        latents(["wood", "metal"], seed=[7])


@pytest.mark.parametrize("clean_video", [False, True])
def test_num_timesteps_is_the_number_of_calls_of_the_callback(
    pipeline: SyncFlowPipeline, clean_video: bool
) -> None:
    seen: list[int] = []
    pipeline(
        "wood",
        seed=0,
        num_inference_steps=2,
        clean_video=clean_video,
        output_type="latent",
        callback_on_step_end=lambda pipe, *_: seen.append(pipe.num_timesteps),
    )
    assert seen == [2 * (1 + clean_video)] * (2 * (1 + clean_video))
