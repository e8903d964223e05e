"""New audio for a folder of videos by a system of the paper's comparison.

python pipelines/make_audio.py --config tiny/foleygen/foleygen_audio --output out/demo/sound

With videos that generate.py made (--modalities video) it is the second half of a cascade.
"""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.printable import printable
from syncflow.systems.config import MakeAudioConfig


def main() -> int:
    config = parse_arguments(MakeAudioConfig, description=__doc__ or "")
    from syncflow.systems.make_audio import make_audio

    lines = make_audio(config)
    failed = [line for line in lines if line.failure]
    for line in failed[:10]:
        print(f"failed: {printable(str(line.file))}: {line.failure}")
    print(f"{config.output}: {len(lines) - len(failed)} clips, {len(failed)} failed; see manifest.csv")
    return 3 if failed else 0


if __name__ == "__main__":
    run(main)
