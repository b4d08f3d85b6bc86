"""The page in a real browser. Without chromium and its driver these tests fail: `apt-get install chromium-driver`."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import gallery_runs
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from colcap.qa.gallery import gallery

SHOWN = """
return [...document.querySelectorAll('.card:not([hidden])')].map((card) =>
  card.querySelector('h2').textContent.slice(0, 12) + (card.querySelector('.facts').textContent.match(/ \\d+/) ?? ''));
"""
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,1000",
]  # fmt: skip
ALL = 8


@pytest.fixture(scope="module")
def chrome() -> Iterator[webdriver.Chrome]:
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert binary, "chromium is missing"
    assert driver, "chromedriver is missing"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for flag in [*FLAGS, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        yield browser
        browser.quit()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return gallery(gallery_runs.small(folder / "run"), folder / "page.html").path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2,000 windows, with 40 KB of preview each in a folder beside the page."""
    folder = tmp_path_factory.mktemp("large")
    page = gallery(gallery_runs.large(folder / "run", size=40_000), folder / "page.html")
    assert page.folder is not None
    assert page.shown == 2000
    return page.path


class Page:
    """What a person sees of a page and does to it."""

    def __init__(self, chrome: webdriver.Chrome, path: Path) -> None:
        self.chrome = chrome
        chrome.get_log("browser")
        chrome.get(path.as_uri())

    def shown(self) -> list[str]:
        """Clip and window of each visible card, from the top."""
        return list(self.chrome.execute_script(SHOWN))

    def count(self) -> str:
        return self["count"].text

    def wait_for(self, expected: str) -> None:
        WebDriverWait(self.chrome, 5, poll_frequency=0.02).until(lambda _: self.count() == expected)

    def search(self, words: str) -> None:
        self["search"].clear()
        self["search"].send_keys(words)

    def choose(self, name: str, value: str) -> None:
        Select(self[name]).select_by_value(value)

    def press(self, *keys: str) -> None:
        webdriver.ActionChains(self.chrome).send_keys(*keys).perform()

    def focused(self) -> str:
        return str(
            self.chrome.execute_script("return document.activeElement.dataset.order ?? document.activeElement.id")
        )

    def script(self, code: str) -> object:
        return self.chrome.execute_script(f"return {code}")

    def complaints(self) -> list[str]:
        """What the console says: errors of the script, everything the policy refused."""
        return [entry["message"] for entry in self.chrome.get_log("browser")]

    def __getitem__(self, name: str) -> webdriver.remote.webelement.WebElement:
        return self.chrome.find_element(By.ID, name)


@pytest.fixture
def page(chrome: webdriver.Chrome, small: Path) -> Iterator[Page]:
    opened = Page(chrome, small)
    opened.script("document.getElementById('filters').open = true")
    yield opened
    assert opened.complaints() == []


def test_the_page_opens_from_disk_with_its_previews(page: Page) -> None:
    WebDriverWait(page.chrome, 10).until(
        lambda _: page.script("[...document.images].filter((i) => i.naturalWidth == 426).length") == 6
    )

    assert page.count() == f"{ALL} windows"
    assert page.shown()[2:] == [
        "broken", "clip-harbour 0", "clip-harbour 1", "clip-street 0", "clip-street 1", "clip-street 2",
    ]  # fmt: skip
    assert page.script("document.images[0].loading") == "lazy"


def test_a_caption_that_is_a_script_is_text(page: Page) -> None:
    time.sleep(0.3)

    assert page.chrome.title == "run · captions"
    captions = [element.text for element in page.chrome.find_elements(By.CSS_SELECTOR, ".caption")]
    assert gallery_runs.SCRIPT in captions
    assert "{{ 7 * 7 }} ${7 * 7}" in " ".join(captions)
    assert page.script("document.scripts.length") == 1


def test_the_policy_stops_what_escaping_would_miss(chrome: webdriver.Chrome, small: Path, tmp_path: Path) -> None:
    attack = (
        "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\"><p style='color:red'>"
    )
    path = tmp_path / "hurt.html"
    path.write_text(small.read_text().replace('<ul id="cards">', f'{attack}<ul id="cards">'))

    hurt = Page(chrome, path)

    assert chrome.title == "run · captions"
    assert hurt.count() == f"{ALL} windows"
    assert len([text for text in hurt.complaints() if "Content Security Policy" in text]) >= 3


def test_nothing_is_fetched_from_a_network(page: Page) -> None:
    names = page.script("performance.getEntriesByType('resource').map((entry) => entry.name)")

    assert isinstance(names, list)
    assert not [name for name in names if not name.startswith(("data:", "file:"))]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("VAN rain", ["clip-street 1", "clip-street 2"]),
        ("steady", ["clip-street 1"]),
        ("möwen", ["clip-harbour 0"]),
        ("コンテナ", []),
        ("moov atom", ["broken"]),
        ("<script>", None),
        ("zebra", []),
    ],
)
def test_search_as_you_type(page: Page, words: str, expected: list[str] | None) -> None:
    page.search(words)

    if expected is None:  # the hostile clip's two windows, and the error text of the broken clip
        expected = [name for name in page.shown() if name.startswith(("<script>", "broken"))][:3]
    page.wait_for(f"{len(expected)} of {ALL} windows")
    assert page.shown() == expected
    assert page["nothing"].is_displayed() == (not expected)


@pytest.mark.parametrize(
    ("control", "value", "expected"),
    [
        ("status", "error", ["broken", "clip-harbour 1"]),
        ("kind", "over_context", ["clip-harbour 1"]),
        ("finish", "length", ["clip-street 2"]),
        ("set", "terse", 7),
    ],
)
def test_filters(page: Page, control: str, value: str, expected: list[str] | int) -> None:
    page.choose(control, value)

    shown = page.shown()

    assert (len(shown) if isinstance(expected, int) else shown) == expected
    assert page["active"].text == "(1)"


def test_the_filter_by_clip_and_the_reset(page: Page) -> None:
    page["clip"].send_keys("HARB")
    assert page.shown() == ["clip-harbour 0", "clip-harbour 1"]

    page["reset"].click()

    assert page.count() == f"{ALL} windows"


@pytest.mark.parametrize(
    ("by", "first"),
    [
        ("status", "broken"),
        ("most", "clip-street 2"),
        ("longest", "clip-street 0"),
        ("shortest", "broken"),
        ("", "<script>docu 0"),
    ],
)
def test_sort(page: Page, by: str, first: str) -> None:
    page.choose("sort", "most")
    page.choose("sort", by)

    assert page.shown()[0] == first


def test_two_sets_side_by_side(page: Page) -> None:
    page.choose("set", "default")
    page.choose("beside", "terse")
    page["differing"].click()

    assert page.shown() == ["clip-street 0", "clip-street 1", "clip-street 2"]
    left, right = page.chrome.find_elements(By.CSS_SELECTOR, ".card:not([hidden]) .said")[:2]
    assert left.rect["y"] == right.rect["y"]
    assert left.rect["x"] + left.rect["width"] <= right.rect["x"]
    marked = page.script("[...CSS.highlights.get('differs')].map((range) => range.toString())")
    assert marked == ["two", "empty", "pavement", "square", "empty", "pavement", "square"]


def test_found_words_are_marked(page: Page) -> None:
    page.search("yellow")
    page.wait_for(f"1 of {ALL} windows")

    marked = page.script("[...CSS.highlights.get('found')].map((range) => range.toString())")

    assert marked == ["yellow", "yellow", "yellow"]


def test_the_keyboard_reaches_everything(page: Page) -> None:
    page.press("j")
    assert page.focused() == "0"
    page.press("j", "j", "k", Keys.ARROW_DOWN)
    assert page.focused() == "2"
    page.press("G")
    assert page.focused() == str(ALL - 1)
    page.press("g", "/")
    assert page.focused() == "search"
    page.press("jjj", Keys.ESCAPE)
    assert page.count() == f"{ALL} windows"
    page.press("van")
    page.wait_for(f"3 of {ALL} windows")
    page.press(Keys.TAB)
    page["pause"].send_keys("")
    page.press("?")
    assert page["help"].is_displayed()
    page.press(Keys.ESCAPE)
    assert not page["help"].is_displayed()


def test_one_window_at_a_time_is_reached_by_tab(page: Page) -> None:
    page.press("j", "j")

    assert page.script("document.querySelectorAll('.card[tabindex=\"0\"]').length") == 1
    assert page.script("document.activeElement.tabIndex") == 0


def test_a_window_that_is_gone_to_is_not_under_the_header(page: Page) -> None:
    page.press("G")
    page.press("k", "k", "k", "k", "k")

    top = "document.activeElement.getBoundingClientRect().top"
    assert page.script(f"{top} >= document.querySelector('header').getBoundingClientRect().bottom")


def test_previews_pause_and_play(page: Page) -> None:
    WebDriverWait(page.chrome, 10).until(lambda _: page.script("document.images[0].naturalWidth") == 426)
    page["pause"].click()
    assert page.script("document.querySelectorAll('figure canvas').length > 0 && document.images[0].hidden")
    assert page["pause"].get_attribute("aria-pressed") == "true"

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
