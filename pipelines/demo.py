"""The whole way on a laptop: synthetic clips, latents, three stages, generation, scores."""

from infra.demo_config import DemoConfig
from syncflow.command_line import parse_arguments, run


def main() -> None:
    config = parse_arguments(DemoConfig, description=__doc__ or "")

    from infra.demo import demo_parts, print_times, run_parts
    from infra.demo_report import write_report

    parts = demo_parts(config)
    seconds = run_parts(parts)
    report = write_report(config.output, parts=parts, seconds=seconds)
    print_times(seconds)
    print(f"report: {report}")
    print(f"runs:   mlflow ui --backend-store-uri sqlite:///{(config.output / 'mlflow.db').resolve()}")


if __name__ == "__main__":
    run(main)
