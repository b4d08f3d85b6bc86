"""`verbose` tells of every window: on the terminal above the progress bar, in run.log, and nowhere without it."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest
from click.testing import CliRunner
from rich.console import Console
from simulated import simulated_engine

import colcap
from colcap import api
from colcap.cli import cli
from colcap.config import parse
from colcap.engines.base import Engine
from colcap.engines.child import Child
from colcap.models.weights import resolve
from colcap.runners.choices import caption_step, enhance_step
from colcap.runners.runlog import LOG_NAME
from colcap.schema import SAMPLES

HOSTILE = "a\x1b[2J\nfake: caption"
SHOWN = r"a\x1b[2J\nfake: caption"
CAPTION = r"caption of set default: \d+ \+ \d+ tokens in \d+\.\d\d s, stop"
ENHANCED = "enhanced " + CAPTION
PREVIEW = r"preview: \d+ frames of \d+x240, [\d,]+ bytes, in \d+\.\d\d s of media work"
BACK = re.compile(r"\r|\x1b\[(2K|1A)")
"""What rich goes back and erases with, to print above its bar."""


@pytest.fixture(scope="module")
def hostile(clips_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips; one's id would drive a terminal and forge a line."""
    path = tmp_path_factory.mktemp("verbose") / "m.parquet"
    uris = [str(clips_folder / "short.mp4"), str(clips_folder / "broken.mp4")]
    pl.DataFrame({"clip_id": [HOSTILE, "broken"], "uri": uris}).write_parquet(path)
    return path


def run(manifest: Path, folder: Path, console: Console | None = None, **sections: dict[str, Any]) -> colcap.Run:
    """A run on a simulated server, which does not need a second."""
    with simulated_engine(slots=2, prefill_ms=30, token_ms=0) as engine:
        given: dict[str, dict[str, Any]] = {}
        for name in ("captioning", "preview", "enhancement"):
            asked = {} if name == "preview" else engine.captioning()
            given[name] = {**asked, **sections.get(name, {})}
        return colcap.run(manifest, folder, console=console, enhance_captions=True, **given)


def told(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]
    return [line for line in lines if line["logger"] == "colcap.windows"]


@pytest.mark.parametrize(
    ("section", "expected"), [("captioning", CAPTION), ("enhancement", ENHANCED), ("preview", PREVIEW)]
)
def test_each_section_tells_its_own(hostile: Path, tmp_path: Path, section: str, expected: str) -> None:
    screen = io.StringIO()

    run(hostile, tmp_path / "out", Console(file=screen, width=200), **{section: {"verbose": True}})

    [line] = told(tmp_path / "out")
    assert re.fullmatch(re.escape(f"{SHOWN}:00000: ") + expected, line["event"])
    assert line["window_id"] == f"{HOSTILE}:00000"
    assert line["seconds"] >= (0.03 if section != "preview" else 0.001)
    assert line["event"] in screen.getvalue().splitlines()
    assert HOSTILE not in screen.getvalue()


def test_nothing_is_told_that_was_not_asked_for(hostile: Path, tmp_path: Path) -> None:
    screen = io.StringIO()

    run(hostile, tmp_path / "out", Console(file=screen, width=200))

    assert told(tmp_path / "out") == []
    assert "tokens in" not in screen.getvalue()


def test_the_bar_stays_whole(hostile: Path, tmp_path: Path) -> None:
    screen = io.StringIO()
    both = {"captioning": {"verbose": True}, "preview": {"verbose": True}}

    run(hostile, tmp_path / "out", Console(file=screen, width=200, force_terminal=True), **both)

    lines = BACK.sub("\n", screen.getvalue()).splitlines()
    ours = [line for line in lines if re.fullmatch(re.escape(f"{SHOWN}:00000: ") + f"({CAPTION}|{PREVIEW})", line)]
    assert len(ours) == 2
    assert "parts 1/1" in BACK.sub("\n", screen.getvalue())
    assert "\x1b[2J" not in screen.getvalue()


def test_without_a_console_it_goes_to_logging(
    hostile: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    run(hostile, tmp_path / "out", captioning={"verbose": True})

    assert [record.levelname for record in caplog.records if record.name == "colcap.windows"] == ["INFO"]
    assert capsys.readouterr().err == ""


def test_the_flag_asks_for_all_three(hostile: Path, tmp_path: Path) -> None:
    with simulated_engine(slots=2, prefill_ms=5, token_ms=0) as engine:
        server = ["--engine", "openai", "--api-base", engine.url, "--captioning-algorithm", "simulated"]
        server += ["--enhance-captions-engine", "openai", "--enhance-captions-api-base", engine.url]
        server += ["--enhance-captions-algorithm", "simulated", "--video-as", "images", "--enhance-captions"]
        done = CliRunner().invoke(cli, ["run", str(hostile), str(tmp_path / "out"), *server, "--verbose"])
        again = CliRunner().invoke(cli, ["preview", str(tmp_path / "out"), "--verbose"])

    assert (done.exit_code, again.exit_code) == (0, 0), done.output + again.output
    kinds = [line["event"].removeprefix(f"{SHOWN}:00000: ").partition(":")[0] for line in told(tmp_path / "out")]
    assert sorted(kinds) == [
        "caption of set default",
        "enhanced caption of set default",
        "preview",
        "preview",
    ]


def test_an_error_is_told_too(hostile: Path, tmp_path: Path) -> None:
    with simulated_engine(slots=1, prefill_ms=1, token_ms=0, fail_every=1) as engine:
        asked = engine.captioning(max_retries=0)
        api.run(hostile, tmp_path / "out", captioning={**asked, "verbose": True}, generate_previews=False)

    [line] = told(tmp_path / "out")
    assert "engine_failed: HTTP 500" in line["event"]
    assert line["error_kind"] == "engine_failed"


@pytest.mark.parametrize("section", ["captioning", "enhancement"])
def test_a_window_that_nothing_is_asked_about_is_told_too(section: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its frames do not fit, or there is no caption to enhance."""
    config = parse({section: {"verbose": True}})
    why = {"window_id": "c:00000", "status": "error", "error_kind": "over_context", "error": "too long\nfake: line"}
    rows = pl.DataFrame([{**dict.fromkeys(SAMPLES), "attempt": 1, "caption": None, **why}])
    engine = cast("Engine", SimpleNamespace(model="m", revision=None))
    model = resolve("tiny", model_dir=Path("models"))
    asked = (
        caption_step(config, model, engine) if section == "captioning" else enhance_step(config, lambda: engine, "f")
    )

    caplog.set_level(logging.INFO, "colcap.windows")

    asked(rows)

    [line] = caplog.messages
    assert "over_context: " in line
    assert line.startswith("c:00000: ")
    assert "\n" not in line


@pytest.mark.parametrize(("verbose", "expected"), [(True, logging.INFO), (False, logging.DEBUG)])
def test_what_a_process_says_is_logged(verbose: bool, expected: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    child = Child("this", [], env={}, verbose=verbose)  # prints some lines and ends
    child.join(20)
    deadline = time.monotonic() + 5
    while "namespaces" not in caplog.text.lower() and time.monotonic() < deadline:
        time.sleep(0.05)

    said = [record for record in caplog.records if "Beautiful is better than ugly" in record.getMessage()]
    assert [(record.name, record.levelno) for record in said] == [("colcap.engines.child", expected)]
    assert sys.modules.get("this") is None
