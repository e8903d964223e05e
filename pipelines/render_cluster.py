"""Write the KubeRay manifests: a RayJob for each step from raw datasets to scores."""

from infra.cluster.config import ClusterConfig
from syncflow.command_line import parse_arguments, run


def main() -> None:
    config = parse_arguments(ClusterConfig, description=__doc__ or "")

    from infra.cluster.rayjob import write_jobs

    for path in write_jobs(config):
        print(path)


if __name__ == "__main__":
    run(main)
