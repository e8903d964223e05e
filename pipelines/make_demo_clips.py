"""Draw synthetic drumstick clips (mp4) in Greatest Hits' folder layout, with known instants of impact."""

from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments


def main() -> None:
    config = parse_arguments(SyntheticClipsConfig, description=__doc__ or "")

    from preprocessing.synthetic.clips import write_clips

    drawn = write_clips(config)
    print(f"{config.output}: {config.count} clips, {drawn} of them drawn now")


if __name__ == "__main__":
    run(main)
