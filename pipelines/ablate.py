"""The adaptor's ablation: audio stages with it, without it and from text alone, over several seeds."""

from infra.ablation_config import AblationConfig
from syncflow.command_line import parse_arguments, run


def main() -> int:
    config = parse_arguments(AblationConfig, description=__doc__ or "")

    from infra.executors.supervisor import supervised

    def work() -> int:
        from infra.ablation import ablate

        return ablate(config)

    return supervised(work)


if __name__ == "__main__":
    run(main)
