"""Train one autoencoder with the one loop: build, resume, update, average, measure statistics, save."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import load_vae, load_video_vae
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.config import dump_config, settings_of
from syncflow.data.windows.decode import decoded_windows
from syncflow.data.windows.store import MANIFEST, WindowStore
from syncflow.errors import UserError
from syncflow.hashing import file_sha256, first_not_finite, tensors_sha256
from syncflow.noise import keyed_generator
from syncflow.training.autoencoder.adversarial import adversarial_engine
from syncflow.training.autoencoder.config import AutoencoderTrainConfig
from syncflow.training.autoencoder.first_weights.random_clips import random_clips
from syncflow.training.autoencoder.first_weights.temporal import initialise_temporal
from syncflow.training.autoencoder.first_weights.video_vae import initialise_video_vae
from syncflow.training.autoencoder.objective import AudioObjective, Segments, VideoObjective
from syncflow.training.autoencoder.segments import part_of_step, part_starts, segments, to_video
from syncflow.training.autoencoder.windows import training_windows
from syncflow.training.distributed import barrier, device, rank, world_size
from syncflow.training.ema import MovingAverage
from syncflow.training.engine import Engine, TorchEngine
from syncflow.training.finite import UpdateGuard
from syncflow.training.loop import Callback, train
from syncflow.training.prefetch import prefetch
from syncflow.training.progress import Progress
from syncflow.training.resume import SavedState, check_settings, latest_state
from syncflow.training.saver import Saver
from syncflow.training.schedule import adamw, learning_rate
from syncflow.training.stall import StallWatch


def train_autoencoder(
    config: AutoencoderTrainConfig,
    callbacks: Sequence[Callback] = (),
    after_save: Sequence[Callback] = (),
    *,
    lock: str = "",
) -> int:
    """Train on this worker, with those beside it; the first one saves to `config.output`. Updates done.

    A file `stop` in the folder ends training after the running step, with a state and no weights.

    Args:
        callbacks: called before the state of a step is saved.
        after_save: called after it.
        lock: id of the owner of the folder's lock, if it is locked.

    Raises:
        UserError: no clips, or a state of other settings.
    """
    torch.manual_seed(config.seed)
    vae = build_vae(config).to(device())  # type: ignore[arg-type]
    windows = _windows_of_all_workers(config)
    engine = build_engine(vae, config)
    average = MovingAverage(engine, decay=config.ema_decay)
    parts = [engine, average]
    settings = compared_settings(config, windows)
    # what is drawn from the seed follows from it
    settings["first_weights"] = tensors_sha256(vae.state_dict()) if config.initialise_from else ""
    state = latest_state(config.output / "engine")
    if state is not None:
        source = str(state.folder)
        free = () if config.optimizer.decay != "none" or part_starts(config) else ("steps",)
        allowed = (*config.allow_change, *free)
        saved = {
            "first_weights": settings["first_weights"],
            **state.manifest["settings"],
        }  # not in early states
        check_settings(saved, settings, allowed=allowed, source=source)
        if state.step > config.steps:
            raise UserError(f"steps {config.steps}: {source} is already beyond; ask for {state.step} or more")
        for part in parts:
            part.restore(state)
    start = 0 if state is None else state.step
    saver = Saver(
        config.output / "engine",
        parts,
        every=config.checkpoint_every,
        keep=2,
        settings=settings,
        resumed=state,
        wait_every=config.validate_every,  # which reads the state
        lock=lock,
    )
    with (
        saver.naming_last_state(),
        StallWatch(config.output / "stalled", minutes=config.stall_minutes) as stall,
    ):
        done = train(
            engine,
            _on_device(segments(windows, config, start_step=start, rank=rank(), world_size=world_size())),
            steps=config.steps,
            start_step=start,
            log_every=config.log_every,
            callbacks=[
                *_refit(vae, config),
                average,
                *([Progress(f"{config.kind} VAE")] if rank() == 0 else []),
                *callbacks,
                saver,
                *after_save,
                stall,
            ],
            should_stop=(config.output / "stop").exists,
            rates=lambda steps: {"samples_per_second": config.batch_size * world_size() * steps},
        )
    if rank() == 0 and done == config.steps:
        load_average(vae, saver.last_states(1)[0])
        if not config.video_objective.decoder_only:
            set_measured_statistics(vae, windows, count=config.statistics_windows)
        if bad := first_not_finite(vae.state_dict().items()):
            raise UserError(f"{config.output}: weights not written, {bad} is not finite")
        vae.to("cpu").save_pretrained(config.output)  # type: ignore[arg-type]
        dump_config(config, config.output / "resolved.yaml")
    barrier()
    return done


class RefitTemporal(Callback):
    """Before the temporal part first trains, its first weights are fitted to the 2-D part as trained by then.

    They were fitted to the untrained one. It is done after a certain step: a resumed run does the same.
    """

    def __init__(self, vae: VideoVAE, *, after: int, seed: int) -> None:
        self.vae, self.after, self.seed = vae, after, seed

    @torch.no_grad()
    def on_step(self, step: int) -> None:
        if step == self.after:
            clips = random_clips(keyed_generator(self.seed, "video_vae_refit"))
            where = self.vae.latent_mean.device
            frame_latents = self.vae.encode_frames(clips.to(where))
            self.vae.temporal.to("cpu")
            initialise_temporal(self.vae, frame_latents.cpu())
            self.vae.temporal.to(where)


def _refit(vae: AudioVAE | VideoVAE, config: AutoencoderTrainConfig) -> list[Callback]:
    starts = part_starts(config)
    if not isinstance(vae, VideoVAE) or not starts or config.initialise_from:
        return []
    after_frames = part_of_step(starts[0] - 1, config) == "frames"
    return [RefitTemporal(vae, after=starts[0], seed=config.seed)] if after_frames else []


def build_vae(config: AutoencoderTrainConfig) -> AudioVAE | VideoVAE:
    """The autoencoder that is asked for, with new weights or those of `config.initialise_from`.

    Raises:
        UserError: no weights are there, or they are of other sizes than the settings say.
    """
    if config.initialise_from:
        return _trained_before(config)
    if config.kind == "audio":
        return AudioVAE(**config.audio.model_dump())
    vae = VideoVAE(**config.video.model_dump())
    initialise_video_vae(vae, keyed_generator(config.seed, "video_vae"))
    return vae


def _trained_before(config: AutoencoderTrainConfig) -> AudioVAE | VideoVAE:
    location = config.initialise_from
    if config.kind == "audio":
        vae, wanted = load_vae(AudioVAE, Path(location)), settings_of(config.audio)
    else:
        vae, wanted = load_video_vae(location, setting="initialise_from"), settings_of(config.video)
        del wanted["shift"], wanted["scale"]  # measured, not sizes
    for name, value in wanted.items():
        found = vae.config[name]
        found = list(found) if isinstance(found, tuple) else found
        if found != value:
            raise UserError(
                f"initialise_from {location}: {name} is {found} there and {value} in {config.kind}; "
                f"set --{config.kind}.{name.replace('_', '-')} as it is there"
            )
    return vae.train()


def build_engine(vae: AudioVAE | VideoVAE, config: AutoencoderTrainConfig) -> Engine[Segments]:
    """What updates the autoencoder, which is already where it trains; with discriminators if they are on."""
    schedule = learning_rate(
        config.optimizer,
        steps=config.steps,
        fresh=part_starts(config),
        later_share=config.video_objective.later_rate,
    )
    if config.adversarial.enabled:
        assert isinstance(vae, AudioVAE), "the settings refuse discriminators of frames"
        return adversarial_engine(
            vae, config=config.adversarial, optimizer=config.optimizer, schedule=schedule, bf16=config.bf16
        )
    objective = (
        AudioObjective(vae, config.audio_objective)
        if isinstance(vae, AudioVAE)
        else VideoObjective(vae, config.video_objective)
    ).to(device())
    return TorchEngine(
        objective,
        optimizer=adamw(objective, config=config.optimizer),
        schedule=schedule,
        clip_norm=config.optimizer.clip_norm,
        bf16=config.bf16,
        guard=UpdateGuard(limit=config.optimizer.skip_not_finite),
    )


def compared_settings(config: AutoencoderTrainConfig, windows: WindowStore) -> dict[str, Any]:
    """What must be the same when a run goes on, by dotted name."""
    return settings_of(config) | {
        "global_batch": config.batch_size * config.workers,
        "windows": file_sha256(windows.folder / MANIFEST),  # other files, other segments
    }


@torch.no_grad()
def load_average(vae: AudioVAE | VideoVAE, state: SavedState) -> None:
    """Put the averaged weights of a state into the autoencoder."""
    for name, parameter in vae.named_parameters():
        parameter.copy_(state[f"ema/vae.{name}"])


@torch.no_grad()
def set_measured_statistics(vae: AudioVAE | VideoVAE, windows: WindowStore, *, count: int) -> None:
    """Measure mean and deviation of each latent channel over `count` windows, and store them in the VAE."""
    rows = np.linspace(0, len(windows) - 1, min(count, len(windows))).astype(int).tolist()
    found: list[Tensor] = []
    for row in rows:
        if isinstance(vae, AudioVAE):
            data = torch.from_numpy(windows[row][None].astype(np.float32))
        else:
            data = to_video(windows[row][None])
        moments = vae.posterior(data.to(device()))
        second = moments.mean.square() + moments.logvar.exp()  # of a draw
        channel = 2 if isinstance(vae, AudioVAE) else 1
        found.append(
            torch.stack([x.movedim(channel, -1).flatten(0, -2).mean(0) for x in (moments.mean, second)])
        )
    mean, second = torch.stack(found).mean(0)
    vae.set_statistics(mean=mean, std=(second - mean.square()).sqrt())


def _on_device(batches: Iterable[Segments]) -> Iterator[Segments]:
    """Cut ahead in a thread, and moved to where the autoencoder is."""
    for batch in prefetch(batches):
        yield replace(batch, data=batch.data.to(device()))


def _windows_of_all_workers(config: AutoencoderTrainConfig) -> WindowStore:
    """Decoded by the first worker unless they are there, then mapped by all."""
    if rank() == 0:
        decoded_windows(training_windows(config))
    barrier()
    windows = decoded_windows(training_windows(config))
    barrier()
    return windows
