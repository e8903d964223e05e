"""A client of the server in one file that needs the standard library alone; copy it wherever it is useful.

client = Client("http://127.0.0.1:8000")
job = client.wait(client.submit(prompt="a drumstick hits a metal object three times"))
client.download(job, "clip.mp4", "out/clip.mp4")
job = client.wait(client.submit(video=client.upload("silent.mp4")))
"""

import json
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

FINAL = ("done", "failed", "cancelled")
BLOCK = 1 << 20


class ServerError(Exception):
    """The server refused a request; `status` is HTTP's, the text is its one line."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Client:
    """Jobs are the dictionaries that the server answers with (`/openapi.json`: JobStatus)."""

    def __init__(
        self, url: str, *, token: str | None = None, timeout_s: float = 60.0, attempts: int = 4
    ) -> None:
        """The token is SYNCFLOW_TOKEN of the environment unless given. A request whose answer is lost, or
        that a full queue refuses, is sent again, `attempts` times in all; it never makes a second job."""
        self._url = url.rstrip("/")
        self._token = os.environ.get("SYNCFLOW_TOKEN", "") if token is None else token
        self._timeout_s, self._attempts = timeout_s, attempts

    def about(self) -> dict[str, Any]:
        """The model, and the defaults of a request."""
        return self._json("GET", "/v1/about")

    def upload(self, path: str | Path) -> str:
        """Upload a video; the id that `submit(video=...)` takes."""
        with Path(path).open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            return self._json("POST", "/v1/videos", stream=stream, length=size)["id"]

    def submit(self, **request: Any) -> dict[str, Any]:
        """Ask for a clip: prompt, video, seed, steps ... (`/openapi.json`: ClipRequest). The new job."""
        request.setdefault("key", uuid.uuid4().hex)
        return self._json("POST", "/v1/jobs", body=request)

    def status(self, job: dict[str, Any] | str) -> dict[str, Any]:
        """The job as it is now."""
        return self._json("GET", f"/v1/jobs/{_id(job)}")

    def latest(self, count: int = 24) -> list[dict[str, Any]]:
        """The newest jobs, newest first."""
        return self._json("GET", f"/v1/jobs?count={count}")

    def cancel(self, job: dict[str, Any] | str) -> dict[str, Any]:
        """Stop a job."""
        return self._json("DELETE", f"/v1/jobs/{_id(job)}")

    def progress(self, job: dict[str, Any] | str, *, every_s: float = 0.5) -> Iterator[dict[str, Any]]:
        """The job now and then until it has ended."""
        while (now := self.status(job))["state"] not in FINAL:
            yield now
            time.sleep(every_s)
        yield now

    def wait(self, job: dict[str, Any] | str, *, timeout_s: float = 3600.0) -> dict[str, Any]:
        """The job when it is done.

        Raises:
            ServerError: it failed or was cancelled.
            TimeoutError: it has not ended after `timeout_s` seconds.
        """
        end = time.monotonic() + timeout_s
        for now in self.progress(job):
            if now["state"] == "done":
                return now
            if now["state"] in FINAL:
                raise ServerError(200, f"job {now['id']}: {now['state']}: {now['error']}")
            if time.monotonic() > end:
                raise TimeoutError(f"job {now['id']}: {now['state']} after {timeout_s:g} s")
        raise AssertionError("a job ends")

    def download(self, job: dict[str, Any] | str, name: str, target: str | Path) -> Path:
        """Write a file of a finished job (clip.mp4, clip.wav, strip.png, sidecar.json) to `target`."""
        target = Path(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        with self._open("GET", f"/v1/jobs/{_id(job)}/files/{name}") as answer, partial.open("wb") as out:
            while block := answer.read(BLOCK):
                out.write(block)
        partial.replace(target)
        return target

    def _json(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        stream: BinaryIO | None = None,
        length: int = 0,
    ) -> Any:
        with self._open(method, path, body=body, stream=stream, length=length) as answer:
            return json.load(answer)

    def _open(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        stream: BinaryIO | None = None,
        length: int = 0,
    ) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        data: Any = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        elif stream is not None:
            data = stream
            headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(length)}
        for attempt in range(1, self._attempts + 1):
            if stream is not None:
                stream.seek(0)
            request = urllib.request.Request(self._url + path, data=data, headers=headers, method=method)
            try:
                return urllib.request.urlopen(request, timeout=self._timeout_s)
            except urllib.error.HTTPError as error:
                if error.code not in (429, 502, 503) or attempt == self._attempts:
                    raise ServerError(error.code, _line(error)) from None
            except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
                if attempt == self._attempts:
                    raise ServerError(0, f"{self._url}: {error}; is the server there?") from None
            time.sleep(min(2.0**attempt / 2, 10.0))
        raise AssertionError("the last attempt returns or raises")


def _id(job: dict[str, Any] | str) -> str:
    return job if isinstance(job, str) else job["id"]


def _line(error: urllib.error.HTTPError) -> str:
    text = error.read(4096).decode("utf-8", errors="replace").strip()
    try:
        return json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        return text.partition("\n")[0] or str(error)
