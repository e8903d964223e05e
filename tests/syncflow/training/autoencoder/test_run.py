"""Whole small runs of autoencoder training: what they save, how they go on, what they refuse."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.config import VideoVAEConfig
from syncflow.autoencoders.loading import load_vae
from syncflow.autoencoders.open_sora_vae import load_open_sora_vae
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.data.windows.decode import decoded_windows
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.training.autoencoder.config import AutoencoderTrainConfig
from syncflow.training.autoencoder.objective import Segments, VideoObjective
from syncflow.training.autoencoder.run import RefitTemporal, build_engine, build_vae, train_autoencoder
from syncflow.training.autoencoder.segments import segments, to_video
from syncflow.training.autoencoder.windows import training_windows
from syncflow.training.loop import Callback
from syncflow.training.resume import saved_steps
from tests.autoencoder_case import small_config, write_clips


class Watch(Callback):
    """Keeps what is logged, and may end the run as a kill would."""

    def __init__(self, die_at: int = 0) -> None:
        self.die_at = die_at
        self.seen: dict[int, dict[str, float]] = {}

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        timed = ("_seconds", "_per_second", "data_wait_fraction")
        self.seen[step] = {name: value for name, value in metrics.items() if not name.endswith(timed)}

    def on_step(self, step: int) -> None:
        if step == self.die_at:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"))


def weights(config: AutoencoderTrainConfig) -> dict[str, torch.Tensor]:
    return load_file(config.output / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize(
    ("kind", "adversarial"), [("audio", False), ("audio", True), ("video", False)], ids=str
)
def test_a_killed_run_goes_on_to_the_same_weights_bit_for_bit(
    kind: str, adversarial: bool, clips: Path, tmp_path: Path
) -> None:
    whole, broken = (
        small_config(kind, clips=clips, output=tmp_path / name, adversarial={"enabled": adversarial})
        for name in ("whole", "broken")
    )
    unbroken, after = Watch(), Watch()
    train_autoencoder(whole, callbacks=[unbroken])
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(broken, callbacks=[Watch(die_at=5)])
    train_autoencoder(broken, callbacks=[after])
    assert list(after.seen)[-3:] == [4, 5, 6]  # all, if the state of step 3 was not whole yet
    assert {step: unbroken.seen[step] for step in after.seen} == after.seen
    expected, found = weights(whole), weights(broken)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_saved_latents_have_unit_variance(clips: Path, tmp_path: Path) -> None:
    config = small_config("audio", clips=clips, output=tmp_path / "run")
    train_autoencoder(config)
    vae = load_vae(AudioVAE, config.output)
    windows = decoded_windows(training_windows(config))
    moments = vae.encode(torch.stack([torch.from_numpy(window.astype("float32")) for window in windows]))
    second = moments.mean.square() + moments.logvar.exp()
    assert torch.allclose(moments.mean.mean((0, 1)), torch.zeros(4), atol=1e-3)
    assert torch.allclose(second.mean((0, 1)), torch.ones(4), atol=1e-2)


def test_discriminators_wait_for_their_step_and_then_train(clips: Path, tmp_path: Path) -> None:
    config = small_config(
        "audio", clips=clips, output=tmp_path, adversarial={"enabled": True, "from_step": 3}
    )
    watch = Watch()
    train_autoencoder(config, callbacks=[watch])
    assert [step for step, metrics in watch.seen.items() if "judge_loss" in metrics] == [4, 5, 6]
    assert not any(name.startswith("judge") for name in weights(config))


def test_the_parts_of_the_video_vae_train_in_their_turns(clips: Path, tmp_path: Path) -> None:
    config = small_config(
        "video",
        clips=clips,
        output=tmp_path,
        video_objective={"frames_share": 0.34, "temporal_share": 0.34},
    )
    windows = decoded_windows(training_windows(config))
    vae = build_vae(config)
    engine = build_engine(vae, config)
    changed = []
    for step, batch in enumerate(segments(windows, config, start_step=0, rank=0, world_size=1)):
        before = {name: value.clone() for name, value in engine.weights()}
        engine.step([batch], step=step)
        moved = {
            name.split(".")[1] for name, value in engine.weights() if not torch.equal(value, before[name])
        }
        changed.append((batch.part, moved))
    frames, temporal = ("frames", {"spatial"}), ("temporal", {"temporal"})
    assert changed == [*[frames] * 3, *[temporal] * 2, ("all", {"spatial", "temporal"})]


def test_what_is_seen_does_not_depend_on_the_number_of_workers(clips: Path, tmp_path: Path) -> None:
    one = small_config("audio", clips=clips, output=tmp_path, batch_size=4)
    two = small_config("audio", clips=clips, output=tmp_path, batch_size=2, workers=2)
    windows = decoded_windows(training_windows(one))
    alone = list(segments(windows, one, start_step=0, rank=0, world_size=1))
    shared = zip(
        *(segments(windows, two, start_step=0, rank=rank, world_size=2) for rank in range(2)), strict=True
    )
    for whole, halves in zip(alone, shared, strict=True):
        assert torch.equal(whole.data, torch.cat([half.data for half in halves]))


def test_going_on_sees_what_the_unbroken_run_would(clips: Path, tmp_path: Path) -> None:
    config = small_config("video", clips=clips, output=tmp_path)
    windows = decoded_windows(training_windows(config))
    whole = list(segments(windows, config, start_step=0, rank=0, world_size=1))
    later = list(segments(windows, config, start_step=4, rank=0, world_size=1))
    assert len(whole) == 6 and len(later) == 2
    assert all(
        torch.equal(x.data, y.data) and x.part == y.part for x, y in zip(whole[4:], later, strict=True)
    )


def test_another_setting_is_refused_on_going_on(clips: Path, tmp_path: Path) -> None:
    train_autoencoder(small_config("audio", clips=clips, output=tmp_path / "run"))
    other = small_config("audio", clips=clips, output=tmp_path / "run", audio_objective={"kl_weight": 1.0})
    with pytest.raises(UserError, match="begun with other settings: audio_objective"):
        train_autoencoder(other)


def test_other_first_weights_under_the_same_name_are_refused(clips: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    config = small_config("audio", clips=clips, output=tmp_path / "run", steps=3, initialise_from=str(first))
    for number in range(2):
        torch.manual_seed(number)
        AudioVAE(**config.audio.model_dump()).save_pretrained(first)
        if number == 0:
            train_autoencoder(config)
    with pytest.raises(UserError, match=r"first_weights was '\w{12}', now '\w{12}'"):
        train_autoencoder(config)


def test_more_steps_are_taken_where_the_schedule_allows_them(clips: Path, tmp_path: Path) -> None:
    constant = {"lr": 1e-3, "warmup_steps": 2, "decay": "none"}
    for steps in (2, 3):
        config = small_config(
            "audio", clips=clips, output=tmp_path / "run", steps=steps, optimizer=constant, checkpoint_every=2
        )
        assert train_autoencoder(config) == steps
    with pytest.raises(UserError, match=r"steps 2: .*step_00000003 is already beyond; ask for 3 or more"):
        train_autoencoder(config.model_copy(update={"steps": 2}))
    cosine = config.model_copy(
        update={"steps": 4, "optimizer": config.optimizer.model_copy(update={"decay": "cosine"})}
    )
    with pytest.raises(UserError, match=r"insist with --allow-change optimizer\.decay steps"):
        train_autoencoder(cosine)
    allowed = cosine.model_copy(update={"allow_change": ("optimizer.decay", "steps")})
    assert train_autoencoder(allowed) == 4


def test_a_stop_file_ends_with_a_state_and_no_weights(clips: Path, tmp_path: Path) -> None:
    config = small_config("audio", clips=clips, output=tmp_path / "run")
    config.output.mkdir()
    (config.output / "stop").touch()
    assert train_autoencoder(config) == 1
    assert [path.name for path in saved_steps(config.output / "engine")] == ["step_00000001"]
    assert not list(config.output.glob("*.safetensors"))
    (config.output / "stop").unlink()
    assert train_autoencoder(config) == 6


def test_discriminators_of_pictures_are_refused(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="discriminators of audio only"):
        small_config("video", clips=clips, output=tmp_path, adversarial={"enabled": True})


@pytest.mark.parametrize("exists", [True, False])
def test_folders_without_clips_are_refused(exists: bool, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    if exists:
        folder.mkdir()
    with pytest.raises(UserError, match="none of 0 files" if exists else "no such folder"):
        train_autoencoder(small_config("audio", clips=folder, output=tmp_path / "run"))


def test_pixels_span_minus_one_to_one() -> None:
    frames = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 2, 1, 1, 1).expand(1, 2, 4, 6, 3).numpy()
    video = to_video(frames)
    assert video.shape == (1, 3, 2, 4, 6) and video[:, :, 0].eq(-1).all() and video[:, :, 1].eq(1).all()


def test_single_frames_are_reconstructed_as_frames(clips: Path, tmp_path: Path) -> None:
    config = small_config("video", clips=clips, output=tmp_path)
    windows = decoded_windows(training_windows(config))
    batch = next(segments(windows, config, start_step=0, rank=0, world_size=1))
    losses = VideoObjective(build_vae(config), config.video_objective)(batch)  # type: ignore[arg-type]
    assert batch.part == "frames" and batch.data.shape == (2, 3, 2, 16, 16)
    assert losses.keys() == {"loss", "l1", "mse", "kl"}


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_training_may_start_from_an_autoencoder_that_was_saved(
    kind: str, clips: Path, tmp_path: Path
) -> None:
    first = build_vae(small_config(kind, clips=clips, output=tmp_path))
    first.save_pretrained(tmp_path / "saved")
    config = small_config(kind, clips=clips, output=tmp_path, initialise_from=str(tmp_path / "saved"), seed=9)
    again = build_vae(config)
    assert again.training
    assert tensors_sha256(again.state_dict()) == tensors_sha256(first.state_dict())
    sizes = {"audio": {"latent_dim": 5}, "video": {"temporal_filters": 24}}[kind]
    name = next(iter(sizes))
    with pytest.raises(UserError, match=f"{name} is .* there .* set --{kind}.{name.replace('_', '-')}"):
        build_vae(small_config(kind, clips=clips, output=tmp_path, initialise_from=config.initialise_from)
                  .model_copy(update={kind: getattr(config, kind).model_copy(update=sizes)}))  # fmt: skip


def test_the_open_sora_format_is_a_start_too(shared: Path, clips: Path, tmp_path: Path) -> None:
    golden = shared / "golden/vae_a"
    reference = load_open_sora_vae(golden)
    sizes = {name: reference.config[name] for name in VideoVAEConfig.model_fields}
    config = small_config("video", clips=clips, output=tmp_path, video=sizes, initialise_from=str(golden))
    assert tensors_sha256(build_vae(config).state_dict()) == tensors_sha256(reference.state_dict())


@pytest.mark.slow
def test_training_the_decoders_alone_leaves_every_latent_as_it_was(clips: Path, tmp_path: Path) -> None:
    first = build_vae(small_config("video", clips=clips, output=tmp_path))
    assert isinstance(first, VideoVAE)
    first.set_statistics(mean=torch.full((4,), 0.1), std=torch.full((4,), 2.0))
    first.save_pretrained(tmp_path / "saved")
    config = small_config(
        "video",
        clips=clips,
        output=tmp_path / "more",
        initialise_from=str(tmp_path / "saved"),
        video_objective={"decoder_only": True, "motion_weight": 0.5},
    )
    train_autoencoder(config)
    again = load_vae(VideoVAE, config.output)
    kept = {f"{name}." for name, module in first.named_modules() if module in first.encoders()}
    assert len(kept) == 4
    for name, tensor in first.state_dict().items():
        encodes = name.startswith(tuple(kept)) or name.startswith("latent_")
        assert torch.equal(tensor, again.state_dict()[name]) == encodes, name


def test_decoders_alone_need_an_encoder_to_keep(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set initialise_from"):
        small_config("video", clips=clips, output=tmp_path, video_objective={"decoder_only": True})


def test_the_loss_of_motion_counts_what_changes_from_frame_to_frame(clips: Path, tmp_path: Path) -> None:
    config = small_config("video", clips=clips, output=tmp_path, video_objective={"motion_weight": 2.0})
    objective = VideoObjective(build_vae(config), config.video_objective)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    clip = torch.rand(1, 3, 8, 16, 16, generator=generator) * 2 - 1
    for part in ("temporal", "all"):
        batch = Segments(data=clip, generator=torch.Generator().manual_seed(1), part=part)
        found = objective(batch)
        settings = config.video_objective.model_copy(update={"motion_weight": 0.0})
        batch = Segments(data=clip, generator=torch.Generator().manual_seed(1), part=part)
        plain = VideoObjective(objective.vae, settings)(batch)
        assert "motion" not in plain and found["motion"] > 0
        assert torch.isclose(found["loss"], plain["loss"] + 2.0 * found["motion"])


def test_the_temporal_part_is_fitted_to_the_frames_part_as_trained(clips: Path, tmp_path: Path) -> None:
    config = small_config("video", clips=clips, output=tmp_path)
    vae = build_vae(config)
    assert isinstance(vae, VideoVAE)
    refit = RefitTemporal(vae, after=3, seed=0)
    before = tensors_sha256(vae.temporal.state_dict())
    refit.on_step(3)
    fitted = tensors_sha256(vae.temporal.state_dict())
    with torch.no_grad():
        vae.spatial.quant_conv.weight[:4] = vae.spatial.quant_conv.weight[:4].flip(0)  # type: ignore[union-attr]
    refit.on_step(2)
    assert tensors_sha256(vae.temporal.state_dict()) == fitted != before
    refit.on_step(3)
    assert tensors_sha256(vae.temporal.state_dict()) != fitted
