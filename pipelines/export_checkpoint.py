"""A checkpoint of each saved state of a stage, to generate and evaluate from: the last three, for a mean."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.training.stage.export_config import ExportConfig


def main() -> int:
    config = parse_arguments(ExportConfig, description=__doc__ or "")

    from syncflow.training.stage.export import export_checkpoints

    for folder in export_checkpoints(config):
        print(folder)
    return 0


if __name__ == "__main__":
    run(main)
