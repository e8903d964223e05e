"""Measure what autoencoders keep of folders of clips: PSNR, SSIM, mel distance, SI-SDR, onset timing."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.studies.reconstruction_config import ReconstructionConfig


def main() -> None:
    config = parse_arguments(ReconstructionConfig, description=__doc__ or "")

    from syncflow.studies.reconstruction import report

    report(config)


if __name__ == "__main__":
    run(main)
