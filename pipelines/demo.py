"""The whole way on a laptop: synthetic clips, latents, three stages, generation, scores."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.studies.demo_config import DemoConfig


def main() -> None:
    config = parse_arguments(DemoConfig, description=__doc__ or "")

    from syncflow.studies.demo import demo_parts, print_times, run_parts
    from syncflow.studies.demo_report import write_report

    parts = demo_parts(config)
    seconds = run_parts(parts)
    report = write_report(config.output, parts=parts, seconds=seconds)
    print_times(seconds)
    print(f"report: {report}")
    print(f"runs:   mlflow ui --backend-store-uri sqlite:///{(config.output / 'mlflow.db').resolve()}")


if __name__ == "__main__":
    run(main)
