"""The tables' runs: what a cell comes from is in MLflow, once, and a store that fails costs no table."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.tracking.runs import client
from infra.tracking.tables import track
from syncflow.config import validate
from syncflow.studies.tables.config import TablesConfig
from syncflow.studies.tables.lineage import SystemLineage, made_by
from syncflow.systems.card import SystemCard, UsedWeights


def test_a_system_has_one_run_with_what_its_cells_come_from(uri: str, tmp_path: Path, capsys) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    weights = (UsedWeights(name="w", sha256="a" * 64, licence="MIT"),)
    card = SystemCard(name="Diff-Foley", kind="video_to_audio", weights=weights, settings={"steps": "25"})
    card.write(clips)
    lineage = SystemLineage(
        system="diff_foley",
        rows=("table_3, Diff-Foley",),
        folders=(clips,),
        made_by={str(clips): made_by(clips)},
        protocol_sha256="b" * 64,
        commands={"set": "python pipelines/make_reference_set.py"},
        cells={"sync F1 (95 %)": "0.550 (0.450 to 0.650)", "FAD": ""},
        scores=tmp_path / "scores",
        record=tmp_path / "lineage",
    )
    lineage.write()
    values = {"size": "miniature", "output": str(tmp_path / "out"), "tracking_uri": uri}
    config = validate(TablesConfig, values, source="test")
    run_id = track(config, [lineage])["diff_foley"]
    run = client(uri).get_run(run_id)
    assert run.data.tags["made_by.0"] == f"card {card.sha256}"
    assert run.data.tags["protocol_sha256"] == "b" * 64 and run.info.status == "FINISHED"
    assert list(run.data.metrics.values()) == [0.55]
    assert [file.path for file in client(uri).list_artifacts(run_id, "lineage")] == ["lineage/lineage.json"]
    assert track(config, [lineage])["diff_foley"] == run_id
    assert track(config, [replace(lineage, protocol_sha256="c" * 64)])["diff_foley"] != run_id
    assert track(config.model_copy(update={"tracking_uri": "none"}), [lineage]) == {}
    monster = tmp_path / "file"
    monster.write_text("")
    broken = config.model_copy(update={"tracking_uri": f"sqlite:///{monster}/mlflow.db"})
    assert track(broken, [replace(lineage, record=tmp_path / "other")]) == {}
    assert "does not answer" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "no card"])
def test_clips_from_elsewhere_are_of_unknown_making(content: str | None, tmp_path: Path) -> None:
    if content:
        (tmp_path / "card.json").write_text(content)
    assert made_by(tmp_path) == "unknown"
