"""Runs side by side: python pipelines/compare_runs.py --tracking-uri sqlite:///out/demo/mlflow.db"""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.studies.comparison_config import CompareConfig


def main() -> int:
    config = parse_arguments(CompareConfig, description="Compare runs: settings, metrics and curves.")
    from infra.tracking.past_runs import read_runs
    from syncflow.studies.comparison import compare_runs

    runs = read_runs(config)
    if config.tensorboard:
        from syncflow.studies.tensorboard_export import export_tensorboard

        print(f"{len(export_tensorboard(runs, config.tensorboard))} runs in {config.tensorboard}")
    compare_runs(config, runs)
    return 0


if __name__ == "__main__":
    run(main)
