"""Train one stage: python pipelines/train_stage.py --config pipelines/configs/tiny/video.yaml

The stages go in the order video, audio, joint, with the same --output: each starts from the checkpoint
of the one before. The same command again goes on from the last state. --plan says what it needs.
"""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.training.stage.config import TrainConfig


def main() -> int:
    config = parse_arguments(TrainConfig, description="Train one stage: video, audio or joint.")
    if config.plan:
        from rich.console import Console

        from syncflow.training.stage.plan import make_plan, show

        show(make_plan(config), config, Console())
        return 0
    print(f"stage {config.stage}: data {config.data}, output {config.folder}", flush=True)
    from infra.executors.supervisor import supervised
    from infra.launch.stage import train_stage

    return supervised(lambda: 0 if train_stage(config) else 1)


if __name__ == "__main__":
    run(main)
