"""Prompts to clips, or videos to sound: mp4 files with a strip and a sidecar each, and a manifest."""

from syncflow.command_line import parse_arguments, run
from syncflow.config import dump_config
from syncflow.systems.config import GenerateConfig


def main() -> int:
    config = parse_arguments(GenerateConfig, description=__doc__ or "")
    if config.reproduce is not None:
        return reproduce(config)

    from rich.progress import Progress

    from syncflow.systems.rows import read_rows
    from syncflow.systems.trained_on import checked_folder

    checked_folder(config.checkpoint)
    rows = read_rows(config)

    from syncflow.systems.generate import generate_clips, plan_clips
    from syncflow.systems.loading import load_pipeline

    clips = plan_clips(rows, per_prompt=config.per_prompt)
    with Progress() as progress:
        loading = progress.add_task("loading the checkpoint", total=None)
        loaded = load_pipeline(config)
        progress.remove_task(loading)
        task = progress.add_task(f"{len(clips)} clips on {loaded.pipeline.device}", total=len(clips))
        lines = generate_clips(
            clips, loaded, config, report=lambda done: progress.update(task, completed=done)
        )
    dump_config(config, config.output / "resolved.yaml")
    failed = [line for line in lines if line.failure]
    for line in failed:
        print(f"failed: {line.clip.video}: {line.failure}")
    print(f"{config.output}: {len(lines) - len(failed)} clips, {len(failed)} failed; see manifest.csv")
    return 3 if failed else 0


def reproduce(config: GenerateConfig) -> int:
    """Make the clip of a sidecar again and say whether its latents are the same, bit for bit."""
    from syncflow.systems.sidecar import Sidecar

    assert config.reproduce is not None
    sidecar = Sidecar.read(config.reproduce)

    from syncflow.systems.generate import reproduce_clip, settings_to_reproduce
    from syncflow.systems.loading import load_pipeline

    own = settings_to_reproduce(sidecar, config)
    same = reproduce_clip(sidecar, load_pipeline(own), own)
    made_with = f"device {sidecar.device}, torch {sidecar.versions.get('torch')}"
    verdict = (
        "the same latents, bit for bit" if same else f"other latents (the clip was made with {made_with})"
    )
    print(f"{config.output / sidecar.file}: {verdict}")
    return 0 if same else 1


if __name__ == "__main__":
    run(main)
