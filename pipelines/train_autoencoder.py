"""Train the audio or the video autoencoder on a folder of clips, and measure it on held-out ones."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.training.autoencoder.config import AutoencoderTrainConfig


def main() -> int:
    config = parse_arguments(AutoencoderTrainConfig, description=__doc__ or "")

    from infra.executors.supervisor import supervised

    return supervised(lambda: train(config))


def train(config: AutoencoderTrainConfig) -> int:
    from infra.launch.autoencoder import train_with_ray

    for name, value in train_with_ray(config).items():
        print(f"{name}: {value:.4g}")
    print(f"weights: {config.output}")
    return 0


if __name__ == "__main__":
    run(main)
