"""The queue between requests and makers: nothing is lost, nothing is made twice, everything ends."""

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from syncflow.errors import UserError
from syncflow.serving.jobs import FINAL
from syncflow.serving.orders import MakerLostError
from syncflow.serving.request import ClipRequest, RequestError
from syncflow.serving.service import ClipService
from tests.syncflow.serving.serving_case import WritingMaker, ended, service, small_video


@pytest.fixture
def closing() -> Iterator[list[ClipService]]:
    services: list[ClipService] = []
    yield services
    for each in services:
        each.close()


def started(closing: list[ClipService], found: ClipService) -> ClipService:
    closing.append(found)
    found.start()
    return found


def test_100_requests_at_once_are_each_made_once_by_two_makers(
    closing: list[ClipService], tmp_path: Path
) -> None:
    makers = WritingMaker(), WritingMaker()
    found = started(closing, service(tmp_path, *makers, batch=4))
    requests = [ClipRequest(prompt=f"clip {n}", steps=1 + n % 3, seed=n) for n in range(100)]
    with ThreadPoolExecutor(20) as pool:
        jobs = list(pool.map(found.submit, requests))
    states = [ended(found, job) for job in jobs]
    assert {status.state for status in states} == {"done"}
    made = Counter(name for maker in makers for batch in maker.batches for name in batch)
    assert made == Counter(job.id for job in jobs) and set(made.values()) == {1}
    assert [status.request.prompt for status in states] == [request.prompt for request in requests]
    assert all(found.file(job.id, "clip.mp4").read_bytes() == job.id.encode() for job in jobs)
    steps = {job.id: job.request.steps for job in jobs}
    batches = [batch for maker in makers for batch in maker.batches]
    assert all(len({steps[name] for name in batch}) == 1 and len(batch) <= 4 for batch in batches)
    assert len(batches) < 100, "requests that wait together are made together"


def test_a_maker_that_goes_away_costs_no_job(closing: list[ClipService], tmp_path: Path) -> None:
    lost = iter([True, True])

    def leave(orders: object) -> None:
        if next(lost, False):
            raise MakerLostError("the replica died")

    makers = WritingMaker(leave), WritingMaker()
    found = started(closing, service(tmp_path, *makers, attempts=3))
    jobs = [found.submit(ClipRequest(prompt=f"{n}")) for n in range(12)]
    assert {ended(found, job).state for job in jobs} == {"done"}
    made = Counter(name for maker in makers for batch in maker.batches for name in batch)
    assert made == Counter(job.id for job in jobs)
    again = [job for job in jobs if found.status(job.id).attempts > 1]
    told = found.metrics.text(found.counts()).decode()
    assert (
        again
        and f"syncflow_clips_lost_total {sum(found.status(job.id).attempts - 1 for job in again)}.0" in told
    )


def test_a_job_whose_maker_goes_away_each_time_fails_in_one_line(
    closing: list[ClipService], tmp_path: Path
) -> None:
    def leave(orders: object) -> None:
        raise MakerLostError("the replica died")

    found = started(closing, service(tmp_path, WritingMaker(leave), attempts=1))
    status = ended(found, found.submit(ClipRequest(prompt="a")))
    assert status.state == "failed" and status.error == "the replica died (1 attempts); ask again"


def test_a_cancelled_job_ends_at_once_whether_it_waits_or_runs(
    closing: list[ClipService], tmp_path: Path
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold(orders: object) -> None:
        begun.set()
        go_on.wait(30)

    maker = WritingMaker(hold)
    found = started(closing, service(tmp_path, maker))
    running = found.submit(ClipRequest(prompt="a"))
    assert begun.wait(30)
    waiting = found.submit(ClipRequest(prompt="b"))
    assert (found.status(running.id).state, found.status(waiting.id).state) == ("running", "queued")
    assert found.cancel(waiting.id).state == found.cancel(running.id).state == "cancelled"
    go_on.set()
    last = ended(found, found.submit(ClipRequest(prompt="c")))
    assert last.state == "done" and found.status(running.id).state == "cancelled"
    assert [name for batch in maker.batches for name in batch] == [running.id, last.id]
    with pytest.raises(RequestError, match="has none of that name"):
        found.file(running.id, "clip.mp4")


def test_a_full_queue_refuses_and_a_repeated_request_is_the_same_job(tmp_path: Path) -> None:
    found = service(tmp_path, queue=2)  # no maker: all of them wait
    first = found.submit(ClipRequest(prompt="a", key="one"))
    assert found.submit(ClipRequest(prompt="a", key="one")).id == first.id
    assert found.submit(ClipRequest(prompt="a", key="two")).position == 1
    with pytest.raises(RequestError, match="2 jobs wait already; ask again later") as caught:
        found.submit(ClipRequest(prompt="a"))
    assert caught.value.status == 429
    assert len(list((tmp_path / "jobs").iterdir())) == 2, "a refused request leaves no trace"
    found.close()
    with pytest.raises(RequestError, match="about to end"):
        found.submit(ClipRequest(prompt="a"))
    assert {status.state for status in found.latest()} == {"cancelled"}


def test_the_end_waits_for_what_runs(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hold(orders: object) -> None:
        begun.set()
        go_on.wait(30)

    found = service(tmp_path, WritingMaker(hold), batch=1)
    found.start()
    jobs = [found.submit(ClipRequest(prompt=f"{n}")) for n in range(3)]
    assert begun.wait(30)
    threading.Timer(0.3, go_on.set).start()
    found.close()
    assert [found.status(job.id).state for job in jobs] == ["done", "cancelled", "cancelled"]
    assert not found.healthy


def test_jobs_of_an_earlier_life_are_shown_and_the_oldest_forgotten(
    closing: list[ClipService], tmp_path: Path
) -> None:
    found = started(closing, service(tmp_path, WritingMaker()))
    jobs = [ended(found, found.submit(ClipRequest(prompt=f"{n}", seed=n))) for n in range(4)]
    (tmp_path / "jobs" / ("0" * 32)).mkdir()  # one that a killed service left unfinished
    found.close()
    again = service(tmp_path, kept=2)
    closing.append(again)
    assert again.latest() == [jobs[3], jobs[2]]
    assert again.file(jobs[3].id, "clip.mp4").is_file()
    assert {folder.name for folder in (tmp_path / "jobs").iterdir()} == {jobs[2].id, jobs[3].id}


def test_jobs_that_a_killed_service_left_unfinished_are_made_by_the_next_in_their_order(
    closing: list[ClipService], tmp_path: Path
) -> None:
    killed = service(tmp_path / "a")  # it never begins to make clips
    video = killed.videos.add([small_video(tmp_path / "v.mp4").read_bytes()]).id
    requests = [ClipRequest(prompt=f"{n}", seed=n, steps=n + 1, key=f"k{n}") for n in range(3)]
    jobs = [killed.submit(request) for request in [*requests, ClipRequest(video=video, seed=9)]]
    shutil.copytree(tmp_path / "a" / "jobs", tmp_path / "b" / "jobs")  # as a machine that went down left it
    killed.close()
    maker = WritingMaker()
    found = service(tmp_path / "b", maker)
    assert found.submit(requests[0]).id == jobs[0].id, "a request that is sent again finds its job"
    started(closing, found)
    assert {ended(found, job).state for job in jobs} == {"done"}
    assert maker.batches == [[job.id] for job in jobs]
    assert "window.mp4" in found.status(jobs[3].id).files


def test_a_job_that_ends_every_service_is_given_up(tmp_path: Path) -> None:
    job, folder = None, tmp_path / "0"
    for life in range(1, 4):
        found = service(folder, attempts=2)
        job = job or found.submit(ClipRequest(prompt="a"))
        now = found.status(job.id)
        shutil.copytree(folder / "jobs", tmp_path / str(life) / "jobs")
        found.close()
        folder = tmp_path / str(life)
    assert now.state == "failed" and now.error == "the service ended 2 times before it was made; ask again"


def test_a_folder_has_one_service(closing: list[ClipService], tmp_path: Path) -> None:
    first = service(tmp_path)
    job = first.submit(ClipRequest(prompt="a"))
    with pytest.raises(UserError, match=r"writer.lock: held by process \d+ on .*; wait for it"):
        service(tmp_path)
    assert (tmp_path / "jobs" / job.id).is_dir()
    first.close()
    closing.append(service(tmp_path))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "prompt: empty; say what the clip shows and sounds like, or give a video"),
        ({"prompt": "a", "steps": 500}, "steps: got 500; this server makes at most 100"),
        ({"prompt": "a", "seconds": 60}, "seconds: got 60; this server makes at most 10"),
        ({"prompt": "a", "seconds": 0.01}, "seconds: got 0.01; expected at least 0.0625, one frame"),
        ({"prompt": "a", "height": 2048, "width": 2048}, "height x width: got 4.1943e\\+06; this server"),
        ({"prompt": "a", "height": 70}, "size 70 x 64 pixels: .* the nearest valid size is 64 x 64"),
        ({"video": "0" * 32}, "video '0+': not known; upload it again"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line_and_leaves_no_trace(
    request_: dict, message: str, tmp_path: Path
) -> None:
    found = service(tmp_path)
    with pytest.raises(RequestError, match=message) as caught:
        found.submit(ClipRequest(**request_))
    assert "\n" not in str(caught.value) and not found.latest() and not list((tmp_path / "jobs").iterdir())


def test_an_upload_is_cut_to_the_window_and_what_is_too_short_gets_a_remedy_that_works(
    tmp_path: Path,
) -> None:
    found = service(tmp_path)
    video = found.videos.add([small_video(tmp_path / "v.mp4").read_bytes()])
    assert (video.width, round(video.seconds, 2), video.has_audio) == (48, 3.0, True)
    with pytest.raises(RequestError, match=r"3\.00 s long, and the clip would be 1 s from 2\.5 s on; begin"):
        found.submit(ClipRequest(video=video.id, video_start=2.5))
    job = found.submit(ClipRequest(video=video.id, video_start=1.5))
    assert (tmp_path / "jobs" / job.id / "window.mp4").is_file() and job.state not in FINAL


HOSTILE = {
    "zero bytes": b"",
    "HTML": b"<html><script>alert(1)</script></html>",
    "a playlist": b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "a concat script": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "noise": bytes(range(256)) * 64,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(64),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_upload_is_one_line_without_paths_and_leaves_no_file(kind: str, tmp_path: Path) -> None:
    found = service(tmp_path)
    with pytest.raises(RequestError, match="upload another file") as caught:
        found.videos.add([HOSTILE[kind]])
    assert str(tmp_path) not in str(caught.value) and "\n" not in str(caught.value)
    assert not list((tmp_path / "videos").iterdir())


def test_an_upload_that_is_too_large_is_refused_on_the_way_and_old_ones_go(tmp_path: Path) -> None:
    found = service(tmp_path, upload_mib=1, uploads=2)
    data = small_video(tmp_path / "v.mp4").read_bytes()
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(1 << 18)

    with pytest.raises(RequestError, match="over 1 MiB; upload a shorter one") as caught:
        found.videos.add(endless())
    assert caught.value.status == 413 and sent == 5
    names = [found.videos.add([data]).id for _ in range(3)]
    assert {file.name for file in (tmp_path / "videos").iterdir()} == set(names[1:])
