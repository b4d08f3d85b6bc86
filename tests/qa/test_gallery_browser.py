"""The page in a real browser: what is on it, search, filters, two sets, the keyboard, and attacks."""

from __future__ import annotations

import time
from pathlib import Path

import gallery_runs
import pytest
from browser import Page
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

ALL = 8
"""Cards: seven windows, and `broken`, a clip that gave none."""


def told(cards: int, *, broken: bool = True) -> str:
    """What the page says of so many cards, with or without `broken`."""
    windows = cards - broken
    of = "" if windows == ALL - 1 else f"{windows} of "
    return f"{of}{ALL - 1} windows, {'' if broken else '0 of '}1 clip without windows"


def test_the_page_opens_from_disk_with_its_previews(page: Page) -> None:
    WebDriverWait(page.chrome, 10).until(
        lambda _: page.script("[...document.images].filter((i) => i.naturalWidth == 426).length") == 6
    )

    assert page.count() == told(ALL)
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
    assert hurt.count() == told(ALL)
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
        ("street.MP4", ["clip-street 0", "clip-street 1", "clip-street 2"]),
        ("<script>", None),
        ("zebra", []),
    ],
)
def test_search_as_you_type(page: Page, words: str, expected: list[str] | None) -> None:
    page.search(words)

    if expected is None:  # the hostile clip's two windows, and the error text of the broken clip
        expected = [name for name in page.shown() if name.startswith(("<script>", "broken"))][:3]
    page.wait_for(told(len(expected), broken="broken" in expected))
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

    assert page.count() == told(ALL)


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


def test_the_order_follows_the_set(page: Page) -> None:
    page.choose("sort", "longest")
    assert page.shown()[0] == "clip-street 0"  # 89 characters; 85 in `terse`, where 87 are the most

    page.choose("set", "terse")

    assert page.shown()[0] == "<script>docu 0"


def test_the_order_follows_a_set_that_is_chosen_while_a_search_hides_windows(page: Page) -> None:
    page.choose("sort", "longest")
    page.search("zebra")
    page.wait_for(told(0, broken=False))
    page.choose("set", "terse")

    page["search"].send_keys(Keys.ESCAPE)

    assert page.shown()[0] == "<script>docu 0"


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


def test_all_sets_are_compared_with_one(page: Page) -> None:
    page.choose("beside", "terse")

    assert page.count() == told(ALL)
    names = [element.text for element in page.chrome.find_elements(By.CSS_SELECTOR, ".card:not([hidden]) h3")]
    assert names == ["default", "terse"] * (ALL - 1)
    marked = page.script("[...CSS.highlights.get('differs')].map((range) => range.toString())")
    assert marked == ["two", "empty", "pavement", "square", "empty", "pavement", "square"]


def test_found_words_are_marked(page: Page) -> None:
    page.search("yellow")
    page.wait_for(told(1, broken=False))

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
    assert page.count() == told(ALL)
    page.press("van")
    page.wait_for(told(3, broken=False))
    page.press(Keys.TAB)
    page["pause"].send_keys("")
    page.press("?")
    assert page["help"].is_displayed()
    page.press(Keys.ESCAPE)
    assert not page["help"].is_displayed()


def test_one_key_shortcuts_can_be_switched_off(page: Page) -> None:
    page.press("j", "?")
    page["shortcuts"].click()
    page.press(Keys.ESCAPE)

    page.press("j", "G", "f", "p", "/", "?")
    assert page.focused() == "0"
    assert page["filters"].get_attribute("open")
    assert page["pause"].text == "Pause"
    assert not page["help"].is_displayed()
    page.press(Keys.ARROW_DOWN)
    assert page.focused() == "1"

    page["keys"].click()
    page["shortcuts"].click()
    page.press(Keys.ESCAPE, "j", "j")
    assert page.focused() == "2"


def test_one_window_at_a_time_is_reached_by_tab(page: Page) -> None:
    page.press("j", "j")

    assert page.script("document.querySelectorAll('.card[tabindex=\"0\"]').length") == 1
    assert page.script("document.activeElement.tabIndex") == 0


def test_a_window_that_is_gone_to_is_not_under_the_header(page: Page) -> None:
    page.press("G")
    page.press("k", "k", "k", "k", "k")

    top = "document.activeElement.getBoundingClientRect().top"
    assert page.script(f"{top} >= document.querySelector('header').getBoundingClientRect().bottom")
