"""The web page over the shipped model: by Gradio's own client."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from gradio_client import Client

from syncflow.media import probe
from syncflow.serving.access import Guard
from syncflow.serving.api import make_api
from syncflow.serving.maker import ClipMaker
from syncflow.serving.page import add_page
from syncflow.serving.service import ClipService
from tests.syncflow.serving.serving_case import config


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> ClipService:
    settings = config(tmp_path_factory.mktemp("page"))
    maker = ClipMaker(settings)
    return ClipService(settings, about=maker.about, makers=[maker])


@pytest.fixture(scope="module")
def address(service: ClipService) -> Iterator[str]:
    app = add_page(make_api(service), service)
    server = uvicorn.Server(uvicorn.Config(Guard(app, token=""), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    service.start()
    thread.start()
    end = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < end
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join()
    service.close()


def test_the_page_makes_a_clip_for_a_client_of_gradio(address: str, service: ClipService) -> None:
    client = Client(address, verbose=False)
    settings = {"param_1": 5, "param_2": 2, "param_3": 1.0, "param_4": 2.0, "param_5": 1.0}
    settings |= {"param_6": "", "param_7": 64, "param_8": 64}
    job = client.submit("metal", *settings.values(), api_name="/text_to_clip")
    result = job.result(timeout=120)
    assert "Done." in result[0] and "Seed **5**" in result[3]
    assert any("<progress" in str(output[0]) for output in job.outputs())
    assert probe(Path(result[2]["video"] if isinstance(result[2], dict) else result[2])).width == 64
    refused = client.predict("  ", *settings.values(), api_name="/text_to_clip")
    assert "error: prompt: empty" in refused[0]
    wrong = client.predict("metal", *{**settings, "param_7": 70}.values(), api_name="/text_to_clip")
    assert "the nearest valid size is 64 x 64" in wrong[0]
    assert {status.state for status in service.latest()} == {"done"}
