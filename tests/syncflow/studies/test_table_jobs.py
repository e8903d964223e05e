"""How the tables' jobs run: once each, in order, side by side, and ended by a signal."""

import os
from pathlib import Path

import pytest

from syncflow.studies.tables.jobs import Job, in_order, is_done, processor_s, run_jobs


def job(folder: Path, name: str, *flags: str, needs: tuple[str, ...] = ()) -> Job:
    leaves = folder / f"{name}.txt"
    given = (str(leaves), *flags)
    return Job(name=name, pipeline="write.py", flags=given, leaves=leaves, needs=needs)


def test_a_job_runs_once_again_when_changed_and_those_after_it_too(tmp_path: Path) -> None:
    (tmp_path / "write.py").write_text(
        "import sys, pathlib\n"
        "if 'fail' in sys.argv: sys.exit('it broke')\n"
        "with pathlib.Path(sys.argv[1]).open('a') as f: f.write('x')\n"
    )

    def go(*flags: str) -> tuple[list[tuple[str, str]], list[int]]:
        jobs = {"a": job(tmp_path, "a", *flags), "b": job(tmp_path, "b", needs=("a",))}
        order = in_order(["b"], jobs)
        failed = list(run_jobs(order, jobs, pipelines=tmp_path, records=tmp_path / "jobs"))
        return failed, [len(each.leaves.read_text()) for each in order if each.leaves.is_file()]

    failed, _ = go("fail")
    assert [name for name, _ in failed] == ["a", "b"]
    assert "it broke" in failed[0][1] and failed[1][1] == "needs a"
    assert go() == ([], [1, 1]) and go() == ([], [1, 1])
    assert go("--changed") == ([], [2, 2])
    jobs = {"a": job(tmp_path, "a"), "b": job(tmp_path, "b", needs=("a",))}
    assert not is_done(jobs["b"], jobs, tmp_path / "jobs")


def test_jobs_run_side_by_side_but_never_before_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "write.py").write_text(
        "import pathlib, sys, time\n"
        "file = pathlib.Path(sys.argv[1])\n"
        "begin = time.time()\n"
        "time.sleep(0.5)\n"
        "file.write_text(f'{begin} {time.time()}')\n"
    )
    needs = {"a": (), "b": (), "c": ("a", "b"), "d": ("c",)}
    jobs = {name: job(tmp_path, name, needs=before) for name, before in needs.items()}
    order = in_order(["d"], jobs)
    assert not list(run_jobs(order, jobs, pipelines=tmp_path, records=tmp_path / "jobs", at_once=2))
    spans = {n: [float(x) for x in j.leaves.read_text().split()] for n, j in jobs.items()}
    assert spans["b"][0] < spans["a"][1], "a and b side by side"
    assert all(spans[name][0] > spans[each][1] for name, before in needs.items() for each in before)
    assert 0 < processor_s(jobs["a"], tmp_path / "jobs") < 10


def test_a_signal_ends_the_running_job_too(tmp_path: Path) -> None:
    (tmp_path / "write.py").write_text(
        "import os, pathlib, signal, sys, time\n"
        "pathlib.Path(sys.argv[1] + '.pid').write_text(str(os.getpid()))\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "time.sleep(60)\n"
    )
    jobs = {"a": job(tmp_path, "a")}
    with pytest.raises(KeyboardInterrupt):
        list(run_jobs(in_order(["a"], jobs), jobs, pipelines=tmp_path, records=tmp_path / "jobs"))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "a.txt.pid").read_text()), 0)
    assert not is_done(jobs["a"], jobs, tmp_path / "jobs")
