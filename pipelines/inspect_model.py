"""Show what a model is and costs: parts, shapes, FLOPs a sample for each stage, states by ZeRO stage."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.model.config import InspectConfig


def main() -> None:
    config = parse_arguments(InspectConfig, description=__doc__ or "")

    from rich.console import Console
    from rich.table import Table

    from syncflow.model import cost
    from syncflow.training.stage.stages import STAGES

    console = Console()
    model = cost.meta_model(config.model)

    parts = Table("part", "parameters", title="Parameters")
    counts = cost.parameter_counts(model)
    for part, count in counts.items():
        parts.add_row(part, f"{count:,}")
    parts.add_row("all", f"{sum(counts.values()):,}")
    console.print(parts)

    shapes = Table("tensor", "shape", title="Shapes of one forward")
    for name, shape in cost.output_shapes(model, config.sample).items():
        shapes.add_row(name, " x ".join(map(str, shape)))
    console.print(shapes)

    stages = Table(
        "stage",
        "forward, TFLOP",
        "forward + backward, TFLOP",
        *(f"ZeRO {zero}, GiB" for zero in range(4)),
        title=f"Per sample; states per worker of {config.workers}, without activations",
    )
    with console.status("counting on the meta device"):
        costs = {
            name: cost.deep_stage_cost(config.model, config.sample, trains=stage.trains, scores=stage.scores)  # type: ignore[arg-type]
            for name, stage in STAGES.items()
        }
    for name, one in costs.items():
        states = (
            cost.state_bytes(trained=one.trained, frozen=one.frozen, workers=config.workers, zero=zero)
            for zero in (0, 1, 2, 3)
        )
        flops = (f"{one.forward / 1e12:.3g}", f"{one.total / 1e12:.3g}")
        stages.add_row(name, *flops, *(f"{each / 2**30:.3g}" for each in states))
    console.print(stages)
    flop = 2 * config.sampling_steps * costs["joint"].forward  # with and without the prompt
    console.print(f"{config.sampling_steps} sampling steps with guidance: {flop / 1e12:.3g} TFLOP")


if __name__ == "__main__":
    run(main)
