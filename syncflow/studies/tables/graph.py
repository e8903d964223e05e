"""The jobs behind the tables at one size: what is trained, what makes clips, what measures them."""

from collections.abc import Sequence
from pathlib import Path

from syncflow.config import load_config
from syncflow.errors import UserError
from syncflow.hashing import settings_sha256
from syncflow.preset import read_preset
from syncflow.studies.tables.config import TablesConfig
from syncflow.studies.tables.jobs import Job, was_run
from syncflow.studies.tables.reference_set import PROMPTS, SET
from syncflow.studies.tables.sizes import SIZES
from syncflow.training.stage.config import TrainConfig

Made = tuple[tuple[Path, ...], tuple[str, ...]]
"""Folders of clips, one a seed, and the jobs that make them."""
RECORDS = "jobs"  # folder of what was done
TRACKED = ("train_stage.py", "train_foleygen.py", "evaluate.py")  # pipelines that track their runs


class Jobs:
    """The jobs of a size, each added once something needs it.

    Each job knows what its preset holds and the files from elsewhere that it works on, so that it is done
    anew where one of them has changed. The methods take the file name of a `pipeline` and its `flags`, a
    `table` (evaluation set or list of prompts), the file that the job `leaves` when it is done, files from
    elsewhere (`given`), and the `edge` of a frame (rows and columns), pixels.

    Args:
        presets: folder of the presets.
    """

    def __init__(self, config: TablesConfig, *, presets: Path) -> None:
        self.config, self.size, self.presets = config, SIZES[config.size], presets
        self.jobs: dict[str, Job] = {}
        self.root, self.records = config.output.absolute(), config.output.absolute() / RECORDS
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
        given = [listed.absolute()] if config.evaluation_set else []
        return self.add(
            "set", "make_reference_set.py", [], leaves, flags, needs=needs, output=self.set, given=given
        )

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
        elsewhere = [folder for folder in made[0] if self.root not in folder.parents]
        given = sorted(path for folder in elsewhere for path in folder.rglob("*") if path.is_file())
        name = f"scores-{system}"
        return self.add(name, "evaluate.py", [], leaves, flags, needs=needs, output=output, given=given)

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
        """The job of a stage; none where `runs` has its checkpoint, and it was not made by this command."""
        runs = self.config.stages.absolute()
        leaves = self.checkpoint(stage) / "manifest.json"
        if self.config.runs and leaves.is_file() and not was_run(stage, self.records):
            return ()
        flags = ["--data", str(self.data)]
        preset = [f"{self.size.stages}/{stage}"]
        given = self._given_data()
        return (
            self.add(stage, "train_stage.py", preset, leaves, flags, needs=before, output=runs, given=given),
        )

    def _given_data(self) -> list[Path]:
        """What tells which dataset it is, where it was given."""
        return [self.data / "dataset.json"] if self.config.data else []

    def _given_weights(self, checkpoint: Path) -> list[Path]:
        """What tells which weights they are, where they were given."""
        stage = checkpoint.parent
        given = stage.parent == self.config.stages.absolute() and stage.name not in self.jobs
        return [checkpoint / "manifest.json"] if given else []

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
        flags, needs = ["--data", str(self.data)], self.video()
        if self.config.size != "miniature":
            return self._trained(name, preset, self.root / name, flags, needs)
        start = self.config.stages.absolute() / "video" / "checkpoint"
        for seed in self.config.seeds:
            own = [*flags, "--initialise-from", str(start), "--seed", str(seed)]
            self._trained(f"{name}-trained{seed}", preset, self.root / f"{name}_seed{seed}", own, needs)
        return f"{name}-trained{{seed}}", self.root / f"{name}_seed{{seed}}" / "audio" / "checkpoint"

    def last_states(self, name: str, preset: str) -> list[tuple[str, str, Path]]:
        """The last saved states of `variant`, each an ending of the system's name, a job and a checkpoint.

        Raises:
            UserError: the preset keeps fewer states.
        """
        job, checkpoint = self.variant(name, preset)
        wanted = self.config.states_of_table_4
        if wanted == 1:
            return [("", job, checkpoint)]
        settings = load_config(TrainConfig, self.presets / f"{preset}.yaml")
        if settings.checkpoint.keep < wanted:
            raise UserError(
                f"last_states {wanted}: {preset} keeps {settings.checkpoint.keep}; give --last-states "
                f"{settings.checkpoint.keep}, or raise checkpoint.keep in the preset before it is trained"
            )
        every = settings.checkpoint.every
        newest = settings.steps // every * every
        steps = [newest - every * back for back in range(wanted) if newest - every * back > 0][::-1]
        if settings.steps not in steps:  # the last step is always saved
            steps = [*steps[1:], settings.steps]
        stage = checkpoint.parent
        folder = stage / "checkpoints"
        export = job.replace("-trained", "-states") if "-trained" in job else f"{job}-states"
        for seed in self.config.seeds if "{seed}" in job else ("",):
            own = [each.replace("{seed}", str(seed)) for each in (export, job, str(stage), str(folder))]
            leaves = Path(own[3]) / f"step_{steps[-1]:08}" / "manifest.json"
            flags = ["--run", own[2], "--steps", *map(str, steps)]
            self.add(own[0], "export_checkpoint.py", [], leaves, flags, needs=[own[1]], output=Path(own[3]))
        return [(f"_step{step}", export, folder / f"step_{step:08}") for step in steps]

    def _trained(
        self, name: str, preset: str, runs: Path, flags: Sequence[str], needs: Sequence[str]
    ) -> tuple[str, Path]:
        checkpoint = runs / "audio" / "checkpoint"
        leaves = checkpoint / "manifest.json"
        given = self._given_data()
        if self.config.size == "miniature":
            given += self._given_weights(self.checkpoint("video"))
        job = self.add(name, "train_stage.py", [preset], leaves, flags, needs=needs, output=runs, given=given)
        return job, checkpoint

    def foleygen(self) -> tuple[str, Path]:
        codes = self.data / "foleygen" / "codes.json"
        preset, flags = f"{self.size.foleygen}/codes", ["--data", str(self.data)]
        needs = self.before_training
        given = self._given_data()
        self.add("codes", "precompute_codes.py", [preset], codes, flags, needs=needs, given=given)
        run = self.root / "foleygen"
        leaves = run / "checkpoint" / "manifest.json"
        preset = f"{self.size.foleygen}/train"
        job = self.add("foleygen", "train_foleygen.py", [preset], leaves, flags, needs=["codes"], output=run)
        return job, run / "checkpoint"

    # --- what makes clips, a job a seed

    def clips(
        self,
        system: str,
        pipeline: str,
        preset: Sequence[str],
        flags: Sequence[str],
        needs: Sequence[str],
        *,
        given: Sequence[Path] = (),
    ) -> Made:
        """Folders and jobs; `{seed}` in the flags is the seed.

        Args:
            pipeline: file name of the command.
            flags: of the command.
            given: files from elsewhere that tell what it works on.
        """
        folders, names = [], []
        for seed in self.config.seeds:
            folder = self.root / "systems" / system / f"seed{seed}"
            own = [flag.replace("{seed}", str(seed)) for flag in flags]
            before = [name.replace("{seed}", str(seed)) for name in needs]
            name = f"{system}-seed{seed}"
            own = [*own, "--seed", str(seed)]
            leaves = folder / "manifest.csv"
            self.add(name, pipeline, preset, leaves, own, needs=before, output=folder, given=given)
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
        preset, weights = [self.size.generate], self._given_weights(checkpoint)
        return self.clips(system, "generate.py", preset, [*given, *flags], [*needs, "set"], given=weights)

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

    def _tracking(self, pipeline: str, name: str) -> tuple[str, ...]:
        """One store for all: from a cell of a table a person gets to the training behind it."""
        uri = self.config.tracking or "none"
        flags = ("--tracking-uri", uri, "--experiment", self.config.experiment)
        return (*flags, "--run", name) if pipeline == "evaluate.py" else flags

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
        given: Sequence[Path] = (),
    ) -> str:
        path = self.presets / f"{preset[0]}.yaml" if preset else None
        own = ["--config", str(path)] if path else []
        own += [*flags, *(["--output", str(output)] if output else [])]
        job = Job(
            name=name,
            pipeline=pipeline,
            flags=tuple(own),
            leaves=leaves,
            needs=tuple(needs),
            settings_sha256=settings_sha256(read_preset(path)) if path else "",
            given=tuple(given),
            tracking=self._tracking(pipeline, name) if pipeline in TRACKED else (),
        )
        assert self.jobs.get(name, job) == job, f"two jobs named {name}"
        self.jobs[name] = job
        return name
