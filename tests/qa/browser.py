"""A page in a real browser, as a person uses it. Without `apt-get install chromium-driver` this fails."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

SHOWN = """
return [...document.querySelectorAll('.card:not([hidden])')].map((card) =>
  card.querySelector('h2').textContent.slice(0, 12) + (card.querySelector('.facts').textContent.match(/ \\d+/) ?? ''));
"""
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,1000",
]  # fmt: skip


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser without a window, with a profile of its own."""
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
        try:
            yield browser
        finally:
            browser.quit()


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
