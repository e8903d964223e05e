"""Write the KubeRay manifests: a RayJob per step from raw datasets to scores, a RayService for the API."""

from infra.cluster.config import ClusterConfig
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments


def main() -> None:
    config = parse_arguments(ClusterConfig, description=__doc__ or "")

    from infra.cluster.rayjob import write_jobs
    from infra.cluster.rayservice import write_service

    for path in [*write_jobs(config), *write_service(config)]:
        print(path)


if __name__ == "__main__":
    run(main)
