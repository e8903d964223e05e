"""Training a decoder against discriminators: two optimizers behind one engine, so the loop stays one.

The losses and weights are those of EnCodec's public recipe (arXiv:2210.13438, Section 3.4): waveform L1,
multi-scale mel, adversarial and feature matching, balanced by their gradients at the reconstruction; the KL
term stands outside the balance.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.training.autoencoder.adversarial_config import AdversarialConfig
from syncflow.training.autoencoder.balancer import Balancer
from syncflow.training.autoencoder.discriminator import (
    MultiScaleDiscriminator,
    adversarial_loss,
    discriminator_loss,
    feature_matching_loss,
)
from syncflow.training.autoencoder.losses import MultiScaleMelLoss
from syncflow.training.autoencoder.objective import Segments
from syncflow.training.distributed import all_sum, world_size
from syncflow.training.engine import Schedule, TorchEngine
from syncflow.training.engine_config import OptimizerConfig
from syncflow.training.finite import Metrics, UpdateGuard
from syncflow.training.schedule import adamw

RECONSTRUCTION = ("l1", "mel")
AGAINST = ("adversarial", "feature_matching")
JUDGE = "judge/"  # prefix of the discriminators' state


class BalancedObjective(nn.Module):
    """The autoencoder's side. `loss` is the weighted mean of the losses; its gradient is the balanced one.

    Before the discriminators count (`judged`), L1 and mel share the whole. In evaluation mode they are all.
    """

    def __init__(self, vae: AudioVAE, config: AdversarialConfig, judge: MultiScaleDiscriminator) -> None:
        super().__init__()
        self.vae, self.judge, self.settings = vae, judge, config
        self.mel = MultiScaleMelLoss(sample_rate=vae.sample_rate)
        self.balancer = Balancer((*RECONSTRUCTION, *AGAINST), worker_mean=_worker_mean)
        self.judged = False
        self.last: list[tuple[Tensor, Tensor]] = []  # (real, made) of the step, for the discriminators

    def forward(self, batch: Segments) -> dict[str, Tensor]:
        made, posterior = self.vae(batch.data, batch.generator)
        at = made.detach().requires_grad_(self.training)
        losses, weights = self._losses(at, batch.data), self._weights()
        values = {name: loss.detach() for name, loss in losses.items()}
        kl = posterior.kl().mean()
        shared = sum(weights[name] * value for name, value in values.items())
        total = shared / sum(weights[name] for name in values) + self.settings.kl_weight * kl
        if self.training:
            self.last.append((batch.data, at.detach()))
            balanced = (made * self.balancer.gradient(losses, weights, at)).sum() / len(made)
            total = total + balanced - balanced.detach()  # its gradient, not its number
        return {"loss": total, **values, "kl": kl}

    def _losses(self, made: Tensor, real: Tensor) -> dict[str, Tensor]:
        losses = {"l1": (made - real).abs().mean(), "mel": self.mel(made, real)}
        if self.judged and self.training:
            with torch.no_grad():
                of_real = self.judge(real)
            of_made = self.judge(made)
            losses["adversarial"] = adversarial_loss(of_made)
            losses["feature_matching"] = feature_matching_loss(of_real, of_made)
        return losses

    def _weights(self) -> dict[str, float]:
        s = self.settings
        return {
            "l1": s.l1_weight,
            "mel": s.mel_weight,
            "adversarial": s.adversarial_weight,
            "feature_matching": s.feature_weight,
        }


class JudgeObjective(nn.Module):
    """The discriminators' side, on `(real, made)` waveforms `b m`."""

    def __init__(self, judge: MultiScaleDiscriminator) -> None:
        super().__init__()
        self.judge = judge

    def forward(self, pair: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        real, made = pair
        return {"loss": discriminator_loss(self.judge(real), self.judge(made))}


class AdversarialEngine:
    """An `Engine` of two: an update of the autoencoder, then one of the discriminators on what it made.

    Args:
        objective: the autoencoder's side.
        engines: of the autoencoder and of the discriminators.
        judged_from: step from which the discriminators train and count.
    """

    def __init__(
        self,
        objective: BalancedObjective,
        *,
        engines: tuple[TorchEngine[Segments], TorchEngine[tuple[Tensor, Tensor]]],
        judged_from: int,
    ) -> None:
        self.objective, self.judged_from = objective, judged_from
        self.maker, self.judge = engines

    def step(self, batches: Sequence[Segments], *, step: int) -> Metrics:
        self.objective.judged = step >= self.judged_from
        self.objective.last = []
        metrics = self.maker.step(batches, step=step)
        if self.objective.judged:
            judged = self.judge.step(self.objective.last, step=step)
            metrics |= {"judge_loss": judged["loss"], "judge_gradient_norm": judged["gradient_norm"]}
        return metrics

    def evaluate(self, batch: Segments) -> Metrics:
        return self.maker.evaluate(batch)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """The autoencoder's alone: they are what is averaged and handed over."""
        return self.maker.weights()

    def lend(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        self.maker.lend(weights)

    def state(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.maker.state()
        for name, value in self.judge.state():
            yield JUDGE + name, value
        for name, value in self.objective.balancer.named_buffers():
            yield f"balancer/{name}", value

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.maker.restore(state)
        self.judge.restore(
            {name.removeprefix(JUDGE): state[name] for name in state if name.startswith(JUDGE)}
        )
        for name, value in self.objective.balancer.named_buffers():
            value.copy_(state[f"balancer/{name}"])


def adversarial_engine(
    vae: AudioVAE, *, config: AdversarialConfig, optimizer: OptimizerConfig, schedule: Schedule, bf16: bool
) -> AdversarialEngine:
    """The engine of an audio VAE and of new discriminators, on the VAE's device and one schedule."""
    judge = MultiScaleDiscriminator(windows=config.windows, filters=config.filters)
    objective = BalancedObjective(vae, config, judge).to(next(vae.parameters()).device)
    maker = TorchEngine[Segments](
        objective,
        optimizer=adamw(vae, config=optimizer),
        schedule=schedule,
        clip_norm=optimizer.clip_norm,
        bf16=bf16,
        guard=UpdateGuard(limit=optimizer.skip_not_finite),
    )
    against = TorchEngine[tuple[Tensor, Tensor]](
        JudgeObjective(judge),
        optimizer=adamw(judge, config=optimizer),
        schedule=schedule,
        clip_norm=optimizer.clip_norm,
        bf16=bf16,
        guard=UpdateGuard(limit=optimizer.skip_not_finite, what="the discriminators'"),
    )
    return AdversarialEngine(objective, engines=(maker, against), judged_from=config.from_step)


def _worker_mean(tensor: Tensor) -> Tensor:
    return all_sum(tensor).div_(world_size())
