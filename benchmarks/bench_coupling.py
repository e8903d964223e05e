"""Mini-batch coupling against torchcfm's exact plan: time to pair, and the share of the data kept.

torchcfm and POT are needed for this alone; they go into a folder of their own, beside what is installed:

    pip install --no-deps --target FOLDER torchcfm==1.0.7 POT==0.9.7.post1
    PYTHONPATH=FOLDER python benchmarks/bench_coupling.py
"""

import torch
from pydantic import Field
from timing import medians

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config
from syncflow.errors import UserError
from syncflow.flow.config import CouplingConfig
from syncflow.flow.coupling import assign, squared_distances
from syncflow.records import AVLatents


class BenchConfig(Config):
    """Sizes of the bench; the latents are by default the paper's, of a 2 s clip at 256 x 256."""

    batches: tuple[int, ...] = (16, 128, 512)
    """Samples of a mini-batch."""
    video: tuple[int, int, int, int] = (4, 9, 32, 32)
    """Channels, latent frames, rows and columns of a video latent."""
    audio: tuple[int, int] = (100, 128)
    """Audio latents and their width."""
    repeats: int = Field(default=7, ge=1)
    """Rounds; each times every rival once."""
    samples: int = Field(default=512, ge=1)
    """Samples that a rival pairs before it is the other's turn, mini-batch after mini-batch of the same ones;
    with 1 it pairs one mini-batch, and the other has emptied the caches before."""


def main() -> None:
    bench = parse_arguments(BenchConfig, description=__doc__ or "")
    try:
        from torchcfm.optimal_transport import OTPlanSampler
    except ImportError as error:
        raise UserError(
            f"{error.name}: not installed; `pip install --no-deps --target FOLDER torchcfm==1.0.7 "
            "POT==0.9.7.post1`, and FOLDER into PYTHONPATH"
        ) from None
    plan, config = OTPlanSampler("exact"), CouplingConfig()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {bench}")
    print(
        f"{'batch':>5} {'ours, ms':>9} {'torchcfm, ms':>13} {'ratio':>6} {'kept, %':>8} {'torchcfm, %':>12}"
    )
    for batch in bench.batches:
        generator = torch.Generator().manual_seed(batch)
        noise, data = (
            AVLatents(
                video=torch.randn(batch, *bench.video, generator=generator),
                audio=torch.randn(batch, *bench.audio, generator=generator),
            )
            for _ in range(2)
        )
        x_0, x_1 = (torch.cat((x.video.flatten(1), x.audio.flatten(1)), dim=1) for x in (noise, data))
        kept: dict[str, float] = {}
        calls = max(1, bench.samples // batch)

        def ours(noise=noise, data=data, kept=kept, calls=calls) -> None:
            for _ in range(calls):
                found = assign(squared_distances(noise, data, config=config), config=config).permutation
            kept["ours"] = len(set(found.tolist())) / len(found)

        def theirs(x_0=x_0, x_1=x_1, kept=kept, calls=calls) -> None:
            for _ in range(calls):
                _, taken = plan.sample_map(plan.get_map(x_0, x_1), len(x_1))
            kept["theirs"] = len(set(taken.tolist())) / len(x_1)

        seconds = medians({"ours": ours, "theirs": theirs}, repeats=bench.repeats, device="cpu")
        ours_s, theirs_s = (seconds[rival] / calls for rival in ("ours", "theirs"))
        shares = f"{100 * kept['ours']:8.0f} {100 * kept['theirs']:12.0f}"
        print(f"{batch:5} {1e3 * ours_s:9.2f} {1e3 * theirs_s:13.2f} {theirs_s / ours_s:6.2f} {shares}")


if __name__ == "__main__":
    run(main)
