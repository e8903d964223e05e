"""Validity curves: what each metric does as synthetic and real clips get worse, with verdicts and floors.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/bench_metrics.py --real FOLDER --output out/validity

One half of each collection's clips is the reference of the set distances; the other half is damaged. KL is
against the same clips undamaged. The synthetic clips are drawn first (64 x 64, as the small model's). Needs
the open backbones of pipelines/fetch_backbones.py; with weights of yours also `--metrics fad fvd kl_panns`.
"""

from pathlib import Path

import numpy as np
from pydantic import Field
from validity.clips import EventClip, read_clips
from validity.curves import Curve, Features, Response, floor_between, respond
from validity.damages import DAMAGES
from validity.report import SYNC, Collection, draw, values_csv, verdicts_markdown

from preprocessing.synthetic.clips import write_clips
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config, load_config
from syncflow.errors import UserError
from syncflow.evaluation.backbone_config import BackboneConfig
from syncflow.evaluation.backbones import Backbones
from syncflow.evaluation.extractors.base import DecodedMedia, Extractor, Refused
from syncflow.evaluation.metrics.catalogue import (
    AvAlign,
    InceptionScore,
    Metric,
    SetDistance,
    Source,
    Undefined,
    chosen_metrics,
    sources_of,
)
from syncflow.evaluation.sync import sync_score
from syncflow.records import ClipSpec
from syncflow.shipped import find_preset


class MetricsBenchConfig(Config):
    """Clips that the metrics are tried on."""

    real: Path
    """Folder of real recordings with sound."""
    strokes: tuple[str, ...] = ("gh_", "derived_flash_beep_sync0")
    """Beginnings of the names of files in `real` that hold separate strokes: a third collection, of windows
    that overlap, on which only the measures of synchrony are tried."""
    leave_out: tuple[str, ...] = ("derived_",)
    """Beginnings of the names of files in `real` that are not read."""
    output: Path
    """Folder for verdicts.md, values.csv, curves.png and the synthetic clips."""
    count: int = Field(default=28, ge=8)
    """Synthetic clips, and most windows of real ones; of each, half are the reference."""
    per_file: int = Field(default=4, ge=1)
    """Most windows of a real file."""
    metrics: tuple[str, ...] = ("open",)
    """Metrics and groups of metrics, as evaluate.py names them, of those that take no prompts."""
    stroke_windows: int = Field(default=6, ge=1)
    """Most windows of a file of strokes, one every half second."""
    real_size: int = Field(default=96, ge=32)
    """Rows and columns at which real clips are read, pixels."""
    backbones: BackboneConfig = BackboneConfig()
    """Networks whose features the metrics use."""


class Extracted:
    """Features of clips, each array's computed once where it is of undamaged clips.

    Args:
        extractors: by name.
    """

    def __init__(self, extractors: dict[str, Extractor]) -> None:
        self.extractors = extractors
        self.known: dict[tuple[str, int, int], dict[str, np.ndarray]] = {}
        self.kept: list[DecodedMedia] = []  # so that no other array gets the identity of one of theirs

    def of(self, clips: list[DecodedMedia], *, keep: bool = False) -> Features:
        """Features by source and clip number.

        Args:
            keep: the clips are undamaged: their arrays come again.
        """
        found: Features = {}
        for name, extractor in self.extractors.items():
            keys = [self._key(extractor, clip) for clip in clips]
            lacking = [k for k, key in enumerate(keys) if key not in self.known]
            results = dict(
                zip(lacking, extractor([clips[k] for k in lacking]) if lacking else (), strict=True)
            )
            rows = [results[k] if k in results else self.known[key] for k, key in enumerate(keys)]
            for output in extractor.outputs:
                found[Source(extractor=name, output=output)] = {
                    f"{k:04}": row[output] for k, row in enumerate(rows) if not isinstance(row, Refused)
                }
            if keep:
                self.known |= {keys[k]: row for k, row in results.items() if not isinstance(row, Refused)}
        self.kept += clips if keep else []
        return found

    @staticmethod
    def _key(extractor: Extractor, clip: DecodedMedia) -> tuple[str, int, int]:
        video = extractor.modality in ("video", "audio_video")
        audio = extractor.modality in ("audio", "audio_video")
        return extractor.name, id(clip.video) if video else 0, id(clip.waveform) if audio else 0


def sync_f1(clips: list[DecodedMedia]) -> Response:
    """Our sync score of each clip."""
    return Response(
        values=np.array(
            [
                sync_score(clip.video, clip.waveform, fps=clip.fps, sample_rate=clip.sample_rate).f1
                for clip in clips
            ]
        )
    )


def measure_collection(
    name: str,
    sources: list[EventClip],
    others: list[EventClip],
    metrics: list[Metric],
    extracted: Extracted,
    *,
    references: list[EventClip] | None = None,
) -> Collection:
    """Every curve of one collection.

    Args:
        sources: what is damaged.
        others: clips of another collection.
        references: what set distances compare with.
    """
    fps = sources[0].media.fps
    reference = extracted.of([clip.media for clip in references or ()], keep=True)
    undamaged = extracted.of([clip.media for clip in sources], keep=True)
    extracted.of([clip.media for clip in others], keep=True)
    floors = {m.name: floor_between(m, reference, undamaged) for m in metrics if isinstance(m, SetDistance)}

    def responses(damaged: list[DecodedMedia]) -> dict[str, Response]:
        features = extracted.of(damaged)
        found = {m.name: respond(m, features, undamaged, reference, fps) for m in metrics}
        return found | {SYNC.name: sync_f1(damaged)}

    none = responses([clip.media for clip in sources])
    curves: dict[tuple[str, str], Curve] = {}
    for damage in DAMAGES:
        found = [none, *(responses(damage.apply(sources, level, others)) for level in damage.levels)]
        for metric in (*metrics, SYNC):
            curves[metric.name, damage.name] = Curve(
                labels=("none", *map(damage.label, damage.levels)),
                responses=tuple(each[metric.name] for each in found),
                lower_is_better=metric.better == "lower",
                floor=floors.get(metric.name),
            )
        print(f"{name}: {damage.name}", flush=True)
    return Collection(name=name, clips=len(sources), floors=floors, curves=curves)


def main() -> None:
    config = parse_arguments(MetricsBenchConfig, description=__doc__ or "")
    chosen = chosen_metrics(config.metrics)
    metrics = [metric for metric in chosen if not isinstance(metric, Undefined | InceptionScore)]
    if any(source.side == "prompt" for metric in metrics for source in sources_of(metric)):
        raise UserError("metrics: some compare with a prompt, which damaged clips do not have; name others")
    backbones = Backbones(config.backbones)
    names = dict.fromkeys(source.extractor for metric in metrics for source in sources_of(metric))
    extracted = Extracted({name: backbones.extractor(name) for name in names})
    drawn = load_config(
        SyntheticClipsConfig,
        find_preset(Path("tiny/clips")),
        {"output": str(config.output / "synthetic"), "count": config.count, "workers": 1},
    )
    write_clips(drawn)
    small = ClipSpec(height=drawn.size, width=drawn.size)
    synthetic = read_clips(drawn.output, spec=small, most=config.count, per_file=1)
    spec = ClipSpec(height=config.real_size, width=config.real_size)
    real = read_clips(
        config.real, spec=spec, most=config.count, per_file=config.per_file, leave_out=config.leave_out
    )
    strokes = read_clips(
        config.real,
        spec=spec,
        most=config.count,
        per_file=config.stroke_windows,
        only=config.strokes,
        every_s=0.5,
    )
    shown = [*metrics, SYNC]
    collections: list[Collection] = []

    def keep(collection: Collection) -> None:
        """Write what there is so far: a run that is stopped keeps its finished collections."""
        collections.append(collection)
        (config.output / "verdicts.md").write_text(verdicts_markdown(collections, shown), encoding="utf-8")
        (config.output / "values.csv").write_text(values_csv(collections, shown), encoding="utf-8")
        draw(collections, shown, config.output / "curves.png")

    for name, clips, others in (("synthetic", synthetic, real), ("real", real, synthetic)):
        keep(measure_collection(name, clips[1::2], others[1::2], metrics, extracted, references=clips[::2]))
    of_synchrony = [metric for metric in metrics if isinstance(metric, AvAlign)]
    kept = {name: each for name, each in extracted.extractors.items() if name == "av_align"}
    keep(measure_collection("real strokes", strokes, real[1::2], of_synchrony, Extracted(kept)))
    print(f"{config.output}: verdicts.md, values.csv, curves.png")


if __name__ == "__main__":
    run(main)
