"""What is refused before a proxy keeps it in memory."""

import json
from collections.abc import Iterable
from threading import Barrier, Thread

import pytest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from infra.serve.run import environment
from syncflow.serving.body_limit import BodyLimit, middlewares
from syncflow.serving.config import LimitsConfig

MIB = 1 << 20


async def count(request: Request) -> JSONResponse:
    return JSONResponse(len(await request.body()))


def client(at_once: int = 2, then: object = count) -> TestClient:
    app = Starlette(routes=[Route("/", then, methods=["POST"])])
    return TestClient(BodyLimit(app, most=MIB, at_once=at_once))


def chunks(number: int) -> Iterable[bytes]:
    return (bytes(MIB // 2) for _ in range(number))


def test_a_body_over_the_limit_is_refused_by_its_length_and_broken_off_without_one() -> None:
    asked = client()
    assert asked.post("/", content=bytes(MIB)).json() == MIB
    refused = asked.post("/", content=bytes(MIB + 1))
    assert (refused.status_code, refused.json()) == (
        413,
        {"error": "video: over 1 MiB; upload a shorter one"},
    )
    assert asked.post("/", content=chunks(2)).json() == MIB
    with pytest.raises(ClientDisconnect):
        asked.post("/", content=chunks(3))
    assert asked.post("/", content=bytes(MIB)).status_code == 200, "what broke off is counted no longer"


def test_large_bodies_are_few_at_a_time_and_small_ones_are_not_counted() -> None:
    inside, leave = Barrier(2), Barrier(2)

    def hold(request: Request) -> JSONResponse:
        if "hold" in request.query_params:
            inside.wait(10)
            leave.wait(10)
        return JSONResponse("done")

    asked = client(at_once=1, then=hold)
    first: list[str] = []
    thread = Thread(target=lambda: first.append(asked.post("/?hold=1", content=bytes(MIB)).json()))
    thread.start()
    inside.wait(10)
    refused = asked.post("/", content=bytes(MIB))
    assert refused.status_code == 429 and refused.headers["retry-after"] == "10"
    assert "1 uploads are on their way already" in json.loads(refused.text)["error"]
    assert asked.post("/", content=b"{}").json() == "done"
    leave.wait(10)
    thread.join()
    assert first == ["done"] and asked.post("/", content=bytes(MIB)).json() == "done"


def test_ray_serve_finds_the_limit_by_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._common.utils import import_attr

    variables = environment(LimitsConfig(upload_mib=3))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert middlewares()[0].kwargs["most"] == 3 * MIB
    assert import_attr(variables["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"]) is middlewares
