"""Plan the tables, make what lacks, measure it, and write each table beside the paper's figures."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from syncflow.config import dump_config
from syncflow.data.parquet.lock import writer_lock
from syncflow.files import require_writable
from syncflow.studies.tables.config import TablesConfig
from syncflow.studies.tables.graph import RECORDS
from syncflow.studies.tables.jobs import (
    Job,
    check_pipelines,
    in_order,
    is_done,
    processor_s,
    run_jobs,
)
from syncflow.studies.tables.lineage import SystemLineage, Track, made_by
from syncflow.studies.tables.page import Page, Scored, page_of, read_scores, write_page
from syncflow.studies.tables.rows import TableRow, Tables

LINEAGE = "lineage"
COST = "processor s a clip"
MAKERS = ("generate.py", "make_audio.py")
FAILED = 3  # exit status where a row could not be made


def reproduce(config: TablesConfig, *, pipelines: Path, track: Track | None = None) -> int:
    """Make and write the tables that are asked for.

    Args:
        config: which, at what size.
        pipelines: folder of the pipelines that the jobs run.
        track: sends what each system's cells come from to where runs are kept; None: nowhere.

    Returns:
        Exit status: 0, or 3 where a job failed; its log is named, and the same command goes on.

    Raises:
        UserError: another process works in the folder.
    """
    check_pipelines(pipelines)
    tables = Tables(config, presets=pipelines / "configs")
    todo, records = jobs_of(tables), config.output.absolute() / RECORDS
    if config.plan:
        for line in plan_lines(tables, todo, records):
            print(line)
        return 0
    require_writable(config.output)
    with writer_lock(config.output):
        dump_config(config, config.output / "resolved.yaml")
        failed = {}
        jobs, at_once = tables.jobs.jobs, config.at_once
        for name, reason in run_jobs(todo, jobs, pipelines=pipelines, records=records, at_once=at_once):
            print(f"failed: {name}: {reason}", flush=True)
            failed[name] = reason
        for path in write_tables(config, tables, failed, track):
            print(path.read_text(encoding="utf-8"))
            print(f"written: {path}", flush=True)
    return FAILED if failed else 0


def jobs_of(tables: Tables) -> list[Job]:
    """All jobs of the rows that can be made, in an order in which they can run."""
    wanted = [
        tables.jobs.scores(row.system, (row.folders, row.needs)) for row in tables.rows if not row.reason
    ]
    return in_order(list(dict.fromkeys(wanted)), tables.jobs.jobs)


def plan_lines(tables: Tables, todo: Sequence[Job], records: Path) -> list[str]:
    """What would be run, and what cannot be made.

    Args:
        records: folder of what was done.
    """
    lines = []
    for job in todo:
        done = is_done(job, tables.jobs.jobs, records)
        lines.append(f"{'done ' if done else 'to do'}  {job.name}: {job.line()}")
    lines += [f"none   {row.table}, {row.setting}: {row.reason}" for row in tables.rows if row.reason]
    return lines


def write_tables(
    config: TablesConfig, tables: Tables, failed: Mapping[str, str], track: Track | None = None
) -> list[Path]:
    """One page a table, of the rows whose scores are there, with the run that tells where each comes from.

    Args:
        track: sends what was measured to a tracker.
    """
    scored: dict[str, Scored] = {}
    lost: dict[str, str] = {}
    for row in tables.rows:
        if row.reason:
            continue
        name = f"scores-{row.system}"
        if name in failed:
            lost[row.system] = _first_reason(name, failed, tables)
        else:
            found = read_scores(tables.jobs.scores_of(row.system))
            cost = cost_of(row, tables, config.output.absolute() / RECORDS)
            scored[row.system] = replace(found, cells={**found.cells, **cost})
    lineages = lineages_of(config, tables, scored)
    for each in lineages:
        each.write()
    runs = track(config, lineages) if track else {}
    paths = []
    for table in config.tables:
        rows: list[TableRow] = [row for row in tables.rows if row.table == table]
        page: Page = page_of(rows, scored, lost)
        told = {row.setting: runs[row.system] for row in rows if row.system in runs}
        page.notes += [f"{setting}: run {run_id} in MLflow" for setting, run_id in told.items()]
        paths.append(write_page(config.output / "tables", table, page))
    return paths


def lineages_of(config: TablesConfig, tables: Tables, scored: Mapping[str, Scored]) -> list[SystemLineage]:
    """What the cells of each measured system come from."""
    root, found = config.output.absolute(), {}
    for row in tables.rows:
        if row.system not in scored or row.system in found:
            continue
        own = [each for each in tables.rows if each.system == row.system]
        jobs = in_order([f"scores-{row.system}"], tables.jobs.jobs)
        found[row.system] = SystemLineage(
            system=row.system,
            rows=tuple(f"{each.table}, {each.setting}" for each in own),
            folders=row.folders,
            made_by={str(folder): made_by(folder) for folder in row.folders},
            protocol_sha256=scored[row.system].protocol.sha256,
            commands={job.name: job.line() for job in jobs},
            cells=scored[row.system].cells,
            scores=tables.jobs.scores_of(row.system),
            record=root / LINEAGE / row.system,
        )
    return list(found.values())


def cost_of(row: TableRow, tables: Tables, records: Path) -> dict[str, str]:
    """Processor seconds a clip of the jobs that made the row's clips, their start included; none if unknown.

    All that a clip goes through counts: of a cascade both systems.
    """
    makers = [job for job in in_order(row.needs, tables.jobs.jobs) if job.pipeline in MAKERS]
    if not makers:
        return {}
    total, clips = sum(processor_s(job, records) for job in makers), 0
    for folder in row.folders:
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
            clips += sum(1 for _ in csv.DictReader(stream))
    known = clips and math.isfinite(total)
    return {COST: f"{total / clips:.2f}"} if known else {}


def _first_reason(name: str, failed: Mapping[str, str], tables: Tables) -> str:
    """Why the earliest of the jobs behind a job failed."""
    return next(failed[job.name] for job in in_order([name], tables.jobs.jobs) if job.name in failed)
