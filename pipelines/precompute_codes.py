"""Codes of the audio and features of the frames of a finished dataset, for FoleyGen.

python pipelines/precompute_codes.py --config tiny/foleygen/codes
"""

from preprocessing.codes_config import CodesConfig
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments


def main() -> int:
    config = parse_arguments(CodesConfig, description=__doc__ or "")
    from preprocessing.codes import precompute_codes

    if config.executor == "loop":
        precompute_codes(config)
        return 0
    from infra.executors.ray_pool import RayPool

    precompute_codes(config, execute=RayPool(device=config.device, workers=config.workers, cpus_beside_gpu=4))
    return 0


if __name__ == "__main__":
    run(main)
