"""The web page over the shipped model: by Gradio's own client, and in a real browser where there is one."""

import shutil
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
from tests.syncflow.serving.serving_case import config, ended, small_video

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 120_000


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
    settings = {"param_1": "5", "param_2": 2, "param_3": 1.0, "param_4": 2.0, "param_5": 1.0}
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


@pytest.mark.slow
def test_in_a_browser_a_prompt_and_an_upload_become_clips_that_play_and_a_broken_one_is_a_line(
    address: str, service: ClipService, tmp_path: Path
) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"<html>not a video</html>")
    video = small_video(tmp_path / "real.mp4")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        elsewhere, faults = [], []
        page.on("request", lambda request: elsewhere.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(address)
        page.locator("#prompt textarea").fill("a drumstick hits a metal object three times")
        page.locator("[aria-label*='Steps']").first.fill("10")
        page.locator("#make").click()
        page.wait_for_selector("#status progress", timeout=WAIT_MS)
        page.wait_for_selector("#status :text('Done.')", timeout=WAIT_MS)
        plays = "document.querySelector('#clip video')?.currentTime > 0.2"
        page.wait_for_function(plays, timeout=WAIT_MS)
        assert "Sync F1" in page.locator("#score").inner_text()
        page.wait_for_selector("#strip img", timeout=WAIT_MS)
        first = service.latest()[0]
        page.locator("#again").click()
        page.wait_for_function(
            f"!document.querySelector('#score').innerText.includes('{first.request.seed}')", timeout=WAIT_MS
        )
        again = ended(service, service.latest()[0])
        assert again.request.prompt == first.request.prompt and again.request.seed != first.request.seed
        with page.expect_download() as download:
            page.locator("#download_sidecar").click()
        assert f'"seed": {again.request.seed}' in Path(download.value.path()).read_text()
        # new audio for a video; a broken one first
        page.get_by_role("tab", name="Video to audio").click()
        page.locator("#upload input[type=file]").set_input_files(broken)
        page.wait_for_selector("#status .error", timeout=WAIT_MS)
        line = page.locator("#status .error").inner_text()
        assert line.startswith("error: video: ") and "upload another file" in line and "\n" not in line
        page.locator(
            "#upload button[aria-label*='Remove'], #upload button[aria-label*='Clear']"
        ).first.click()
        page.locator("#upload input[type=file]").set_input_files(video)
        page.wait_for_selector("#window video", timeout=WAIT_MS)
        page.locator("#make_audio").click()
        # no look for its progress: the audio of a given video may be made before the browser shows any
        page.wait_for_selector("#status :text('Done.')", timeout=WAIT_MS)
        made = service.latest()[0]
        assert made.state == "done" and made.request.video and "window.mp4" in made.files
        # a browser that goes away stops what runs
        before = service.latest()[0].id
        page.get_by_role("tab", name="Text to clip").click()
        page.locator("[aria-label*='Steps']").first.fill("100")
        page.locator("[aria-label*='Seconds']").first.fill("8")  # longer than it takes to see that it left
        page.locator("#make").click()
        page.wait_for_selector("#status progress", timeout=WAIT_MS)
        browser.close()
    left = service.latest()[0]
    assert left.id != before and left.request.steps == 100 and left.request.seconds == 8
    assert ended(service, left).state == "cancelled"
    assert not [url for url in elsewhere if not url.startswith((address, "blob:", "data:"))]
    assert not faults
