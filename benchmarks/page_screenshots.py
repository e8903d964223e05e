"""The pictures of docs/app.md: the web page in a headless Chromium, over the shipped small model.

Makes clips from text and new audio for one of them as a visitor would, and keeps what the page then shows as
docs/images/app_text.webp, app_video.webp and app_gallery.webp.
"""

import io
import shutil
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import Field
from serve_setting import ROOT, started

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config
from syncflow.errors import UserError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROMPTS = (
    "a drumstick hits a glass object twice",
    "a drumstick scratches a wooden surface twice",
    "a drumstick hits a cardboard box four times",
    "a drumstick hits a metal object three times",
)
WAIT_MS = 300_000


class ScreenshotsConfig(Config):
    """Where the pictures go, and how large they are."""

    output: Path = ROOT / "docs/images"
    """Folder of the pictures."""
    width: int = Field(default=1280, ge=400)
    """Columns of the browser's window, pixels."""
    quality: int = Field(default=80, ge=1, le=100)
    """Quality of WebP."""


def take(shown: Any, path: Path, config: ScreenshotsConfig, **whole: bool) -> None:
    """Write a page of the browser, or an element of one, as WebP."""
    image = Image.open(io.BytesIO(shown.screenshot(**whole)))
    image.convert("RGB").save(path, quality=config.quality, method=6)
    print(f"{path}: {image.width} x {image.height}, {path.stat().st_size / 1000:.0f} kB", flush=True)


def make(page: Any, button: str) -> None:
    """Press a button and wait for the clip and its strip."""
    page.locator(button).click()
    page.wait_for_selector("#status progress", timeout=WAIT_MS)
    page.wait_for_selector("#status :text('Done.')", timeout=WAIT_MS)
    page.wait_for_function("document.querySelector('#clip video')?.currentTime > 0.5", timeout=WAIT_MS)
    page.wait_for_selector("#strip img", timeout=WAIT_MS)


def main() -> int:
    config = parse_arguments(ScreenshotsConfig, description=__doc__ or "")
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        raise UserError(f"no browser: none of {', '.join(BROWSERS)} is installed; apt-get install chromium")
    config.output.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        started("app.py", Path(folder)) as server,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": config.width, "height": 800})
        page.goto(server.url)
        for seed, prompt in enumerate(PROMPTS):
            page.locator("#prompt textarea").fill(prompt)
            page.locator("#seed textarea, #seed input").first.fill(str(seed))
            make(page, "#make")
        take(page, config.output / "app_text.webp", config, full_page=True)
        page.get_by_role("tab", name="Video to audio").click()
        clip = server.client.download(server.client.latest(1)[0], "clip.mp4", Path(folder) / "clip.mp4")
        page.locator("#upload input[type=file]").set_input_files(clip)
        page.wait_for_selector("#window video", timeout=WAIT_MS)
        make(page, "#make_audio")
        take(page, config.output / "app_video.webp", config, full_page=True)
        gallery = page.locator("#gallery")
        gallery.scroll_into_view_if_needed()
        take(gallery, config.output / "app_gallery.webp", config)
        browser.close()
    return 0


if __name__ == "__main__":
    run(main)
