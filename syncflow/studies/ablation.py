"""The adaptor's ablation: the same video tower, several audio stages, several seeds (Table 4, Figure 6).

    <output>/video/seed_0/video/checkpoint          one video stage a seed, where there is a preset for it
    <output>/<variant>/seed_0/audio/checkpoint      one audio stage a variant and seed
    <output>/<variant>/seed_0/result.json           what was measured on held-out clips

What is there is used again if its settings, data and first weights are those asked for, and else refused; a
run that was cut off goes on from its last state.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from syncflow.checkpoint import CheckpointManifest, load_checkpoint
from syncflow.config import dump_config, load_config
from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.evaluation.suite import ClipScore, summarise
from syncflow.generation.config import GenerateConfig
from syncflow.generation.loading import load_pipeline
from syncflow.hashing import settings_sha256
from syncflow.studies.ablation_config import AblationConfig
from syncflow.studies.ablation_report import Result, write_ablation
from syncflow.studies.audio_for_clips import HeldOutVideo, make_audio, read_videos, score_audio
from syncflow.training.distributed import device
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.identity import is_finished
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.stages import STAGES
from syncflow.training.validation import average

RESULT = "result.json"
MEASURING = ("limit", "draws", "solver", "guidance", "clean_video", "validation_passes", "tolerance_s")
FIGURES = ("loss_audio", "loss_audio_mismatched", "f1", "chance_f1", "offset_ms", "onsets_per_clip")


Train = Callable[[TrainConfig], object]
"""Trains a stage of these settings, from where it was cut off."""
LogFigures = Callable[[TrainConfig, Mapping[str, float]], None]
"""Sends what was measured of a finished stage to its run."""


def ablate(config: AblationConfig, *, train: Train, log_figures: LogFigures) -> int:
    """Train what is not trained, measure what is not measured, and write the tables.

    Args:
        train: trains a list of stages.
        log_figures: keeps the figures of a run, as MLflow does.

    Raises:
        UserError: a preset of another stage, or data and presets that do not fit.
    """
    plan = [(seed, *_stages(config, seed)) for seed in config.seeds]
    results, videos = [], _videos(config)
    for seed, video, variants in plan:
        for number, (variant, settings) in enumerate(variants.items()):
            if video is not None:
                if not is_finished(video):
                    train(video)
                start = str(video.folder / "checkpoint")
                settings = settings.model_copy(update={"initialise_from": start})
            if not is_finished(settings):
                train(settings)
            written, made_by = settings.output / RESULT, measured_by(config, settings)
            if config.measure_again or not is_measured(written, made_by):
                result = measure(config, settings, variant=variant, videos=videos())
                log_figures(settings, {name: getattr(result, name) for name in FIGURES})
                values = dataclasses.asdict(result) | {"made_by": made_by}
                written.write_text(json.dumps(values, indent=1), encoding="utf-8")
            values = json.loads(written.read_text(encoding="utf-8"))
            del values["made_by"]
            results.append(Result(**values))
            print(
                f"seed {seed}, {variant} ({number + 1} of {len(config.variants)}): {results[-1]}", flush=True
            )
    dump_config(config, config.output / "resolved.yaml")  # a refused call leaves that of the tables there
    write_ablation(config.output, results)
    print(f"tables in {config.output / 'ablation.md'}")
    if config.tracking != "none":
        print(
            f"curves: python pipelines/compare_runs.py --tracking-uri {config.tracking} "
            f"--output {config.output / 'comparison'} --group-by model.adaptor.kind model.audio.context"
        )
    return 0


def _videos(config: AblationConfig) -> Callable[[], list[HeldOutVideo]]:
    """Gives the held-out clips. They are read once; at once where a result is missing, before any training.

    Raises:
        UserError: no clip can be read.
    """

    @functools.cache
    def read() -> list[HeldOutVideo]:
        return read_videos(config.clips, spec=LatentDataset(config.data).spec, limit=config.limit)

    files = [config.output / v / f"seed_{seed}" / RESULT for v in config.variants for seed in config.seeds]
    if config.measure_again or not all(file.is_file() for file in files):
        read()
    return read


def measured_by(config: AblationConfig, settings: TrainConfig) -> dict[str, Any]:
    """What decides a variant's figures: its weights, the clips, and how they are measured."""
    clips = [[path.name, path.stat().st_size] for path in sorted(config.clips.iterdir()) if path.is_file()]
    values = config.model_dump(mode="json", include=set(MEASURING))
    return values | {
        "checkpoint": CheckpointManifest.read(settings.folder / "checkpoint").model_sha256,
        "data": LatentDataset(config.data, split="test").fingerprint,
        "clips": settings_sha256(clips),
    }


def is_measured(written: Path, made_by: Mapping[str, Any]) -> bool:
    """Whether a result is there that was measured so.

    Raises:
        UserError: there is one that was measured otherwise; it names the difference.
    """
    if not written.is_file():
        return False
    found = json.loads(written.read_text(encoding="utf-8")).get("made_by", {})
    differing = [name for name in made_by if found.get(name) != made_by[name]]
    if differing:
        told = ", ".join(f"{n} was {found.get(n)!r}, now {made_by[n]!r}" for n in differing[:3])
        raise UserError(
            f"{written}: measured otherwise: {told}; choose another output, or measure again with "
            "--measure-again"
        )
    return True


def measure(
    config: AblationConfig, settings: TrainConfig, *, variant: str, videos: Sequence[HeldOutVideo]
) -> Result:
    """Loss and sync score of a trained audio stage, on clips that it never saw."""
    folder = settings.folder / "checkpoint"
    losses = held_out_loss(folder, config.data, passes=config.validation_passes)
    pipeline = load_pipeline(GenerateConfig(checkpoint=folder, output=settings.output)).pipeline
    scores: list[ClipScore] = []
    for draw in range(config.draws):
        audio = make_audio(
            pipeline,
            videos,
            seed=draw,
            solver=config.solver,
            guidance=config.guidance,
            clean_video=config.clean_video,
        )
        scores += score_audio(
            videos,
            audio,
            fps=pipeline.config["fps"],
            sample_rate=pipeline.audio_vae.config.sample_rate,
            tolerance_s=config.tolerance_s,
        )
    summary = summarise(variant, scores)
    return Result(
        variant=variant,
        seed=settings.seed,
        steps=settings.steps,
        loss_audio=losses["loss_audio"],
        loss_audio_mismatched=losses.get("loss_audio_mismatched", math.nan),
        f1=summary.f1,
        chance_f1=summary.chance_f1,
        offset_ms=summary.offset_ms,
        onsets_per_clip=summary.onsets_per_clip,
        clips=summary.used,
    )


def held_out_loss(checkpoint: Path, data: Path, *, passes: int) -> dict[str, float]:
    """Losses of a checkpoint over the test split, on a GPU where there is one.

    The noise is the same for every checkpoint.

    Args:
        passes: times that the split is gone through, each with other noise.
    """
    model, manifest = load_checkpoint(checkpoint)
    model.to(device())  # type: ignore[arg-type]
    settings = load_config(TrainConfig, checkpoint / "resolved.yaml")
    held_out = LatentDataset(data, split="test")
    stage = STAGES[manifest.stage]
    objective = FlowObjective(
        model,
        stage=stage,
        flow=settings.flow,
        spec=held_out.spec,
        frame_times=held_out.frame_times,
        seed=0,
    ).eval()
    size = min(settings.batch_size, len(held_out))
    with torch.no_grad():
        return average(
            objective(held_out.batch(number, batch_size=size, drop_probability=0.0))
            for number in range(-(-len(held_out) * passes // size))
        )


def _stages(config: AblationConfig, seed: int) -> tuple[TrainConfig | None, dict[str, TrainConfig]]:
    """The video stage of a seed, if there is one, and the audio stage of each variant."""
    video = None
    if config.video is not None:
        video = _settings(config, config.video, stage="video", variant="video", seed=seed)
    variants = {
        variant: _settings(config, preset, stage="audio", variant=variant, seed=seed)
        for variant, preset in config.variants.items()
    }
    return video, variants


def _settings(config: AblationConfig, preset: Path, *, stage: str, variant: str, seed: int) -> TrainConfig:
    given: dict[str, Any] = {
        "data": config.data.resolve(),
        "output": (config.output / variant / f"seed_{seed}").resolve(),
        "seed": seed,
        "experiment": config.experiment,
        "run": f"{config.run}: {variant}, seed {seed}",
        "tracking_uri": config.tracking,
    }
    settings = load_config(TrainConfig, preset, given)
    if settings.stage != stage:
        raise UserError(f"{preset}: of stage {settings.stage}, the ablation needs one of stage {stage}")
    return settings
