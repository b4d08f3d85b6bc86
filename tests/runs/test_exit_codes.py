"""Exit codes are those that docs/reliability.md lists, and each of them is had by a command."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from colcap import errors
from colcap.errors import ColcapError
from colcap.runners.local import Interrupted

DOCS = Path(__file__).parents[2] / "docs" / "reliability.md"
RUN = ("--no-generate-captions", "--no-generate-previews")


def listed() -> dict[int, str]:
    return {int(code): text for code, text in re.findall(r"^\| (\d+) \| (.+) \|$", DOCS.read_text(), re.MULTILINE)}


def colcap(*arguments: object) -> int:
    command = [sys.executable, "-m", "colcap", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False).returncode


def test_every_error_has_a_listed_code() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ColcapError)]

    assert {kind.exit_code for kind in [*kinds, Interrupted]} == listed().keys() - {0}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "{manifest}", "{run}", *RUN), 0),
        (("run", "{manifest}", "{run}", *RUN, "--fail-on-error"), 1),
        (("run", "missing.parquet", "{run}", *RUN), 2),
        (("run", "{manifest}", "{run}", "--no-such-flag"), 2),
        (("status", "missing"), 2),
        (("sql", "missing", "select 1"), 2),
    ],
)
def test_a_command_ends_with_its_code(
    manifest: Path, tmp_path: Path, arguments: tuple[str, ...], expected: int
) -> None:
    places = {"manifest": manifest, "run": tmp_path / "run"}

    assert colcap(*(word.format(**places) for word in arguments)) == expected


def test_ctrl_c_is_130(manifest: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "colcap", "run", str(manifest), str(tmp_path / "run"), *RUN]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / "run" / "run.toml").exists():
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
