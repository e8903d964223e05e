"""Every row of Tables 1 to 4 and Figure 5: its clips, the jobs that make them, or why they cannot be made."""

from dataclasses import dataclass
from pathlib import Path

from syncflow.config import load_config
from syncflow.shipped import find_preset
from syncflow.studies.paper_tables import PAPER, T1, T2, T3, T4
from syncflow.studies.tables.config import TableName, TablesConfig
from syncflow.studies.tables.graph import Jobs, Made
from syncflow.studies.tables.reference_set import CLIPS, PROMPTS, VIDEOS
from syncflow.systems.config import MakeAudioConfig
from syncflow.systems.foreign import command_of, is_there

PAGE = "docs/systems.md says how"
TITLES: dict[TableName, str] = {
    "table_1": T1,
    "table_2": T2,
    "table_3": T3,
    "table_4": T4,
    "figure_5": "Figure 5, guidance scale",
    "cost": "Cost against quality",
}
COSTS = (
    *((f"{n} Euler steps", f"steps_{n}", ["--solver.steps", str(n)]) for n in (50, 25, 10, 5)),
    ("10 steps of ab2", "ab2_10", ["--solver.steps", "10", "--solver.method", "ab2"]),
    ("25 steps, video tower at every 2nd", "every_2", ["--solver.steps", "25", "--speed.video-every", "2"]),
    ("25 steps, best of 4 by the sync score", "best_of_4", ["--solver.steps", "25", "--best-of", "4"]),
)


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """One system in one table."""

    table: TableName
    setting: str  # as `PAPER` has it
    system: str  # names its folder
    folders: tuple[Path, ...] = ()  # of its clips, one a seed
    needs: tuple[str, ...] = ()  # jobs that make them
    reason: str = ""  # why they cannot be made
    note: str = ""  # what the table is to tell of them


class Tables:
    """The rows of the tables that are asked for, and the jobs that they need.

    Args:
        presets: folder of the presets.
    """

    def __init__(self, config: TablesConfig, *, presets: Path) -> None:
        self.config, self.jobs = config, Jobs(config, presets=presets)
        self.rows = [row for table in config.tables for row in self._table(table)]

    def _table(self, table: TableName) -> list[TableRow]:
        makers = {
            "table_1": self._table_1,
            "table_2": self._table_2,
            "table_3": self._table_3,
            "table_4": self._table_4,
            "figure_5": self._figure_5,
            "cost": self._cost,
        }
        rows = [self._elsewhere(row) for row in makers[table]()]
        named = {setting for title, setting, *_ in PAPER if title == TITLES[table]}
        missing = named - {row.setting for row in rows}
        assert not missing, f"{table}: no row for {sorted(missing)}"
        return rows

    def _elsewhere(self, row: TableRow) -> TableRow:
        """The row with clips that were made elsewhere, where there are such."""
        folder = self.config.made.get(row.system)
        if folder is None:
            return row
        return TableRow(
            table=row.table,
            setting=row.setting,
            system=row.system,
            folders=(folder.absolute(),),
            needs=("set",),
            note=f"clips made elsewhere, {folder}",
        )

    def _row(self, table: TableName, setting: str, system: str, made: Made) -> TableRow:
        return TableRow(table=table, setting=setting, system=system, folders=made[0], needs=made[1])

    def _truth(self, table: TableName) -> TableRow:
        return self._row(table, "GroundTruth", "ground_truth", ((self.jobs.set / CLIPS,), ("set",)))

    def _cascades(self, table: TableName) -> list[TableRow]:
        """Table 1: OpenSora, then a system that listens to the prompt or to the video."""
        name = f"t2v_{self.jobs.size.edge}"
        videos = str(self.jobs.root / "systems" / name / "seed{seed}")
        rows = [
            self._audioldm(table, kind, setting, videos, f"{name}-seed{{seed}}")
            for kind, setting in (
                ("audioldm", "OpenSora + AudioLDM"),
                ("audioldm2", "OpenSora + AudioLDM 2"),
            )
        ]
        for system, setting in (
            ("audiogen", "OpenSora + AudioGen"),
            ("specvqgan", "OpenSora + SpecVQGAN"),
            ("diff_foley", "OpenSora + Diff-Foley"),
        ):
            rows.append(
                self._foreign(table, system, setting, videos, f"t2v_{system}", f"{name}-seed{{seed}}")
            )
        job, checkpoint = self.jobs.foleygen()
        self.jobs.t2v(self.jobs.size.edge)
        needs, preset = [job, f"{name}-seed{{seed}}"], f"{self.jobs.size.foleygen}/foleygen_audio"
        made = self.jobs.sound("t2v_foleygen", preset, videos, checkpoint=checkpoint, needs=needs)
        return [*rows, self._row(table, "OpenSora + FoleyGen", "t2v_foleygen", made)]

    def _text_to_audio(self) -> Made:
        """T2V, and the audio tower that reads the text alone (Table 4's third row), muxed."""
        job, checkpoint = self.jobs.variant("table_4_text", self.jobs.size.ablation[2])
        self.jobs.generated("t2a", checkpoint, [job], flags=["--modalities", "audio"])
        edge, systems = str(self.jobs.size.edge), self.jobs.root / "systems"
        needs = ["t2a-seed{seed}", f"t2v_{edge}-seed{{seed}}"]
        flags = ["--system", "folder", "--clip.height", edge, "--clip.width", edge]
        wavs, videos = systems / "t2a" / "seed{seed}", str(systems / f"t2v_{edge}" / "seed{seed}")
        return self.jobs.sound("t2v_t2a", "", videos, checkpoint=wavs, needs=needs, flags=flags)

    def _audioldm(self, table: TableName, kind: str, setting: str, videos: str, before: str) -> TableRow:
        system = f"t2v_{kind}"
        reason = ""
        if self.config.size == "miniature":
            reason = "AudioLDM knows nothing of synthetic clips; another size, or --made"
        elif not self.config.accept_noncommercial_licence:
            reason = "its weights are CC BY-NC-SA 4.0: --accept-noncommercial-licence"
        if reason:
            return TableRow(table=table, setting=setting, system=system, reason=reason)
        self.jobs.t2v(self.jobs.size.edge)
        flags = ["--system", kind, "--accept-noncommercial-licence"]
        return self._row(
            table, setting, system, self.jobs.sound(system, "", videos, needs=[before], flags=flags)
        )

    def _foreign(
        self, table: TableName, system: str, setting: str, videos: str, folder: str, before: str
    ) -> TableRow:
        preset = self.config.foreign and find_preset(self.config.foreign / f"{system}.yaml")
        if preset is None or not preset.is_file():
            reason = f"runs in its own environment: --foreign FOLDER with {system}.yaml, or --made; {PAGE}"
            return TableRow(table=table, setting=setting, system=folder, reason=reason)
        if reason := self._why_not(preset):
            return TableRow(table=table, setting=setting, system=folder, reason=reason)
        if before.startswith("t2v"):
            self.jobs.t2v(self.jobs.size.edge)
        place = str(preset.absolute().with_suffix(""))
        flags = ["--accept-noncommercial-licence"] if self.config.accept_noncommercial_licence else []
        made = self.jobs.sound(folder, place, videos, needs=[before], flags=flags)
        return self._row(table, setting, folder, made)

    def _why_not(self, preset: Path) -> str:
        """Why a foreign system cannot run here, as far as its preset tells; empty if it can."""
        foreign = load_config(MakeAudioConfig, preset, {"video": "-", "output": "-"}).foreign
        if not is_there(foreign):
            return f"{command_of(foreign)[0]} is not there: {foreign.name}'s environment; {PAGE}"
        if "-NC" in foreign.licence.upper() and not self.config.accept_noncommercial_licence:
            return f"its weights are {foreign.licence}: --accept-noncommercial-licence"
        return ""

    def _codi(self, table: TableName, setting: str) -> TableRow:
        reason = f"makes video and audio in its own environment: --made.codi FOLDER; {PAGE}"
        return TableRow(table=table, setting=setting, system="codi", reason=reason)

    def _table_1(self) -> list[TableRow]:
        edge = self.jobs.size.edge
        audio, joint = self.jobs.checkpoint("audio"), self.jobs.checkpoint("joint")
        needs = self.jobs.audio()
        rows = [self._truth("table_1"), *self._cascades("table_1"), self._codi("table_1", "CoDi")]
        for setting, system, size in (
            ("SyncFlow-VGG", "syncflow_vgg", edge),
            ("SyncFlow-VGG at 128 x 128", "syncflow_vgg_half", edge // 2),
            ("SyncFlow-VGG at 512 x 512", "syncflow_vgg_double", 2 * edge),
        ):
            rows.append(
                self._row("table_1", setting, system, self.jobs.generated(system, audio, needs, edge=size))
            )
        made = self.jobs.generated("syncflow_vgg_av_ft", joint, self.jobs.joint())
        rows.append(self._row("table_1", "SyncFlow-VGG-AV-FT", "syncflow_vgg_av_ft", made))
        if self.config.size == "miniature":  # the paper's argument against one vector, without CoDi's weights
            made = self.jobs.generated("syncflow_vgg_wide", audio, needs, edge=edge, width=edge * 3 // 2)
            rows.append(self._row("table_1", "SyncFlow-VGG, half as wide again", "syncflow_vgg_wide", made))
            job, checkpoint = self.jobs.variant("pooled", "tiny/ablation/pooled")
            made = self.jobs.generated("pooled_vector", checkpoint, [job])
            rows.append(self._row("table_1", "one pooled vector (as CoDi)", "pooled_vector", made))
            rows.append(self._row("table_1", "OpenSora + text to audio", "t2v_t2a", self._text_to_audio()))
        return rows

    def _table_2(self) -> list[TableRow]:
        edge = self.jobs.size.edge
        rows = [self._truth("table_2"), self._codi("table_2", "CoDi, 4 fps")]
        for size, told in ((edge // 2, 128), (edge, 256), (2 * edge, 512)):
            made = self.jobs.t2v(size)
            rows.append(self._row("table_2", f"OpenSora, {told} x {told}", f"t2v_{size}", made))
        made = self.jobs.generated("syncflow_vgg_av_ft", self.jobs.checkpoint("joint"), self.jobs.joint())
        rows.append(self._row("table_2", "SyncFlow-VGG-AV-FT", "syncflow_vgg_av_ft", made))
        return rows

    def _table_3(self) -> list[TableRow]:
        videos = str(self.jobs.set / CLIPS)
        job, checkpoint = self.jobs.foleygen()
        preset = f"{self.jobs.size.foleygen}/foleygen_audio"
        made = self.jobs.sound("foleygen", preset, videos, checkpoint=checkpoint, needs=[job, "set"])
        rows = [self._truth("table_3"), self._row("table_3", "FoleyGen", "foleygen", made)]
        for system, setting in (("specvqgan", "SpecVQGAN"), ("diff_foley", "Diff-Foley")):
            rows.append(self._foreign("table_3", system, setting, videos, system, "set"))
        checkpoint, needs = self.jobs.checkpoint("audio"), self.jobs.audio()
        made = self.jobs.generated("syncflow_v2a", checkpoint, needs, table=VIDEOS)
        rows.append(self._row("table_3", "SyncFlow-VGG, zero-shot", "syncflow_v2a", made))
        return rows

    def _table_4(self) -> list[TableRow]:
        rows, names = [], ("adaptor", "no_adaptor", "text")
        settings = ("SyncFlow-GH", "SyncFlow-GH without adaptor", "text to audio")
        for setting, name, preset in zip(settings, names, self.jobs.size.ablation, strict=True):
            system = f"table_4_{name}"
            if not preset:
                reason = "the paper's ablation is of the Greatest Hits: --size greatest_hits"
                rows.append(TableRow(table="table_4", setting=setting, system=system, reason=reason))
                continue
            rows.append(self._row("table_4", setting, system, self._of_last_states(system, preset)))
        if self.config.size == "miniature":
            rows += self._small_models_own()
        return rows

    def _of_last_states(self, system: str, preset: str) -> Made:
        """Clips of each of the last saved states of a variant."""
        folders, jobs = list[Path](), list[str]()
        for ending, job, checkpoint in self.jobs.last_states(system, preset):
            made = self.jobs.generated(f"{system}{ending}", checkpoint, [job])
            folders += made[0]
            jobs += made[1]
        return tuple(folders), tuple(jobs)

    def _small_models_own(self) -> list[TableRow]:
        """Table 4 for given videos, and the adaptor as the paper describes it, without what is ours."""
        rows, adaptor = [], self.jobs.variant("table_4_adaptor", self.jobs.size.ablation[0])
        plain, noised = self.jobs.variant("table_4_plain", "tiny/ablation/plain"), ["--no-clean-video"]
        text = self.jobs.variant("table_4_text", self.jobs.size.ablation[2])
        none = self.jobs.variant("table_4_no_adaptor", self.jobs.size.ablation[1])
        for setting, system, (job, checkpoint), table, flags in (
            ("SyncFlow-GH, the paper's plain way", "table_4_plain", plain, PROMPTS, noised),
            ("SyncFlow-GH, for given videos", "table_4_adaptor_v2a", adaptor, VIDEOS, []),
            ("SyncFlow-GH without adaptor, for given videos", "table_4_no_adaptor_v2a", none, VIDEOS, []),
            ("text to audio, for given videos", "table_4_text_v2a", text, VIDEOS, []),
            ("the paper's plain way, for given videos", "table_4_plain_v2a", plain, VIDEOS, noised),
        ):
            made = self.jobs.generated(system, checkpoint, [job], table=table, flags=flags)
            rows.append(self._row("table_4", setting, system, made))
        return rows

    def _figure_5(self) -> list[TableRow]:
        rows, checkpoint, needs = [], self.jobs.checkpoint("audio"), self.jobs.audio()
        for scale in self.config.scales:
            system = f"figure_5_scale_{scale:g}"
            flags = ["--guidance.scale", f"{scale:g}"]
            made = self.jobs.generated(system, checkpoint, needs, flags=flags)
            rows.append(self._row("figure_5", f"guidance {scale:g}", system, made))
        return rows

    def _cost(self) -> list[TableRow]:
        """Fewer solver steps, the video tower run at every other step only, and the best of several draws."""
        rows, checkpoint, needs = [], self.jobs.checkpoint("audio"), self.jobs.audio()
        for setting, system, flags in COSTS:
            made = self.jobs.generated(f"cost_{system}", checkpoint, needs, flags=flags)
            rows.append(self._row("cost", setting, f"cost_{system}", made))
        return rows
