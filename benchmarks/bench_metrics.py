"""What each metric does as clips get worse: graded damage to sound and video, a table of responses.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/bench_metrics.py --clips DIR --output FILE.md

One half of the clips is the reference; the other half is damaged and compared. Needs the open backbones of
pipelines/fetch_backbones.py.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import signal

from syncflow.command_line import parse_arguments, run
from syncflow.config import Config
from syncflow.evaluation.backbone_config import BackboneConfig
from syncflow.evaluation.backbones import Backbones
from syncflow.evaluation.extractors.base import DecodedMedia, Extractor, Refused
from syncflow.evaluation.measure import measure
from syncflow.evaluation.metrics.catalogue import Source, chosen_metrics
from syncflow.evaluation.sync import ClipEvents
from syncflow.media import decode_window
from syncflow.media.clip_folder import media_files
from syncflow.records import ClipSpec

METRICS = (
    "sound_distance_aisfx",
    "sound_distance_aisfx_kernel",
    "sound_distance_soundnet_kernel",
    "kl_aisfx",
    "frame_distance_kernel",
    "motion_distance_kernel",
    "av_align",
    "av_align_javisbench",
)
Damage = Callable[[list[DecodedMedia]], list[DecodedMedia]]


class MetricsBenchConfig(Config):
    """Clips that the metrics are tried on."""

    clips: Path
    """Folder of clips with sound."""
    output: Path
    """Markdown table."""
    count: int = 48
    """Clips that are taken, of which half are the reference."""
    clip: ClipSpec = ClipSpec(height=64, width=64)
    """What is read of each."""


def noise(decibels: float) -> Damage:
    """White noise at this signal-to-noise ratio."""

    def damaged(clip: DecodedMedia, seed: int) -> DecodedMedia:
        power = float(np.square(clip.waveform).mean()) + 1e-9
        added = np.random.default_rng(seed).normal(
            0, np.sqrt(power / 10 ** (decibels / 10)), len(clip.waveform)
        )
        return replace(clip, audio=(clip.waveform + added).astype(np.float32))

    return lambda clips: [damaged(clip, seed) for seed, clip in enumerate(clips)]


def low_pass(hertz: float) -> Damage:
    """Nothing above this frequency."""

    def damaged(clip: DecodedMedia) -> DecodedMedia:
        sections = signal.butter(8, hertz, fs=clip.sample_rate, output="sos")
        return replace(clip, audio=np.asarray(signal.sosfilt(sections, clip.waveform)).astype(np.float32))

    return lambda clips: [damaged(clip) for clip in clips]


def shift(seconds: float) -> Damage:
    """The sound later by this much, its end first."""
    return lambda clips: [
        replace(clip, audio=np.roll(clip.waveform, round(seconds * clip.sample_rate))) for clip in clips
    ]


def swapped(clips: list[DecodedMedia]) -> list[DecodedMedia]:
    """Each video with the next one's sound."""
    return [replace(clip, audio=clips[(k + 1) % len(clips)].waveform) for k, clip in enumerate(clips)]


def frozen(share: float) -> Damage:
    """The last frames, this share of the clip, all equal."""

    def damaged(clip: DecodedMedia) -> DecodedMedia:
        last = round(len(clip.video) * (1 - share))
        return replace(clip, frames=clip.video[np.minimum(np.arange(len(clip.video)), last)])

    return lambda clips: [damaged(clip) for clip in clips]


def frame_noise(levels: float) -> Damage:
    """Noise on every pixel, grey levels."""

    def damaged(clip: DecodedMedia, seed: int) -> DecodedMedia:
        added = np.random.default_rng(seed).normal(0, levels, clip.video.shape)
        return replace(clip, frames=np.clip(clip.video + added, 0, 255).astype(np.uint8))

    return lambda clips: [damaged(clip, seed) for seed, clip in enumerate(clips)]


DAMAGES: dict[str, Damage] = {
    "none": lambda clips: clips,
    "noise at 30 dB": noise(30),
    "noise at 10 dB": noise(10),
    "noise at 0 dB": noise(0),
    "low-pass 6 kHz": low_pass(6000),
    "low-pass 1.5 kHz": low_pass(1500),
    "sound 0.05 s late": shift(0.05),
    "sound 0.2 s late": shift(0.2),
    "sound 0.5 s late": shift(0.5),
    "sounds swapped": swapped,
    "last half frozen": frozen(0.5),
    "all frozen": frozen(1.0),
    "frames with noise, 8 levels": frame_noise(8),
    "frames with noise, 32 levels": frame_noise(32),
}


Features = dict[Source, dict[str, np.ndarray]]


def features_of(
    clips: list[DecodedMedia], extractors: dict[str, Extractor], known: Features | None = None
) -> Features:
    """By source and clip number; sources of `known` are taken over."""
    found: Features = dict(known or {})
    for name, extractor in extractors.items():
        if any(source.extractor == name for source in found):
            continue
        results = extractor(clips)
        for output in extractor.outputs:
            found[Source(extractor=name, output=output)] = {
                str(k): result[output] for k, result in enumerate(results) if not isinstance(result, Refused)
            }
    return found


def untouched(whole: Features, damaged: list[DecodedMedia], sources: list[DecodedMedia]) -> Features:
    """What the damage cannot have changed: features of the video, or of the sound alone."""
    same = set()
    if all(ours.video is clip.video for ours, clip in zip(damaged, sources, strict=True)):
        same |= {"efficientnet_lite0"}
    if all(ours.waveform is clip.waveform for ours, clip in zip(damaged, sources, strict=True)):
        same |= {"aisfx", "soundnet"}
    return {source: features for source, features in whole.items() if source.extractor in same}


def main() -> None:
    config = parse_arguments(MetricsBenchConfig, description=__doc__ or "")
    backbones = Backbones(BackboneConfig())
    extractors = {n: backbones.extractor(n) for n in ("aisfx", "soundnet", "efficientnet_lite0", "av_align")}
    spec, clips = config.clip, []
    for path in media_files(config.clips)[: config.count]:
        frames, audio = decode_window(path.resolve(), start_s=0.0, spec=spec)
        clips.append(DecodedMedia(frames=frames, fps=spec.fps, audio=audio, sample_rate=spec.sample_rate))
    half = len(clips) // 2
    metrics = chosen_metrics(METRICS)
    reference, sources = features_of(clips[:half], extractors), clips[half:]
    whole = features_of(sources, extractors)
    lines = ["| damage | " + " | ".join(m.title for m in metrics) + " | sync F1 |"]
    lines.append("|---" * (len(metrics) + 2) + "|")
    for name, damage in DAMAGES.items():
        damaged = damage(list(sources))
        ours = features_of(damaged, extractors, untouched(whole, damaged, sources))
        cells = [name]
        for metric in metrics:
            paired = metric.name.startswith("kl")

            def load(source: Source, paired: bool = paired) -> dict[str, np.ndarray]:
                plain = Source(extractor=source.extractor, output=source.output)
                if source.side == "generated":
                    return ours[plain]  # noqa: B023
                return whole[plain] if paired else reference[plain]

            ids = [str(k) for k in range(len(sources))]
            cells.append(f"{measure(metric, load, ids=ids, fps=spec.fps).value:.3g}")
        scores = [
            ClipEvents.of(c.video, c.waveform, fps=c.fps, sample_rate=c.sample_rate).score().f1
            for c in damaged
        ]
        cells.append(f"{np.nanmean(scores):.3f}")
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    config.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run(main)
