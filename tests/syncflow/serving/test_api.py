"""The HTTP API on loopback, by the client and by what is no client of ours."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn

from syncflow.errors import UserError
from syncflow.serving.access import Guard, token_for
from syncflow.serving.api import make_api
from syncflow.serving.client import Client, ServerError
from syncflow.serving.service import ClipService
from tests.syncflow.serving.serving_case import WritingMaker, service, small_video

TOKEN = "a-token-of-24-characters"


class Running:
    """A server in a thread."""

    def __init__(self, service: ClipService, *, token: str = "") -> None:
        self.service = service
        self.server = uvicorn.Server(
            uvicorn.Config(Guard(make_api(service), token=token), port=0, log_level="error", ws="none")
        )
        self.thread = threading.Thread(target=self.server.run)

    def __enter__(self) -> "Running":
        self.service.start()
        self.thread.start()
        end = time.monotonic() + 60
        while not self.server.started:
            assert time.monotonic() < end
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.service.close()

    def send(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """A plain request, its headers as given (`_` for `-`)."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        connection.request(
            method, path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        answer = connection.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        connection.close()
        return found


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running(service(tmp_path / "s", WritingMaker(), upload_mib=1)) as found:
        yield found


def test_a_client_uploads_asks_waits_and_downloads(running: Running, tmp_path: Path) -> None:
    client = Client(running.url, token="")
    video = client.upload(small_video(tmp_path / "v.mp4"))
    jobs = [client.submit(prompt="metal", seed=3), client.submit(video=video, video_start=1)]
    done = [client.wait(job) for job in jobs]
    assert done[0]["request"]["seed"] == 3 and done[1]["request"]["seed"] is not None
    assert done[1]["files"] == ["clip.mp4", "window.mp4"]
    path = client.download(done[0], "clip.mp4", tmp_path / "out" / "c.mp4")
    assert path.read_bytes() == done[0]["id"].encode() and [p.name for p in path.parent.iterdir()] == [
        "c.mp4"
    ]
    assert [job["id"] for job in client.latest()] == [job["id"] for job in reversed(done)]
    assert client.cancel(done[0])["state"] == "done", "a final job stays as it is"
    assert client.about()["steps"] == 4


def test_every_refusal_is_one_line_with_its_status(running: Running, tmp_path: Path) -> None:
    client = Client(running.url, token="", attempts=1)
    done = client.wait(client.submit(prompt="a"))
    for status, text, call in (
        (400, "prompt: empty", lambda: client.submit()),
        (
            400,
            "steps: Input should be greater than",
            lambda: client.submit(prompt="a", steps=0),
        ),
        (400, "colour: Extra inputs are not permitted", lambda: client.submit(prompt="a", colour="red")),
        (400, "steps: got 900; this server makes at most 100", lambda: client.submit(prompt="a", steps=900)),
        (404, "job 'x': not known", lambda: client.status("x")),
        (
            404,
            "file 'job.json'",
            lambda: client.download(done, "job.json", tmp_path / "j"),
        ),
    ):
        with pytest.raises(ServerError, match=text) as caught:
            call()
        assert caught.value.status == status
    for name in ("..%2f..%2fjob.json", "%2e%2e", "clip.mp4%00"):
        assert running.send("GET", f"/v1/jobs/{done['id']}/files/{name}")[0] == 404
    assert (
        running.send("POST", "/v1/jobs", b"{" + b" " * 70_000 + b"}", content_type="application/json")[0]
        == 413
    )
    assert running.send("POST", "/v1/jobs", b"[[[[", content_type="application/json")[0] == 400


def test_large_and_hostile_uploads_and_clients_that_go_away_leave_nothing(running: Running) -> None:
    status, _, body = running.send("POST", "/v1/videos", bytes(3 << 20))
    assert status == 413 and json.loads(body)["error"] == "video: over 1 MiB; upload a shorter one"
    status, _, body = running.send("POST", "/v1/videos", b"#EXTM3U\nhttp://127.0.0.1:9/x.ts\n")
    assert status == 400 and "upload another file" in json.loads(body)["error"]
    host, port = urlsplit(running.url).netloc.split(":")
    with socket.create_connection((host, int(port))) as broken:  # says 500 kB, sends 9 bytes, and goes
        broken.sendall(
            f"POST /v1/videos HTTP/1.1\r\nHost: {host}\r\nContent-Length: 500000\r\n\r\n".encode() + bytes(9)
        )
        time.sleep(0.2)
    for _ in range(100):
        if not list(running.service.videos._folder.iterdir()):
            break
        time.sleep(0.05)
    assert not list(running.service.videos._folder.iterdir())
    assert running.send("GET", "/health")[0] == 200


def test_health_metrics_and_the_description(running: Running) -> None:
    client = Client(running.url, token="")
    client.wait(client.submit(prompt="a"))
    text = running.send("GET", "/metrics")[2].decode()
    assert 'syncflow_jobs_total{state="done"} 1.0' in text and 'syncflow_jobs_now{state="queued"} 0.0' in text
    described = json.loads(running.send("GET", "/openapi.json")[2])
    assert {"/v1/jobs", "/v1/videos", "/v1/jobs/{job_id}", "/health"} <= described["paths"].keys()
    fields = described["components"]["schemas"]["ClipRequest"]["properties"]
    assert fields["steps"]["description"].startswith("Solver steps")
    running.service.close()
    assert running.send("GET", "/health")[0] == 503


def test_with_a_token_nothing_but_health_is_answered_without_it(tmp_path: Path) -> None:
    with Running(service(tmp_path, WritingMaker()), token=TOKEN) as running:
        assert running.send("GET", "/health")[0] == 200
        for path in ("/", "/v1/jobs", "/openapi.json", "/metrics", "/health/"):
            assert running.send("GET", path)[0] == 401
        assert running.send("GET", "/v1/jobs", Authorization=f"Bearer {TOKEN}x")[0] == 401
        assert running.send("GET", "/v1/jobs?token=wrong")[0] == 401
        assert Client(running.url, token=TOKEN).latest() == []
        status, headers, _ = running.send("GET", f"/v1/jobs?count=3&token={TOKEN}")
        assert status == 303 and headers["location"] == "/v1/jobs?count=3"
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
        assert running.send("GET", "/v1/jobs", Cookie=cookie.partition(";")[0])[0] == 200


def test_pages_of_other_origins_and_other_names_of_this_machine_are_refused(running: Running) -> None:
    netloc = urlsplit(running.url).netloc
    assert running.send("GET", "/v1/jobs", Origin=running.url)[0] == 200
    assert running.send("POST", "/v1/videos", b"x", Origin="http://evil.example")[0] == 403
    assert running.send("GET", "/v1/jobs", Host="evil.example:80")[0] == 403
    assert running.send("GET", "/v1/jobs", Host=f"localhost:{netloc.partition(':')[2]}")[0] == 200


def test_an_address_that_others_reach_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNCFLOW_TOKEN", raising=False)
    assert [token_for(host) for host in ("127.0.0.1", "localhost", "::1")] == [""] * 3
    for host in ("0.0.0.0", "::", "192.168.1.4", "example.org", ""):
        with pytest.raises(UserError, match=r"no token is set; set SYNCFLOW_TOKEN to 16 or more"):
            token_for(host)
    for bad in ("short", "x" * 20 + ";", "with blanks in the middle"):
        monkeypatch.setenv("SYNCFLOW_TOKEN", bad)
        with pytest.raises(UserError, match="SYNCFLOW_TOKEN: expected 16 or more ASCII characters"):
            token_for("0.0.0.0")
    monkeypatch.setenv("SYNCFLOW_TOKEN", TOKEN)
    assert token_for("0.0.0.0") == TOKEN


def test_a_client_says_when_there_is_no_server() -> None:
    with pytest.raises(ServerError, match="is the server there"):
        Client("http://127.0.0.1:9", token="", attempts=1).latest()
