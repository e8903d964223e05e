"""Audio-video clips -> latents of both autoencoders and caption embeddings, as Parquet."""

from preprocessing.config import PrecomputeConfig
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments


def main() -> int:
    config = parse_arguments(PrecomputeConfig, description=__doc__ or "")

    if config.plan:
        from preprocessing.estimate import print_estimate

        return print_estimate(config)
    if config.executor == "loop":
        from preprocessing.job import precompute

        return precompute(config)

    from infra.executors.ray_data import RayExecutor

    with RayExecutor(config).started() as execute:
        from preprocessing.job import precompute

        return precompute(config, execute=execute)


if __name__ == "__main__":
    run(main)
