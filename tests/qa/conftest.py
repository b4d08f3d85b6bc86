"""Runs to ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import browser
import gallery_runs
import pytest
import qa_runs
from browser import Page
from selenium import webdriver

from colcap.qa.gallery import gallery


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A sound run whose every step ran."""
    return qa_runs.write(tmp_path / "run", qa_runs.full())


ANY = {
    "empty": {},
    "windows": qa_runs.only("clips", "windows"),
    "previews": qa_runs.only("clips", "windows", "previews"),
    "captions": qa_runs.only("clips", "windows", "captions"),
    "without enhancement": qa_runs.only("clips", "windows", "previews", "captions"),
    "full": qa_runs.full(),
}
"""Sound runs that came differently far."""


@pytest.fixture(params=ANY)
def any_run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Each of them."""
    return qa_runs.write(tmp_path / "run", ANY[request.param])


@pytest.fixture(scope="session")
def chrome() -> Iterator[webdriver.Chrome]:
    """One browser for all pages."""
    with browser.chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return gallery(gallery_runs.small(folder / "run"), folder / "page.html").path


@pytest.fixture
def page(chrome: webdriver.Chrome, small: Path) -> Iterator[Page]:
    opened = Page(chrome, small)
    opened.script("document.getElementById('filters').open = true")
    yield opened
    assert opened.complaints() == []
