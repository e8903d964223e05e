"""Train one autoencoder with the one loop: build, resume, update, average, measure statistics, save."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.config import dump_config
from syncflow.training.autoencoder_config import AutoencoderTrainConfig
from syncflow.training.autoencoder_data import Windows, cached_windows, segments, to_video
from syncflow.training.autoencoder_objective import AudioObjective, VideoObjective
from syncflow.training.distributed import barrier, device, rank, world_size
from syncflow.training.engine import TorchEngine
from syncflow.training.loop import Callback, train

STATE = "resume.safetensors"


class WeightAverage:
    """Exponential moving average of a module's parameters, in float32."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.shadow = {name: p.detach().float().clone() for name, p in module.named_parameters()}

    def update(self, step: int) -> None:
        """Take in the weights after update `step` (from 1); the first steps count for more."""
        weight = 1.0 - min(self.decay, step / (step + 20.0))
        for name, parameter in self.module.named_parameters():
            self.shadow[name].lerp_(parameter.detach().float(), weight)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Put the averaged weights into a module of the same class."""
        for name, parameter in module.named_parameters():
            parameter.copy_(self.shadow[name])


class Keeper(Callback):
    """Updates the average, and writes the state from which a run resumes at the same step."""

    def __init__(self, engine: TorchEngine, average: WeightAverage, config: AutoencoderTrainConfig) -> None:
        self.engine, self.average, self.config = engine, average, config
        self.path = config.output / STATE

    def on_step(self, step: int) -> None:
        self.average.update(step)
        if step % self.config.checkpoint_every == 0 and rank() == 0:
            self.save(step)

    def save(self, step: int) -> None:
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.engine.state()}
        state |= {f"average/{name}": tensor for name, tensor in self.average.shadow.items()}
        partial = self.path.with_suffix(".partial")
        save_file(state, partial, metadata={"step": str(step)})
        partial.rename(self.path)

    def load(self) -> int:
        """Restore the last state, if there is one; the number of updates that are done."""
        if not self.path.is_file():
            return 0
        state = load_file(self.path)
        average = {name: state.pop(f"average/{name}") for name in self.average.shadow}
        self.engine.restore(state)
        self.average.shadow = average
        return round(max(float(t) for name, t in state.items() if name.startswith("step/")))


def train_autoencoder(config: AutoencoderTrainConfig, callbacks: Sequence[Callback] = ()) -> None:
    """Train on this worker, with those beside it; the first one saves to `config.output`."""
    dump_config(config, config.output / "resolved.yaml")
    windows = _windows_of_all_workers(config)
    torch.manual_seed(config.seed)
    vae = build_vae(config).to(device())
    objective = (
        AudioObjective(vae, config.audio_objective)
        if isinstance(vae, AudioVAE)
        else VideoObjective(vae, config.video_objective)
    ).to(device())
    optimizer = torch.optim.AdamW(
        vae.parameters(), lr=config.learning_rate, betas=config.betas, weight_decay=0.0
    )
    engine = TorchEngine(
        objective,
        optimizer=optimizer,
        schedule=lambda step: config.learning_rate * cosine(step, config),
        clip_norm=config.clip_norm,
        bf16=config.bf16,
    )
    keeper = Keeper(engine, WeightAverage(vae, config.ema_decay), config)
    start = keeper.load()
    train(
        engine,
        segments(windows, config, start_step=start, rank=rank(), world_size=world_size()),
        steps=config.steps,
        start_step=start,
        log_every=config.log_every,
        callbacks=[keeper, *callbacks],
    )
    if rank() == 0:
        keeper.average.copy_to(vae)
        set_measured_statistics(vae, windows)
        vae.to("cpu").save_pretrained(config.output)
        keeper.path.unlink(missing_ok=True)
    barrier()


def build_vae(config: AutoencoderTrainConfig) -> AudioVAE | VideoVAE:
    """A new autoencoder of the kind that is asked for."""
    if config.kind == "audio":
        return AudioVAE(**config.audio.model_dump())
    return VideoVAE(**config.video.model_dump())


def cosine(step: int, config: AutoencoderTrainConfig) -> float:
    """Share of the peak learning rate: a rise, then half a cosine down to a hundredth."""
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    return rise * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * step / config.steps)))


@torch.no_grad()
def set_measured_statistics(vae: AudioVAE | VideoVAE, windows: Windows, *, count: int = 64) -> None:
    """Measure mean and deviation of each latent channel over `count` windows, and store them in the VAE."""
    rows = np.linspace(0, len(windows.audio) - 1, min(count, len(windows.audio))).astype(int)
    found: list[Tensor] = []
    for row in rows:
        if isinstance(vae, AudioVAE):
            data = torch.from_numpy(windows.audio[row : row + 1].astype(np.float32))
        else:
            data = to_video(windows.frames[row : row + 1])
        moments = vae.posterior(data.to(device()))
        channels = 2 if isinstance(vae, AudioVAE) else 1
        spread = moments.mean.square() + moments.logvar.exp()  # second moment of a draw
        found.append(
            torch.stack([x.movedim(channels, -1).flatten(0, -2).mean(0) for x in (moments.mean, spread)])
        )
    mean, second = torch.stack(found).mean(0)
    vae.set_statistics(mean=mean, std=(second - mean.square()).sqrt())


def _windows_of_all_workers(config: AutoencoderTrainConfig) -> Windows:
    """Decoded by the first worker, then mapped by all."""

    def load() -> Windows:
        return cached_windows(
            config.clips, spec=config.clip, per_clip=config.windows_per_clip, cache=config.output / "cache"
        )

    if rank() == 0:
        load()
    barrier()
    return load()


class ProgressLine(Callback):
    """Prints a line at each log, at the first worker."""

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        if rank() == 0:
            shown = "  ".join(f"{k} {v:.4g}" for k, v in metrics.items() if k != "data_wait_fraction")
            print(f"step {step}  {shown}", flush=True)


def weights_file(output: Path) -> Path:
    """Where `save_pretrained` put the weights."""
    return output / "diffusion_pytorch_model.safetensors"
