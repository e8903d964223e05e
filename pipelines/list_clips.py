"""List a source's files by split, and its test prompts, for training autoencoders and for generation."""

from preprocessing.sources.list_config import ListConfig
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments


def main() -> None:
    config = parse_arguments(ListConfig, description=__doc__ or "")

    from preprocessing.sources.list_clips import write_lists

    for name, count in write_lists(config).items():
        print(f"{config.output / name}: {count}")


if __name__ == "__main__":
    run(main)
