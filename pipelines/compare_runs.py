"""Runs side by side: python pipelines/compare_runs.py --tracking-uri sqlite:///out/demo/mlflow.db"""

from infra.compare_config import CompareConfig
from syncflow.command_line import parse_arguments, run


def main() -> int:
    config = parse_arguments(CompareConfig, description="Compare runs: settings, metrics and curves.")
    from infra.compare import compare_runs

    compare_runs(config)
    return 0


if __name__ == "__main__":
    run(main)
