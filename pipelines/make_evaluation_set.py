"""List a source's test clips as an evaluation set: id, prompt, video and start of each."""

from pathlib import Path

from preprocessing.sources.evaluation_set_config import EvaluationSetConfig
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments


def main() -> int:
    config = parse_arguments(EvaluationSetConfig, description=__doc__ or "")

    from preprocessing.sources.read import list_source
    from syncflow.media.evaluation_set import ClipFile, write_evaluation_set

    listing = list_source(config.source)
    for note in listing.notes:
        print(note)
    listed = (ref for ref in listing.chosen if ref.split == "test" and not ref.known_bad)
    clips = (
        ClipFile(
            id=ref.clip_id,
            path=Path(str(ref.path)),
            start_s=ref.start_s,
            prompt=ref.caption or ref.label,
        )
        for ref in listed
    )
    print(f"{config.output}: {write_evaluation_set(config.output, clips)} clips")
    return 0


if __name__ == "__main__":
    run(main)
