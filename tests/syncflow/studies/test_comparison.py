"""Comparisons: what differs, groups over seeds, and runs that must not be compared."""

import base64
import re
import statistics
from pathlib import Path

import pytest
from mlflow.store.entities import PagedList

from infra.tracking.past_runs import read_runs
from infra.tracking.runs import all_runs, client
from syncflow.errors import UserError
from syncflow.studies.comparison import band, compare_runs
from syncflow.studies.comparison_config import CompareConfig
from syncflow.studies.paper_tables import NAMES, paper_rows
from syncflow.studies.tensorboard_export import export_tensorboard
from tests.infra.tracking_case import opened, send


def compared(uri: str, folder: Path, name: str, losses: dict[int, float], **params: object) -> str:
    """A run of stage video with these losses; its name."""
    send(opened(uri, name, **params), losses, spill=folder / "spill.jsonl")
    return f"{name}/video"


def text_of(uri: str, folder: Path, *runs: str, **settings: object) -> str:
    config = CompareConfig(tracking_uri=uri, runs=runs, output=folder / "out", **settings)
    return compare_runs(config, read_runs(config)).read_text()


def test_a_comparison_shows_what_differs_and_the_best(uri: str, tmp_path: Path) -> None:
    names = [
        compared(uri, tmp_path, f"lr{lr}", losses, lr=lr, same="x")
        for lr, losses in ((1, {1: 3.0, 2: 1.0, 3: 2.0}), (2, {1: 3.0, 2: 2.5}))
    ]
    text = text_of(uri, tmp_path, *names)
    assert "| lr | 1 | 2 |" in text and "same" not in text and "| loss | 2 (1) | 2.5 (2.5) |" in text
    assert (tmp_path / "out" / "video_loss.png").exists() and (tmp_path / "out" / "comparison.html").exists()


def test_the_page_has_curves_and_clips_over_time_inside_it(uri: str, tmp_path: Path) -> None:
    names = []
    for name in ("first", "second"):
        output = tmp_path / name
        for step in range(0, 1000, 100):
            folder = output / "video" / "samples" / f"step_{step:08}"
            folder.mkdir(parents=True)
            (folder / "0.mp4").write_bytes(f"{name} {step}".encode())
        losses = {1: 3.0, 2: 1.0}
        names.append(compared(uri, tmp_path, name, losses, output=str(output), stage="video"))
    text_of(uri, tmp_path, *names, sample_steps=2)
    page = (tmp_path / "out" / "comparison.html").read_text()
    players = [base64.b64decode(each).decode() for each in re.findall(r"video/mp4;base64,([^\"]+)", page)]
    assert players == ["first 0", "second 0", "first 900", "second 900"]
    assert "image/png;base64," in page and "first/video, step 900" in page
    assert all(place.startswith("data:") for place in re.findall(r'(?:src|href)="([^"]*)', page))


def test_tensorboard_has_every_finite_point_of_a_run(uri: str, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    name = compared(uri, tmp_path, "a", {1: 3.0, 2: 1.0, 7: 0.25}, lr=0.5)
    runs = read_runs(CompareConfig(tracking_uri=uri, runs=(name,)))
    (folder,) = export_tensorboard(runs, tmp_path / "events")
    events = EventAccumulator(str(folder)).Reload()
    assert [(each.step, each.value) for each in events.Scalars("loss")] == [(1, 3.0), (2, 1.0), (7, 0.25)]
    assert b"lr: 0.5" in events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0]
    with pytest.raises(UserError, match="holds events already; give another folder"):
        export_tensorboard(runs, tmp_path / "events")


def test_runs_of_a_group_are_a_mean_and_a_deviation(uri: str, tmp_path: Path) -> None:
    names = [
        compared(uri, tmp_path, f"{kind}{seed}", {1: 3.0, 2: last}, kind=kind, seed=seed)
        for kind, seed, last in (("with", 0, 1.0), ("with", 1, 2.0), ("without", 0, 2.5))
    ]
    text = text_of(uri, tmp_path, *names, group_by=("kind",))
    assert "| metric | kind with (n = 2) | kind without (n = 1) |" in text
    assert "| loss | 1.5 ± 0.71 (1.5 ± 0.71) | 2.5 (2.5) |" in text
    assert "| seed | 0, 1 | 0 |" in text
    with pytest.raises(UserError, match=r"group_by kimd: run with0/video has no .*did you mean kind"):
        text_of(uri, tmp_path, *names, group_by=("kimd",))


def test_a_band_holds_the_steps_that_all_runs_have() -> None:
    curves = [[(1, 3.0), (2, 1.0), (4, 0.0)], [(1, 5.0), (2, 2.0), (3, 9.0)]]
    assert band(curves) == [(1, 4.0, statistics.stdev([3, 5])), (2, 1.5, statistics.stdev([1, 2]))]
    assert band(curves[:1]) == [(1, 3.0, 0.0), (2, 1.0, 0.0), (4, 0.0, 0.0)]


def test_runs_on_other_data_or_of_another_protocol_are_refused(uri: str, tmp_path: Path) -> None:
    first = compared(uri, tmp_path, "data0", {1: 1.0}, tolerance_s=0.1)
    other = compared(uri, tmp_path, "data1", {1: 1.0}, tolerance_s=0.05)
    with pytest.raises(UserError, match=r"tolerance_s is '0.1' in the first, '0.05' in the second"):
        text_of(uri, tmp_path, first, other)
    assert "tolerance_s" in text_of(uri, tmp_path, first, other, allow_different=("tolerance_s",))
    store = client(uri)
    run = opened(uri, "data2", tolerance_s=0.1)
    store.set_tag(run.run_id, "dataset.files_sha256", "f" * 64)
    send(run, {1: 1.0}, spill=tmp_path / "spill.jsonl")
    with pytest.raises(UserError, match=r"dataset\.files_sha256 .*--allow-different dataset\.files_sha256"):
        text_of(uri, tmp_path, first, "data2/video")


def test_as_many_validated_samples_compare_however_they_are_batched(uri: str, tmp_path: Path) -> None:
    names = [
        compared(uri, tmp_path, f"n{workers}{batch}", {1: 1.0}, workers=workers, batch_size=batch, **same)
        for same in [{"validate_every": 5, "validation_batches": 2}]
        for workers, batch in ((1, 8), (2, 4), (2, 8))
    ]
    assert "| workers | 1 | 2 |" in text_of(uri, tmp_path, *names[:2])
    with pytest.raises(UserError, match="validation_samples is '16' in the first, '32' in the second"):
        text_of(uri, tmp_path, *names)


def test_runs_of_one_name_are_both_shown(uri: str, tmp_path: Path) -> None:
    name = compared(uri, tmp_path, "same name", {1: 3.0, 2: 1.0}, lr=1)
    compared(uri, tmp_path, "same name", {1: 3.0, 2: 2.5}, lr=2)
    config = CompareConfig(tracking_uri=uri, runs=(name,), output=tmp_path / "out")
    runs = read_runs(config)
    assert len({run.name for run in runs}) == 2 and all(run.name.startswith(f"{name} ") for run in runs)
    assert "| lr | 1 | 2 |" in compare_runs(config, read_runs(config)).read_text()


def test_a_run_whose_protocol_changed_compares_with_none(uri: str, tmp_path: Path) -> None:
    """As stores of earlier versions hold them: a second evaluation went into the first one's run."""
    first = compared(uri, tmp_path, "mixed", {1: 1.0}, tolerance_s=0.1)
    opened(uri, "mixed", goes_on=True, tolerance_s=0.02)
    other = compared(uri, tmp_path, "pure", {1: 1.0}, tolerance_s=0.1)
    with pytest.raises(
        UserError, match=r"tolerance_s is '0\.1, then 0\.02' in the first, '0\.1' in the second"
    ):
        text_of(uri, tmp_path, first, other)


def test_all_runs_of_a_store_are_read_however_many_a_page_holds() -> None:
    class Store:
        def search_runs(
            self, experiments: list[str], page_token: str | None, order_by: list[str]
        ) -> PagedList:
            start = int(page_token or 0)
            return PagedList(
                range(start, min(start + 1000, 2500)), str(start + 1000) if start < 2000 else None
            )

    assert list(all_runs(Store(), ["0"], order_by=["attributes.start_time ASC"])) == [*range(2500)]


def test_the_papers_rows_stand_beside_metrics_of_their_name_only() -> None:
    assert paper_rows({"loss", "validation/loss", "text_to_clip/f1"}) is None
    table = paper_rows({"text_to_clip/fad"})
    assert table is not None and table.header == ("table", "setting", "FAD")
    assert ("Table 4, Greatest Hits", "SyncFlow-GH", "0.92") in table.rows
    everything = paper_rows({f"a/{name}" for name in NAMES})
    assert everything is not None and len(everything.rows) == 12 + 6 + 5 + 3
    assert not any("OpenSora, 256" in row[1] for row in table.rows)  # it has FVD alone


def test_a_missing_store_or_run_is_one_line(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_runs(CompareConfig(tracking_uri=f"sqlite:///{tmp_path / 'no.db'}"))
    with pytest.raises(UserError, match="runs nobody: not in"):
        read_runs(CompareConfig(tracking_uri=uri, runs=("nobody",), output=tmp_path))
