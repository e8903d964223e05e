"""The tables' definition: all of the paper's rows, jobs whose flags are right, cells that are withheld."""

import csv
import json
import math
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from preprocessing.codes_config import CodesConfig
from preprocessing.config import PrecomputeConfig
from preprocessing.sources.evaluation_set_config import EvaluationSetConfig
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow.command_line import parse_arguments
from syncflow.config import Config, dump_config, validate
from syncflow.errors import UserError
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.foleygen.train_config import FoleyGenTrainConfig
from syncflow.generation.config import GenerateConfig
from syncflow.studies.paper_tables import PAPER
from syncflow.studies.tables.config import ReferenceSetConfig, TablesConfig
from syncflow.studies.tables.jobs import identity
from syncflow.studies.tables.lineage import SystemLineage
from syncflow.studies.tables.page import as_markdown, page_of, read_scores
from syncflow.studies.tables.rows import TITLES, TableRow, Tables
from syncflow.studies.tables.run import jobs_of, plan_lines, reproduce
from syncflow.systems.config import MakeAudioConfig
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.export_config import ExportConfig

PIPELINES = Path(__file__).parents[3] / "pipelines"
CONFIGS: dict[str, type[Config]] = {
    "make_demo_clips.py": SyntheticClipsConfig,
    "precompute_latents.py": PrecomputeConfig,
    "make_evaluation_set.py": EvaluationSetConfig,
    "make_reference_set.py": ReferenceSetConfig,
    "train_stage.py": TrainConfig,
    "export_checkpoint.py": ExportConfig,
    "precompute_codes.py": CodesConfig,
    "train_foleygen.py": FoleyGenTrainConfig,
    "generate.py": GenerateConfig,
    "make_audio.py": MakeAudioConfig,
    "evaluate.py": EvaluateConfig,
}


def config_of(folder: Path, size: str = "miniature", **changes: object) -> TablesConfig:
    values: dict[str, object] = {"size": size, "output": str(folder / "out")}
    if size != "miniature":
        values |= {"data": str(folder / "latents"), "evaluation_set": str(folder / "set.csv")}
    return validate(TablesConfig, {**values, **changes}, source="test")


def tables_of(folder: Path, size: str = "miniature", **changes: object) -> Tables:
    return Tables(config_of(folder, size, **changes), presets=PIPELINES / "configs")


@pytest.mark.parametrize("size", ["miniature", "greatest_hits", "vggsound"])
def test_every_row_of_the_paper_is_there_with_jobs_or_a_reason(size: str, tmp_path: Path) -> None:
    tables = tables_of(tmp_path, size)
    titles = {title: name for name, title in TITLES.items()}
    for title, setting, *_ in PAPER:
        (row,) = (r for r in tables.rows if r.setting == setting and r.table == titles[title])
        assert bool(row.reason) != bool(row.folders), row
    assert {row.table for row in tables.rows} == set(TITLES)


@pytest.mark.parametrize("size", ["miniature", "greatest_hits", "vggsound"])
def test_every_job_has_flags_that_its_pipeline_takes(
    size: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign").mkdir()
    for name in ("audiogen", "specvqgan", "diff_foley"):
        (tmp_path / "foreign" / f"{name}.yaml").write_text(
            f"system: foreign\nforeign: {{command: [{sys.executable}], name: n, weights: [w], licence: MIT}}"
        )
    changes = {"foreign": str(tmp_path / "foreign"), "accept_noncommercial_licence": True, "limit": 8}
    tables = tables_of(tmp_path, size, **changes, metrics={"names": ["open"]})
    jobs = jobs_of(tables)
    assert len({job.leaves for job in jobs}) == len(jobs), "two jobs leave one file"
    seen: set[tuple[str, ...]] = set()
    for job in jobs:
        kind = (job.pipeline, *(flag for flag in job.flags if flag.startswith("--")))
        if kind not in seen:  # parsing takes a moment
            seen.add(kind)
            monkeypatch.setattr(sys, "argv", [job.pipeline, *job.command(PIPELINES)[2:]])
            parse_arguments(CONFIGS[job.pipeline], description="")
    made = {row.system for row in tables.rows if not row.reason}
    assert {"t2v_audiogen", "specvqgan", "diff_foley"} <= made


def test_what_is_needed_comes_first_and_clips_made_elsewhere_are_taken(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, made={"codi": str(tmp_path / "codi")}, tables=["table_1"])
    jobs = jobs_of(tables)
    place = {job.name: number for number, job in enumerate(jobs)}
    assert all(place[name] < place[job.name] for job in jobs for name in job.needs)
    (codi,) = (row for row in tables.rows if row.system == "codi")
    assert str(tmp_path / "codi") in as_markdown(page_of([codi], {}, {}))
    assert codi.folders == (tmp_path / "codi",) and "scores-codi" in place
    lines = plan_lines(tables, jobs, tmp_path)
    assert any("AudioGen" in line and line.startswith("none") for line in lines)


def test_a_foreign_row_without_its_environment_or_its_licence_has_a_reason_and_no_job(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, foreign="foreign", tables=["table_1", "table_3"])  # the shipped presets
    reasons = {row.system: row.reason for row in tables.rows if row.reason}
    for system in ("t2v_audiogen", "t2v_specvqgan", "t2v_diff_foley", "specvqgan", "diff_foley"):
        assert "env/bin/python is not there" in reasons[system] and "docs/systems.md" in reasons[system]
    preset = tmp_path / "audiogen.yaml"
    preset.write_text(
        f"system: foreign\nforeign: {{command: [{sys.executable}], name: n, weights: [w], licence: BY-NC}}"
    )
    for accepted in (False, True):
        changes = {"foreign": str(tmp_path), "accept_noncommercial_licence": accepted}
        tables = tables_of(tmp_path, tables=["table_1"], **changes)
        (row,) = (row for row in tables.rows if row.system == "t2v_audiogen")
        assert bool(row.folders) == accepted and ("licence" in row.reason) != accepted


@pytest.mark.parametrize("what", ["preset", "evaluation set", "dataset", "weights", "clips"])
def test_a_row_is_made_anew_when_what_it_is_made_of_has_changed(what: str, tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    shutil.copytree(PIPELINES / "configs" / "tiny", tmp_path / "configs" / "tiny")
    changed = {
        "preset": (tmp_path / "configs" / "tiny" / "generate.yaml", "syncflow_vgg-seed0"),
        "evaluation set": (tmp_path / "set.csv", "set"),
        "dataset": (tmp_path / "latents" / "dataset.json", "codes"),
        "weights": (tmp_path / "runs" / "audio" / "checkpoint" / "manifest.json", "syncflow_vgg-seed0"),
        "clips": (tmp_path / "codi" / "00000-0.mp4", "scores-codi"),
    }
    for path, _ in changed.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text("1")
    given = {name: str(tmp_path / name) for name in ("runs", "data")} | {"data": str(tmp_path / "latents")}
    given |= {"evaluation_set": str(tmp_path / "set.csv"), "made": {"codi": str(tmp_path / "codi")}}

    def identities() -> dict[str, str]:
        config = config_of(tmp_path, **given, tables=["table_1"])
        tables = Tables(config, presets=tmp_path / "configs")
        return {each.name: identity(each, tables.jobs.jobs) for each in jobs_of(tables)}

    before = identities()
    path, name = changed[what]
    path.write_text(path.read_text() + "\nprompts: other.txt\n")
    after = identities()
    assert before[name] != after[name]
    same = {"preset": "set", "weights": "set", "clips": "syncflow_vgg-seed0"}.get(what, "")
    assert not same or before[same] == after[same], "what does not depend on it is not made again"


def test_all_runs_of_the_tables_are_in_one_store_and_where_it_is_makes_nothing_anew(tmp_path: Path) -> None:
    here, there = (tables_of(tmp_path, tracking_uri=uri) for uri in ("", "http://127.0.0.1:5000"))
    jobs, others = ({each.name: each for each in jobs_of(tables)} for tables in (here, there))
    tracked = {
        name: each.tracking[1]
        for name, each in jobs.items()
        if each.pipeline.startswith("train_") or name.startswith("scores-")
    }
    assert len(tracked) > 20 and set(tracked.values()) == {f"sqlite:///{tmp_path / 'mlflow.db'}"}
    assert jobs["scores-t2v_t2a"].tracking[-2:] == ("--run", "scores-t2v_t2a")
    assert others["audio"].line().endswith("--tracking-uri http://127.0.0.1:5000 --experiment syncflow")
    assert all(identity(each, jobs) == identity(others[name], others) for name, each in jobs.items())
    outputs = [each.flags[-1] for each in jobs.values() if each.pipeline == "train_stage.py"]
    runs = [Path(each).name for each in outputs if each != str(tmp_path / "out" / "runs")]
    assert len(runs) == len(set(runs)) == 15, "a parent run in MLflow is named by this folder"


def test_a_stage_that_was_trained_here_stays_a_job_and_one_that_was_given_is_none(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    given = {"runs": str(runs), "data": str(tmp_path / "d"), "evaluation_set": str(tmp_path / "s.csv")}

    def names() -> list[str]:
        return [each.name for each in jobs_of(tables_of(tmp_path, **given, tables=["figure_5"]))]

    assert {"video", "audio"} <= set(names())
    (runs / "audio" / "checkpoint").mkdir(parents=True)
    (runs / "audio" / "checkpoint" / "manifest.json").write_text("{}")
    assert "audio" not in names()
    (tmp_path / "out" / "jobs").mkdir(parents=True)
    (tmp_path / "out" / "jobs" / "audio.json").write_text('{"identity": "x"}')
    assert "audio" in names(), "or its clips would look as if made by another command"


def test_table_4_is_over_the_last_three_states_as_in_the_paper(tmp_path: Path) -> None:
    tables = tables_of(tmp_path, "greatest_hits", tables=["table_4"], seeds=[0, 1])
    jobs = {each.name: each for each in jobs_of(tables)}
    (row,) = (row for row in tables.rows if row.system == "table_4_adaptor")
    assert [f"{each.parent.name}/{each.name}" for each in row.folders] == [
        f"table_4_adaptor_step{step}/seed{seed}" for step in (24000, 24500, 25000) for seed in (0, 1)
    ]
    export = jobs["table_4_adaptor-states"]
    assert export.flags[2:6] == ("--steps", "24000", "24500", "25000") and export.needs == (
        "table_4_adaptor",
    )
    made = jobs["table_4_adaptor_step24500-seed1"]
    assert made.flags[3].endswith("audio/checkpoints/step_00024500") and export.name in made.needs
    assert len(jobs["scores-table_4_adaptor"].flags[1:7]) == 6
    with pytest.raises(UserError, match=r"last_states 3: .* keeps 2; give --last-states 2"):
        tables_of(tmp_path, tables=["table_4"], last_states=3)
    two = tables_of(tmp_path, tables=["table_4"], last_states=2, seeds=[5])
    jobs = {each.name: each for each in jobs_of(two)}
    assert jobs["table_4_text-states5"].flags[3:5] == ("500", "600")
    assert jobs["table_4_text-states5"].needs == ("table_4_text-trained5",)


def write_scores(folder: Path, values: list[float], *, tolerance_s: float = 0.1, note: str = "") -> None:
    folder.mkdir(parents=True)
    dump_config(
        EvaluateConfig(clips=(Path("/c"),), output=folder, tolerance_s=tolerance_s), folder / "resolved.yaml"
    )
    with (folder / "scores.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["system", "clip", "f1", "precision", "recall", "offset_ms", "chance_f1", "failure"])
        for seed in (0, 1):
            for number, value in enumerate(values):
                writer.writerow([f"seed{seed}", f"{number:05}-0.mp4", value + seed / 10, "", "", "", 0.1, ""])
    (folder / "summary.csv").write_text(f"system,note\nseed0,\nseed1,{note}\n")


def test_a_cell_of_another_protocol_is_withheld_and_the_papers_figures_are_marked(tmp_path: Path) -> None:
    write_scores(tmp_path / "a", [0.4, 0.6, math.nan])  # in the third nothing is heard or seen
    write_scores(tmp_path / "b", [0.2, 0.2], tolerance_s=0.05)
    write_scores(tmp_path / "d", [0.9], note="withheld: 1 of 2 clips failed")
    scored = {name: read_scores(tmp_path / name) for name in ("a", "b", "d")}
    rows = [
        TableRow(table="table_3", setting="FoleyGen", system="a", folders=(tmp_path,)),
        TableRow(table="table_3", setting="Diff-Foley", system="b", folders=(tmp_path,)),
        TableRow(table="table_3", setting="SpecVQGAN", system="c", reason="no environment"),
        TableRow(table="table_3", setting="SyncFlow-VGG, zero-shot", system="d", folders=(tmp_path,)),
    ]
    page = page_of(rows, scored, {})
    text = as_markdown(page)
    assert "| FoleyGen | 4 / 6 | 0.550 (0.450 to 0.650) | 0.100 | 1.31 | 1.97 | 0.297 |" in text
    assert "| Diff-Foley |  |  |  | 7.85 | 3.51 | 0.143 |" in text
    assert "Diff-Foley: withheld, its protocol differs: settings.tolerance_s is 0.05, and 0.1" in text
    assert "SpecVQGAN: not made; no environment" in text
    assert "| SyncFlow-VGG, zero-shot |  |  |  | 1.81 | 2.44 |" in text
    assert "SyncFlow-VGG, zero-shot: sync score withheld: 1 of 2 clips failed" in text
    assert "paper: FAD" in text.splitlines()[2]
    with pytest.raises(UserError, match=r"no scores .*reproduce_tables\.py again"):
        read_scores(tmp_path / "nowhere")


def test_a_whole_table_from_commands_to_page(tmp_path: Path) -> None:
    """The real runner with pipelines that only leave what the real ones leave."""
    (tmp_path / "configs").symlink_to(PIPELINES / "configs")
    script = (
        "import json, pathlib, shutil, sys\n"
        "leaves = json.loads(pathlib.Path(__file__).with_name('leaves.json').read_text())\n"
        "for path in leaves[' '.join(sys.argv[1:])]:\n"
        "    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)\n"
        "    pathlib.Path(path).write_text('file\\n00000-0.mp4\\n')\n"
        "    if 'scores' in path: shutil.copytree(pathlib.Path(__file__).with_name('scores'), "
        "pathlib.Path(path).parent, dirs_exist_ok=True)\n"
    )
    write_scores(tmp_path / "scores", [0.5, 0.7])
    config = config_of(tmp_path, tables=["table_3"], seeds=[0, 1])
    jobs = jobs_of(Tables(config, presets=tmp_path / "configs"))
    (tmp_path / "leaves.json").write_text(
        json.dumps({" ".join(j.command(tmp_path)[2:]): [str(j.leaves)] for j in jobs})
    )
    for name in {each.pipeline for each in jobs}:
        (tmp_path / name).write_text(script)
    assert reproduce(config, pipelines=tmp_path) == 0
    text = (config.output / "tables" / "table_3.md").read_text()
    cost = r"0\.[0-9]{2}"  # of processes that write a line
    f1 = r"0.650 \(0.550 to 0.750\)"
    row = rf"\| SyncFlow-VGG, zero-shot \| 4 / 4 \| {f1} \| 0.100 \| {cost} \| 1.81 \| 2.44 \|"
    assert re.search(row, text), text
    assert "| Diff-Foley |  |  |  |  | 7.85 | 3.51 | 0.143 |" in text
    (tmp_path / "evaluate.py").write_text("import sys; sys.exit('not again')")  # nothing is made twice
    sent: list[SystemLineage] = []

    def track(_: TablesConfig, systems: Sequence[SystemLineage]) -> dict[str, str]:
        sent.extend(systems)
        return {"syncflow_v2a": "run1"}

    assert reproduce(config, pipelines=tmp_path, track=track) == 0
    text = (config.output / "tables" / "table_3.md").read_text()
    assert "- SyncFlow-VGG, zero-shot: run run1 in MLflow" in text
    (lineage,) = (each for each in sent if each.system == "syncflow_v2a")
    commands = list(lineage.commands)
    assert (
        commands.index("set") < commands.index("syncflow_v2a-seed1") < commands.index("scores-syncflow_v2a")
    )
    assert len(lineage.protocol_sha256) == 64 and set(lineage.made_by.values()) == {"unknown"}
    told = json.loads((config.output / "lineage" / "syncflow_v2a" / "lineage.json").read_text())
    assert told == json.loads(json.dumps(lineage.values())) and "0.650" in told["cells"]["sync F1 (95 %)"]
