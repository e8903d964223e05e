"""Prompts, or clips given whole or in part, to clips: mp4 files with a sidecar each, and a manifest."""

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import dump_config
from syncflow.generation.config import GenerateConfig
from syncflow.printable import printable

NOTES = 3  # shown of the videos that are longer than the clip


def main() -> int:
    config = parse_arguments(GenerateConfig, description=__doc__ or "")
    if config.reproduce is not None:
        return reproduce(config)

    from rich.progress import Progress

    from syncflow.generation.requests import read_rows
    from syncflow.shipped import checked_folder

    checked_folder(config.checkpoint)
    rows = read_rows(config)

    from syncflow.evaluation.sync import sync_quality
    from syncflow.generation.plan import plan_clips
    from syncflow.generation.run import generate_clips

    execute = None
    if config.executor == "ray":
        from infra.executors.ray_pool import RayPool

        execute = RayPool(device=config.device, workers=config.workers)
    clips = plan_clips(rows, per_prompt=config.per_prompt)
    with Progress() as progress:
        task = progress.add_task("loading the checkpoint", total=len(clips))
        lines = generate_clips(
            clips,
            config,
            execute=execute,
            score=sync_quality,
            report=lambda done: progress.update(task, completed=done, description=f"{len(clips)} clips"),
        )
    dump_config(config, config.output / "resolved.yaml")
    noted = [line for line in lines if line.note]
    for line in noted[:NOTES]:
        print(f"note: {printable(line.clip.video)} {line.note}")
    if len(noted) > NOTES:
        print(f"note: so it is with {len(noted) - NOTES} more videos")
    failed = [line for line in lines if line.failure]
    for line in failed:
        print(f"failed: {printable(line.clip.video)}: {line.failure}")
    print(f"{config.output}: {len(lines) - len(failed)} clips, {len(failed)} failed; see manifest.csv")
    return 3 if failed else 0


def reproduce(config: GenerateConfig) -> int:
    """Make the clip of a sidecar again and say whether its latents are the same, bit for bit."""
    from syncflow.generation.sidecar import Sidecar

    assert config.reproduce is not None
    sidecar = Sidecar.read(config.reproduce)

    from syncflow.generation.reproduce import reproduce_clip, settings_to_reproduce

    same = reproduce_clip(sidecar, settings_to_reproduce(sidecar, config))
    made_with = f"device {sidecar.device}, torch {sidecar.versions.get('torch')}"
    verdict = (
        "the same latents, bit for bit" if same else f"other latents (the clip was made with {made_with})"
    )
    print(f"{config.output / sidecar.file}: {verdict}")
    return 0 if same else 1


if __name__ == "__main__":
    run(main)
