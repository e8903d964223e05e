"""The clips of an evaluation set, cut to the window: for video to audio, and the ground truth row."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.studies.tables.config import ReferenceSetConfig


def main() -> int:
    config = parse_arguments(ReferenceSetConfig, description=__doc__ or "")
    from syncflow.studies.tables.reference_set import write_reference_set

    count = write_reference_set(config.evaluation_set, config.output, spec=config.clip, limit=config.limit)
    print(f"{config.output}: {count} clips")
    return 0


if __name__ == "__main__":
    run(main)
