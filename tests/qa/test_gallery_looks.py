"""How the page looks and moves in a real browser: motion, colours, widths, thousands of windows."""

from __future__ import annotations

import time
from pathlib import Path

import gallery_runs
import pytest
from browser import Page
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from colcap.qa.gallery import gallery


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 windows, with 40 KB of preview each in a folder beside the page."""
    folder = tmp_path_factory.mktemp("large")
    page = gallery(gallery_runs.large(folder / "run", size=40_000), folder / "page.html")
    assert page.folder is not None
    assert page.shown.windows == 2000
    return page.path


def test_previews_pause_and_play(page: Page) -> None:
    WebDriverWait(page.chrome, 10).until(lambda _: page.script("document.images[0].naturalWidth") == 426)
    page["pause"].click()
    assert page.script("document.querySelectorAll('figure canvas').length > 0 && document.images[0].hidden")
    assert page["pause"].text == "Play"
    assert page["pause"].get_attribute("aria-pressed") is None  # "Play, pressed" would say the opposite

    page["pause"].click()

    assert page.script("document.querySelectorAll('figure canvas').length === 0 && !document.images[0].hidden")


def test_light_and_dark(page: Page) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    page["theme"].click()
    light = page.script(colour)

    page["theme"].click()

    assert (light, page.script(colour)) == ("rgb(246, 246, 244)", "rgb(20, 21, 23)")


def test_a_screen_reader_has_names_for_everything(page: Page) -> None:
    nodes = page.chrome.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]

    def named(role: str) -> list[str]:
        those = [node for node in nodes if not node["ignored"] and node["role"]["value"] == role]
        return [node.get("name", {}).get("value", "") for node in those]

    for role in ("button", "combobox", "searchbox", "checkbox", "image", "heading"):
        assert all(named(role)), role
    assert len(named("image")) >= 3
    windows = [name for name in named("listitem") if name]
    assert len(set(windows)) == len(windows) == 8
    assert "Search captions, clips and errors" in named("searchbox")


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_a_phone(page: Page, width: int) -> None:
    page.chrome.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        assert page.script("document.documentElement.scrollWidth") == width
        rights = page.script("[...document.querySelectorAll('.card *')].map((e) => e.getBoundingClientRect().right)")
        assert max(rights) <= width  # type: ignore[call-overload]
        page.search("van")
        page.wait_for("3 of 7 windows, 0 of 1 clip without windows")
        assert page.script("document.documentElement.scrollWidth") == width
    finally:
        page.chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


FRAMES = """
const done = arguments[0], times = [];
let last = performance.now(), left = 90;
function frame(now) {
  times.push(now - last);
  last = now;
  scrollBy(0, 600);
  left-- ? requestAnimationFrame(frame) : done(times.sort((a, b) => a - b));
}
requestAnimationFrame(frame);
"""


def test_two_thousand_windows(chrome: webdriver.Chrome, large: Path) -> None:
    page = Page(chrome, large)
    assert page.count() == "2,000 windows"

    loaded = page.script("[...document.images].filter((image) => image.complete && image.naturalWidth).length")
    times = chrome.execute_async_script(FRAMES)
    started = time.monotonic()
    page.search("number 1234")
    page.wait_for("1 of 2,000 windows")
    seconds = time.monotonic() - started

    assert isinstance(loaded, int)
    assert 0 < loaded < 200
    assert times[len(times) // 2] < 300  # laying out all of it takes a second; a busy machine takes 130 ms a frame
    assert seconds < 5
    assert page.complaints() == []


def test_a_wide_screen_is_used(page: Page) -> None:
    page.chrome.set_window_size(1920, 1000)
    try:
        cards, said = (
            [element.rect for element in page.chrome.find_elements(By.CSS_SELECTOR, name)]
            for name in (".card", ".said")
        )
    finally:
        page.chrome.set_window_size(1280, 1000)

    assert len({card["x"] for card in cards}) == 2
    assert max(card["x"] + card["width"] for card in cards) > 1850
    assert said[0]["y"] == said[1]["y"]  # two sets are still beside each other


def test_thousands_of_windows_are_several_pages(
    chrome: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colcap.qa.gallery.PER_PAGE", 20)
    first = gallery(gallery_runs.large(tmp_path / "run", windows=50), tmp_path / "a #1.html")
    page = Page(chrome, first.path)

    assert [path.name for path in first.further] == ["a #1-2.html", "a #1-3.html"]
    assert page.count() == "20 windows"
    chrome.find_element(By.CSS_SELECTOR, ".pages a[rel=next]").click()
    page.wait_for("20 windows")
    assert page.shown()[0] == "clip-0002 0"
    chrome.find_element(By.CSS_SELECTOR, ".pages a[rel=next]").click()
    page.wait_for("10 windows")
    assert chrome.find_elements(By.CSS_SELECTOR, ".pages a[rel=next]") == []
    assert page.script("document.querySelector('.pages [aria-current]').textContent") == "3"
    assert page.complaints() == []
