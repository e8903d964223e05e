"""Score folders of clips, one a system, by the same protocol: sync F1 and offset, beside chance."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.evaluation.suite_config import EvaluateConfig


def main() -> int:
    config = parse_arguments(EvaluateConfig, description=__doc__ or "")

    from infra.tracking.scores import track
    from syncflow.studies.scores import evaluate

    execute = None
    if config.metrics.executor == "ray":
        from infra.executors.ray_pool import RayPool
        from syncflow.evaluation.backbones import ExtractInWorkers

        backbones = config.metrics.backbones
        pool = RayPool(device=backbones.device, workers=config.metrics.workers)
        execute = ExtractInWorkers(backbones, pool)
    return evaluate(config, track=track, execute=execute)


if __name__ == "__main__":
    run(main)
