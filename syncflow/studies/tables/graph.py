"""The jobs behind the tables at one size: what is trained, what makes clips, what measures them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.studies.tables.config import TablesConfig
from syncflow.studies.tables.jobs import Job
from syncflow.studies.tables.reference_set import PROMPTS, SET

Made = tuple[tuple[Path, ...], tuple[str, ...]]
"""Folders of clips, one a seed, and the jobs that make them."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Presets of one size."""

    generate: str
    foleygen: str  # folder of codes, train and foleygen_audio
    stages: str  # folder of audio, joint ...
    edge: int  # rows and columns of the clips, pixels
    ablation: tuple[str, str, str]  # Table 4: with adaptor, without, text alone


SIZES = {
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


class Jobs:
    """The jobs of a size, each added once something needs it.

    Its methods take the file name of a `pipeline` and its `flags`, a `table` (evaluation set or list of
    prompts), the file that the job `leaves` when it is done, and the `edge` of a frame (rows and columns),
    pixels.

    Args:
        presets: folder of the presets.
    """

    def __init__(self, config: TablesConfig, *, presets: Path) -> None:
        self.config, self.size, self.presets = config, SIZES[config.size], presets
        self.jobs: dict[str, Job] = {}
        self.root = config.output.absolute()
        self.data = (config.data or self.root / "latents").absolute()
        self.set = self.root / "set"
        self.before_training = self.dataset()
        self.reference_set()

    def reference_set(self) -> str:
        """The real clips, cut and encoded as all others are."""
        config = self.config
        listed = config.evaluation_set or self.root / "evaluation_set.csv"
        edge = str(self.size.edge)
        flags = ["--evaluation-set", str(listed.absolute()), "--limit", str(config.limit)]
        flags += ["--clip.height", edge, "--clip.width", edge]
        leaves = self.set / SET
        needs = self.before_training
        return self.add("set", "make_reference_set.py", [], leaves, flags, needs=needs, output=self.set)

    def scores(self, system: str, made: Made) -> str:
        """The job that measures a system's folders; its output is `scores_of(system)`."""
        edge, metrics = str(self.size.edge), self.config.metrics
        flags = ["--clips", *map(str, made[0]), "--clip.height", edge, "--clip.width", edge]
        if metrics.names:
            flags += ["--metrics.names", *metrics.names, "--metrics.evaluation-set", str(self.set / SET)]
            flags += ["--metrics.features", str(self.root / "features")]
            flags += ["--metrics.max-failed", str(metrics.max_failed)]
            flags += ["--metrics.backbones.folder", str(metrics.backbones.folder)]
        output = self.scores_of(system)
        leaves, needs = output / "summary.csv", [*made[1], "set"]
        return self.add(f"scores-{system}", "evaluate.py", [], leaves, flags, needs=needs, output=output)

    def scores_of(self, system: str) -> Path:
        """Where a system's scores lie."""
        return self.root / "scores" / system

    # --- what is trained

    def dataset(self) -> tuple[str, ...]:
        """Jobs before the first training: the miniature makes its dataset, unless one is given."""
        if self.config.data is not None:
            return ()
        clips = self.root / "clips"
        self.add("clips", "make_demo_clips.py", ["tiny/shipped/clips"], clips / "captions.csv", output=clips)
        flags = ["--source.root", str(clips), "--executor", "loop"]
        preset = ["tiny/shipped/precompute"]
        leaves = self.data / "dataset.json"
        self.add("latents", "precompute_latents.py", preset, leaves, flags, needs=["clips"], output=self.data)
        source = ["--source.kind", "synthetic", "--source.root", str(clips)]
        listed = self.root / "evaluation_set.csv"
        self.add(
            "evaluation_set", "make_evaluation_set.py", [], listed, source, needs=["clips"], output=listed
        )
        return ("latents", "evaluation_set")

    def stage(self, stage: str, *, before: Sequence[str]) -> tuple[str, ...]:
        """The job of a stage; none where `runs` has its checkpoint."""
        runs = self.config.stages.absolute()
        leaves = runs / stage / "checkpoint" / "manifest.json"
        if self.config.runs and leaves.is_file():
            return ()
        flags = ["--data", str(self.data)]
        preset = [f"{self.size.stages}/{stage}"]
        return (self.add(stage, "train_stage.py", preset, leaves, flags, needs=before, output=runs),)

    def video(self) -> tuple[str, ...]:
        """Stage 1 of the miniature; the paper's sizes begin with Open-Sora's weights."""
        if self.config.size != "miniature":
            return self.before_training
        return self.stage("video", before=self.before_training)

    def audio(self) -> tuple[str, ...]:
        return self.stage("audio", before=self.video())

    def joint(self) -> tuple[str, ...]:
        return self.stage("joint", before=self.audio())

    def variant(self, name: str, preset: str) -> tuple[str, Path]:
        """Another stage audio, beside the first one: job and checkpoint.

        In miniature it is trained once a seed, each with its own first weights, order and noise: `{seed}` in
        the job and the checkpoint is the seed. The paper's sizes train it once.
        """
        flags, runs, needs = ["--data", str(self.data)], self.root / name, self.video()
        if self.config.size != "miniature":
            return self._trained(name, preset, runs, flags, needs)
        start = self.config.stages.absolute() / "video" / "checkpoint"
        for seed in self.config.seeds:
            own = [*flags, "--initialise-from", str(start), "--seed", str(seed)]
            self._trained(f"{name}-trained{seed}", preset, runs / f"seed{seed}", own, needs)
        return f"{name}-trained{{seed}}", runs / "seed{seed}" / "audio" / "checkpoint"

    def _trained(
        self, name: str, preset: str, runs: Path, flags: Sequence[str], needs: Sequence[str]
    ) -> tuple[str, Path]:
        checkpoint = runs / "audio" / "checkpoint"
        leaves = checkpoint / "manifest.json"
        return self.add(name, "train_stage.py", [preset], leaves, flags, needs=needs, output=runs), checkpoint

    def foleygen(self) -> tuple[str, Path]:
        codes = self.data / "foleygen" / "codes.json"
        preset, flags = f"{self.size.foleygen}/codes", ["--data", str(self.data)]
        needs = self.before_training
        self.add("codes", "precompute_codes.py", [preset], codes, flags, needs=needs)
        run = self.root / "foleygen"
        leaves = run / "checkpoint" / "manifest.json"
        preset = f"{self.size.foleygen}/train"
        job = self.add("foleygen", "train_foleygen.py", [preset], leaves, flags, needs=["codes"], output=run)
        return job, run / "checkpoint"

    # --- what makes clips, a job a seed

    def clips(
        self, system: str, pipeline: str, preset: Sequence[str], flags: Sequence[str], needs: Sequence[str]
    ) -> Made:
        """Folders and jobs; `{seed}` in the flags is the seed.

        Args:
            pipeline: file name of the command.
            flags: of the command.
        """
        folders, names = [], []
        for seed in self.config.seeds:
            folder = self.root / "systems" / system / f"seed{seed}"
            own = [flag.replace("{seed}", str(seed)) for flag in flags]
            before = [name.replace("{seed}", str(seed)) for name in needs]
            name = f"{system}-seed{seed}"
            own = [*own, "--seed", str(seed)]
            self.add(name, pipeline, preset, folder / "manifest.csv", own, needs=before, output=folder)
            folders.append(folder)
            names.append(name)
        return tuple(folders), tuple(names)

    def generated(
        self,
        system: str,
        checkpoint: Path,
        needs: Sequence[str],
        *,
        edge: int = 0,
        width: int = 0,
        table: str = PROMPTS,
        flags: Sequence[str] = (),
    ) -> Made:
        """generate.py; `edge` is rows and, unless `width` is given, columns of the clips, pixels."""
        edge = edge or self.size.edge
        given = ["--checkpoint", str(checkpoint), "--prompts", str(self.set / table)]
        given += [
            "--clip.height",
            str(edge),
            "--clip.width",
            str(width or edge),
            "--limit",
            "0",
            "--no-strip",
        ]
        preset = [self.size.generate]
        return self.clips(system, "generate.py", preset, [*given, *flags], [*needs, "set"])

    def t2v(self, edge: int) -> Made:
        """Video alone: the frozen tower of stage audio is Open-Sora's, or the miniature's stage 1."""
        flags, checkpoint = ["--modalities", "video"], self.checkpoint("audio")
        return self.generated(f"t2v_{edge}", checkpoint, self.audio(), edge=edge, flags=flags)

    def sound(
        self,
        system: str,
        preset: str,
        videos: str,
        *,
        checkpoint: Path | None = None,
        needs: Sequence[str] = (),
        flags: Sequence[str] = (),
    ) -> Made:
        """make_audio.py on a folder of videos."""
        given = ["--video", videos, *flags]
        given += ["--checkpoint", str(checkpoint)] if checkpoint else []
        presets = [preset] if preset else []
        return self.clips(system, "make_audio.py", presets, given, needs)

    def checkpoint(self, stage: str) -> Path:
        return self.config.stages.absolute() / stage / "checkpoint"

    def add(
        self,
        name: str,
        pipeline: str,
        preset: Sequence[str],
        leaves: Path,
        flags: Sequence[str] = (),
        *,
        needs: Sequence[str] = (),
        output: Path | None = None,
    ) -> str:
        given = ["--config", str(self.presets / f"{preset[0]}.yaml")] if preset else []
        given += [*flags, *(["--output", str(output)] if output else [])]
        job = Job(name=name, pipeline=pipeline, flags=tuple(given), leaves=leaves, needs=tuple(needs))
        assert self.jobs.get(name, job) == job, f"two jobs named {name}"
        self.jobs[name] = job
        return name
