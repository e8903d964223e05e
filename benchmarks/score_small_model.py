"""How well a pipeline for synthetic drumstick clips does its job: synchrony, number of strokes, material.

Prompts are captions that training never saw (combinations of material, action and number of impacts). Real
clips of the same generator, drawn here, train the two classifiers of materials, give the ceiling of every
figure, and their frames are what video to sound is given.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from material_probe import Probe, audio_features, train_probe, video_features
from PIL import Image
from pydantic import Field
from rich.progress import track

from preprocessing.synthetic.clips import is_test
from preprocessing.synthetic.draw import render_frames
from preprocessing.synthetic.scene import Scene, plan_scene
from preprocessing.synthetic.sound import render_audio
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config, load_config
from syncflow.errors import UserError
from syncflow.evaluation.suite import score_events, summarise
from syncflow.evaluation.sync import ClipEvents
from syncflow.flow.config import SolverConfig
from syncflow.generation.config import GenerateConfig
from syncflow.generation.loading import load_pipeline
from syncflow.onsets import TOLERANCE_S
from syncflow.pixels import frames_to_video, video_to_frames
from syncflow.sampling.pipeline import SyncFlowPipeline

MOST_TRIED = 100  # scenes that are planned for each that is found
FRESH = 5000  # real clips are drawn from indices past those that training clips have


class ScoreConfig(Config):
    """Which pipeline, and on how much."""

    checkpoint: Path
    """A saved pipeline, or a stage's checkpoint."""
    clips: Path
    """Settings of the synthetic clips (the preset that make_demo_clips.py took for training)."""
    lora: Path | None = None
    """Folder of a LoRA that is merged into the pipeline."""
    probe: Path | None = None
    """Settings of the clips that train the classifiers of materials; empty: those of `clips`. They must know
    the materials of `clips`, and others to tell these from."""
    output: Path
    """Folder for scores.json, summary.md and contact_sheet.png."""
    prompts: int = Field(default=100, ge=2)
    """Prompts, each used once a seed."""
    held_out: bool = True
    """Prompts are of combinations that training never saw; otherwise of those that it saw, in new scenes."""
    seeds: int = Field(default=3, ge=1)
    """Noise seeds."""
    probe_clips: int = Field(default=700, ge=50)
    """Real clips that train and measure the classifiers of materials."""
    steps: int = Field(default=50, ge=1)
    """Solver steps."""
    guidance: float = Field(default=6.0, ge=0)
    """Guidance of the video."""
    audio_guidance: float = Field(default=1.0, ge=0)
    """Guidance of the audio."""
    clean_video: bool = True
    """The audio tower sees the finished video."""
    batch_size: int = Field(default=10, ge=1)
    """Clips that are made at once."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What is kept of a clip: its events and features, and what its caption asked for."""

    scene: Scene
    events: ClipEvents
    video: np.ndarray
    audio: np.ndarray


def main() -> None:
    config = parse_arguments(ScoreConfig, description=__doc__ or "")
    world = load_config(SyntheticClipsConfig, config.clips)
    known = load_config(SyntheticClipsConfig, config.probe) if config.probe else world
    torch.set_grad_enabled(False)
    scenes = find_scenes(world, config.prompts, held_out=config.held_out)
    clip = {"height": world.size, "width": world.size}
    pipeline = load_pipeline(
        GenerateConfig(checkpoint=config.checkpoint, lora=config.lora, output=config.output, clip=clip)  # type: ignore[arg-type]
    ).pipeline
    rates = (pipeline.config["fps"], pipeline.audio_vae.config.sample_rate)
    if rates != (world.fps, world.sample_rate):
        raise UserError(
            f"clips {config.clips}: {world.fps} frames and {world.sample_rate} samples a second, "
            f"the pipeline makes {rates[0]} and {rates[1]}; give the settings that its training clips had"
        )
    seen, heard, accuracy = _probes(
        pipeline, find_scenes(known, config.probe_clips, first=3 * FRESH, held_out=False), world
    )
    given = [_render(scene, world) for scene in scenes]
    real = [_kept(scene, *clip, world) for scene, clip in zip(scenes, given, strict=True)]
    rows = [_row("real", real, seen, heard)]
    sheet: list[np.ndarray] = []
    made: dict[str, list[Clip]] = {"text to clip": [], "video to sound": []}
    for seed in range(config.seeds):
        for name in made:
            frames = np.stack([clip[0] for clip in given]) if name == "video to sound" else None
            part = []
            for scene, video, audio in _make(pipeline, scenes, frames, config, seed):
                if name == "text to clip" and len(sheet) < 16:
                    sheet.append(video)
                # the given frames are scored, not their reconstruction
                shown = video if frames is None else frames[len(part)]
                part.append(_kept(scene, shown, audio, world))
            made[name] += part
            rows.append(_row(f"{name}, seed {seed}", part, seen, heard))
    rows += [_row(f"{name}, all seeds", clips, seen, heard) for name, clips in made.items()]
    _write(config, rows, accuracy, sheet)


def find_scenes(
    world: SyntheticClipsConfig, count: int, *, held_out: bool, first: int = FRESH
) -> list[Scene]:
    """Scenes of the asked split from index `first` on.

    Raises:
        UserError: hardly any clip is of that split.
    """
    found: list[Scene] = []
    for index in range(first, first + MOST_TRIED * count):
        scene = plan_scene(world, index=index)
        if is_test(scene, config=world) == held_out:
            found.append(scene)
        if len(found) == count:
            return found
    raise UserError(
        f"test_share {world.test_share}: {len(found)} of {MOST_TRIED * count} scenes are "
        f"{'held out' if held_out else 'for training'}, {count} are needed; "
        f"give {'--no-held-out' if held_out else 'clips with a smaller share'}"
    )


def _render(scene: Scene, world: SyntheticClipsConfig) -> tuple[np.ndarray, np.ndarray]:
    frames = render_frames(scene, size=world.size, fps=world.fps)
    return frames, render_audio(scene, sample_rate=world.sample_rate)


def _probes(
    pipeline: SyncFlowPipeline, scenes: Sequence[Scene], world: SyntheticClipsConfig
) -> tuple[Probe, Probe, dict[str, float]]:
    """Classifiers by video and by sound, and their accuracy on every fourth clip, which they do not train on.

    They learn from real clips and from what the autoencoders keep of them: a generated clip can be no more.
    """
    real, coded = [], []
    for scene in track(scenes, "real clips and their reconstructions"):
        frames, audio = _render(scene, world)
        real.append(_kept(scene, frames, audio, world))
        video = pipeline.video_vae(frames_to_video(frames))[0]
        sound = pipeline.audio_vae(torch.from_numpy(audio)[None])[0][0].numpy()
        coded.append(_kept(scene, video_to_frames(video)[0], sound, world))
    tested = {"real clips": real[::4], "reconstructions": coded[::4]}
    trained = [clip for i in range(len(real)) if i % 4 for clip in (real[i], coded[i])]
    names = [clip.scene.material.name for clip in trained]
    seen = train_probe([clip.video for clip in trained], names)
    heard = train_probe([clip.audio for clip in trained], names)
    accuracy = {}
    for name, clips in tested.items():
        wanted = [clip.scene.material.name for clip in clips]
        accuracy[f"{name} by video"] = seen.accuracy([clip.video for clip in clips], wanted)
        accuracy[f"{name} by sound"] = heard.accuracy([clip.audio for clip in clips], wanted)
    return seen, heard, accuracy


def _kept(scene: Scene, frames: np.ndarray, audio: np.ndarray, world: SyntheticClipsConfig) -> Clip:
    return Clip(
        scene=scene,
        events=ClipEvents.of(frames, audio, fps=world.fps, sample_rate=world.sample_rate),
        video=video_features(frames),
        audio=audio_features(audio, world.sample_rate),
    )


def _make(
    pipeline: SyncFlowPipeline,
    scenes: Sequence[Scene],
    frames: np.ndarray | None,
    config: ScoreConfig,
    seed: int,
) -> Iterator[tuple[Scene, np.ndarray, np.ndarray]]:
    for first in track(range(0, len(scenes), config.batch_size), f"seed {seed}"):
        part = scenes[first : first + config.batch_size]
        output = pipeline(
            [scene.caption for scene in part],
            video=None if frames is None else frames[first : first + config.batch_size],
            seed=seed,
            index=range(first, first + len(part)),
            solver=SolverConfig(steps=config.steps),
            guidance_scale=config.guidance,
            audio_guidance_scale=config.audio_guidance,
            clean_video=config.clean_video,
        )
        yield from zip(part, output.frames, output.audio, strict=True)  # type: ignore[arg-type]


def _row(name: str, clips: Sequence[Clip], seen: Probe, heard: Probe) -> dict[str, object]:
    events = [clip.events for clip in clips]
    summary = summarise(name, score_events([name] * len(clips), events, tolerance_s=TOLERANCE_S))
    asked = [len(clip.scene.impacts) for clip in clips]
    wanted = [clip.scene.material.name for clip in clips]
    return asdict(summary) | {
        "count_by_sound": _share(len(e.onsets) == n for e, n in zip(events, asked, strict=True)),
        "count_by_video": _share(len(e.peaks) == n for e, n in zip(events, asked, strict=True)),
        "material_by_video": _share(
            a == b for a, b in zip(seen([c.video for c in clips]), wanted, strict=True)
        ),
        "material_by_sound": _share(
            a == b for a, b in zip(heard([c.audio for c in clips]), wanted, strict=True)
        ),
    }


def _share(hits: Iterator[bool]) -> float:
    return float(np.mean(list(hits)))


def _write(
    config: ScoreConfig, rows: list[dict[str, object]], accuracy: dict[str, float], sheet: list[np.ndarray]
) -> None:
    config.output.mkdir(parents=True, exist_ok=True)
    figures = {"probe_accuracy": accuracy, "rows": rows}
    (config.output / "scores.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    head = "| clips | N | sync F1 (95 %) | by chance (95 %) | strokes right | material right |"
    lines = [head, "|---|---|---|---|---|---|"]
    for row in rows:
        lines.append(
            f"| {row['system']} | {row['used']} / {row['expected']} | "
            f"{row['f1']:.3f} ({row['f1_low']:.3f} to {row['f1_high']:.3f}) | "
            f"{row['chance_f1']:.3f} ({row['chance_f1_low']:.3f} to "
            f"{row['chance_f1_high']:.3f}) | {row['count_by_sound']:.2f} / {row['count_by_video']:.2f} | "
            f"{row['material_by_sound']:.2f} / {row['material_by_video']:.2f} |"
        )
    told = ", ".join(f"{value:.2f} of {name}" for name, value in accuracy.items())
    lines.append(f"\nStrokes and materials: by sound / by video. The classifiers are right on {told}.\n")
    (config.output / "summary.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    if sheet:
        rows_of_frames = [np.concatenate(list(clip[::2]), axis=1) for clip in sheet]
        Image.fromarray(np.concatenate(rows_of_frames)).save(config.output / "contact_sheet.png")


if __name__ == "__main__":
    run(main)
