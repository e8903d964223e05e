"""Every metric by name: which features it takes, of which clips, and what it is called in tables."""

from dataclasses import dataclass
from typing import Literal

from syncflow.errors import UserError
from syncflow.hints import nearest

Side = Literal["generated", "reference", "prompt"]
Better = Literal["lower", "higher"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One output of one extractor, of the generated clip, of its reference, or of its prompt."""

    extractor: str
    output: str
    side: Side = "generated"


@dataclass(frozen=True, kw_only=True)
class SetDistance:
    """Distance of the generated clips' features from the reference clips'."""

    name: str
    title: str
    source: Source
    kind: Literal["frechet", "kernel"]
    better: Better = "lower"


@dataclass(frozen=True, kw_only=True)
class PairedKl:
    """KL divergence of class probabilities, reference clip against generated clip."""

    name: str
    title: str
    source: Source
    reverse: bool = False
    better: Better = "lower"


@dataclass(frozen=True, kw_only=True)
class InceptionScore:
    """Inception score of the generated clips' classes."""

    name: str
    title: str
    source: Source
    better: Better = "higher"


@dataclass(frozen=True, kw_only=True)
class PairedCosine:
    """Mean cosine of two embeddings."""

    name: str
    title: str
    first: Source
    second: Source
    better: Better = "higher"


@dataclass(frozen=True, kw_only=True)
class Javis:
    """AVHScore (frames against the whole sound) or JavisScore (lowest frames of each half second)."""

    name: str
    title: str
    frames: Source
    audio: Source
    better: Better = "higher"


@dataclass(frozen=True, kw_only=True)
class AvAlign:
    """Intersection over union of sound onsets and flow peaks."""

    name: str
    title: str
    source: Source
    variant: Literal["tempotokens", "javisbench"]
    better: Better = "higher"


@dataclass(frozen=True, kw_only=True)
class ShareAbove:
    """The share of clips of which a number is above a threshold."""

    name: str
    title: str
    source: Source
    threshold: float
    better: Better = "lower"


@dataclass(frozen=True, kw_only=True)
class Undefined:
    """A published metric that has no value for clips of this length."""

    name: str
    title: str
    shortest_s: float
    reason: str
    better: Better = "lower"


Metric = SetDistance | PairedKl | InceptionScore | PairedCosine | Javis | AvAlign | ShareAbove | Undefined


def _distances(name: str, frechet: str, kernel: str, extractor: str, output: str) -> tuple[SetDistance, ...]:
    source = Source(extractor=extractor, output=output)
    return (
        SetDistance(name=name, title=frechet, source=source, kind="frechet"),
        SetDistance(name=f"{name}_kernel", title=kernel, source=source, kind="kernel"),
    )


def _kl(name: str, title: str, extractor: str, output: str = "logits") -> tuple[PairedKl, ...]:
    source = Source(extractor=extractor, output=output)
    return (
        PairedKl(name=name, title=f"KL ({title})", source=source),
        PairedKl(name=f"{name}_reverse", title=f"KL reversed ({title})", source=source, reverse=True),
    )


def _imagebind(first: tuple[str, Side], second: tuple[str, Side]) -> PairedCosine:
    (a, side_a), (b, side_b) = first, second
    return PairedCosine(
        name=f"imagebind_{side_a}_{a}_{side_b}_{b}",
        title=f"ImageBind: {side_a} {a}, {side_b} {b}".replace("prompt text", "prompt"),
        first=Source(extractor=f"imagebind_{a}", output="embedding", side=side_a),
        second=Source(extractor=f"imagebind_{b}", output="embedding", side=side_b),
    )


PAPER: tuple[Metric, ...] = (
    *_distances("fvd", "FVD (I3D)", "kernel distance x 1000 (I3D)", "i3d", "logits"),
    *_distances("fad", "FAD (VGGish)", "kernel distance x 1000 (VGGish)", "vggish", "embedding"),
    *_kl("kl_panns", "PANNs", "panns"),
    PairedCosine(
        name="clap",
        title="CLAP: generated audio, prompt",
        first=Source(extractor="clap_audio", output="embedding"),
        second=Source(extractor="clap_text", output="embedding", side="prompt"),
    ),
    _imagebind(("video", "generated"), ("audio", "generated")),
    _imagebind(("video", "reference"), ("audio", "generated")),
    _imagebind(("video", "generated"), ("audio", "reference")),
    _imagebind(("video", "generated"), ("video", "reference")),
    _imagebind(("audio", "generated"), ("audio", "reference")),
    _imagebind(("video", "generated"), ("text", "prompt")),
    _imagebind(("audio", "generated"), ("text", "prompt")),
    AvAlign(
        name="av_align",
        title="AV-Align (TempoTokens)",
        source=Source(extractor="av_align", output="tempotokens"),
        variant="tempotokens",
    ),
)
MORE: tuple[Metric, ...] = (
    *_distances("fad_panns", "FAD (PANNs)", "kernel distance x 1000 (PANNs)", "panns", "embedding"),
    *_kl("kl_vggishish", "VGGish-ish", "vggishish"),
    *_kl("kl_passt", "PaSST", "passt"),
    *_kl("kl_ast", "AST", "ast"),
    InceptionScore(
        name="is_panns",
        title="inception score (PANNs)",
        source=Source(extractor="panns", output="logits"),
    ),
    Javis(
        name="avh_score",
        title="AVHScore (ImageBind)",
        frames=Source(extractor="imagebind_frames", output="frames"),
        audio=Source(extractor="imagebind_audio", output="embedding"),
    ),
    Javis(
        name="javis_score",
        title="JavisScore (ImageBind)",
        frames=Source(extractor="imagebind_frames", output="frames"),
        audio=Source(extractor="imagebind_windows", output="windows"),
    ),
    AvAlign(
        name="av_align_javisbench",
        title="AV-Align (JavisBench)",
        source=Source(extractor="av_align", output="javisbench"),
        variant="javisbench",
    ),
    Undefined(
        name="desync",
        title="DeSync (Synchformer)",
        shortest_s=4.8,
        reason="Synchformer's 14 segments need 4.8 s; its network is not part of this project",
    ),
)
OPEN: tuple[Metric, ...] = (
    *_distances(
        "sound_distance_aisfx",
        "sound distance (aiSFX)",
        "sound kernel distance (aiSFX)",
        "aisfx",
        "embedding",
    ),
    *_distances(
        "sound_distance_soundnet",
        "sound distance (SoundNet)",
        "sound kernel distance (SoundNet)",
        "soundnet",
        "pool5",
    ),
    *_distances(
        "frame_distance",
        "frame distance (EfficientNet)",
        "frame kernel distance (EfficientNet)",
        "efficientnet_lite0",
        "frames",
    ),
    *_distances(
        "motion_distance",
        "motion distance (EfficientNet)",
        "motion kernel distance (EfficientNet)",
        "efficientnet_lite0",
        "motion",
    ),
    *_distances(
        "ordered_motion",
        "ordered motion distance (TransNetV2)",
        "ordered motion kernel distance (TransNetV2)",
        "transnetv2",
        "motion",
    ),
    ShareAbove(
        name="cuts",
        title="clips with a cut (TransNetV2)",
        source=Source(extractor="transnetv2", output="cut"),
        threshold=0.5,
    ),
    *_kl("kl_aisfx", "aiSFX", "aisfx"),
    *_kl("kl_soundnet", "SoundNet objects", "soundnet", "objects"),
    *(metric for metric in (*PAPER, *MORE) if isinstance(metric, AvAlign)),
)
GROUPS: dict[str, tuple[Metric, ...]] = {"open": OPEN, "paper": PAPER, "all": (*PAPER, *MORE, *OPEN)}


def chosen_metrics(names: tuple[str, ...]) -> list[Metric]:
    """The metrics of these names and groups, each once.

    Raises:
        UserError: there is none of a name.
    """
    every = {metric.name: metric for metric in GROUPS["all"]}
    found: dict[str, Metric] = {}
    for name in names:
        if name not in every and name not in GROUPS:
            near = nearest(name, [*GROUPS, *every])
            hint = f"{near} " if near.startswith("did") else ""
            raise UserError(
                f"metric {name!r}: no such one; {hint}There are the groups {', '.join(GROUPS)} and the "
                f"metrics {', '.join(every)}"
            )
        for metric in GROUPS.get(name) or (every[name],):
            found[metric.name] = metric
    return list(found.values())


def sources_of(metric: Metric) -> tuple[Source, ...]:
    """All features that the metric takes, of either side."""
    match metric:
        case SetDistance() | PairedKl():
            source = metric.source
            return source, Source(extractor=source.extractor, output=source.output, side="reference")
        case InceptionScore() | AvAlign() | ShareAbove():
            return (metric.source,)
        case PairedCosine():
            return metric.first, metric.second
        case Javis():
            return metric.frames, metric.audio
        case Undefined():
            return ()
