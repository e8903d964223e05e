"""The presets behind the tables at each size."""

from dataclasses import dataclass

from syncflow.studies.tables.config import SizeName


@dataclass(frozen=True, kw_only=True)
class Size:
    """Presets of one size."""

    generate: str
    foleygen: str  # folder of codes, train and foleygen_audio
    stages: str  # folder of audio, joint ...
    edge: int  # rows and columns of the clips, pixels
    ablation: tuple[str, str, str]  # Table 4: with adaptor, without, text alone


SIZES: dict[SizeName, Size] = {
    "miniature": Size(
        generate="tiny/generate",
        foleygen="tiny/foleygen",
        stages="tiny/shipped",
        edge=64,
        ablation=("tiny/ablation/adaptor", "tiny/ablation/no_adaptor", "tiny/ablation/text"),
    ),
    "greatest_hits": Size(
        generate="greatest_hits/generate",
        foleygen="greatest_hits/foleygen",
        stages="greatest_hits",
        edge=256,
        ablation=("greatest_hits/audio", "greatest_hits/audio_no_adaptor", "greatest_hits/audio_text"),
    ),
    "vggsound": Size(
        generate="vggsound/generate",
        foleygen="vggsound/foleygen",
        stages="vggsound",
        edge=256,
        ablation=("", "", ""),
    ),
}
