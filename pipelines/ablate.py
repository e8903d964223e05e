"""The adaptor's ablation: audio stages with it, without it and from text alone, over several seeds."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.studies.ablation_config import AblationConfig


def main() -> int:
    config = parse_arguments(AblationConfig, description=__doc__ or "")

    from infra.executors.supervisor import supervised

    def work() -> int:
        from infra.launch.stage import train_as_set
        from infra.tracking.stage import log_figures
        from syncflow.studies.ablation import ablate

        return ablate(config, train=train_as_set, log_figures=log_figures)

    return supervised(work)


if __name__ == "__main__":
    run(main)
