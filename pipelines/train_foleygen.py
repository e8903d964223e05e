"""Train FoleyGen: python pipelines/train_foleygen.py --config tiny/foleygen/train

precompute_codes.py comes before it. The same command again goes on from the last state.
"""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.foleygen.train_config import FoleyGenTrainConfig


def main() -> int:
    config = parse_arguments(FoleyGenTrainConfig, description="Train FoleyGen on codes and frame features.")
    from infra.executors.supervisor import supervised
    from infra.launch.foleygen import train_foleygen

    return supervised(lambda: 0 if train_foleygen(config) else 1)


if __name__ == "__main__":
    run(main)
