"""The wall clock may say anything: it times nothing, orders nothing, and decides nothing about what is done."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import colcap
from colcap.media import MediaPool
from colcap.qa.check import check
from colcap.schema import TABLES

JUMPY = """
import random, time
real, dice = time.time, random.Random(4)
time.time = lambda: real() + dice.choice([-1, 0, 1]) * 400 * 86400  # a year and a month, there and back
from colcap.cli import main
if __name__ == "__main__":
    main()
"""


def data_files(run: Path) -> list[Path]:
    return [path for path in run.glob("*/part-*") if path.parent.name in TABLES]


def test_a_clock_that_jumps_makes_no_timeouts(manifest: Path, tmp_path: Path) -> None:
    calm = colcap.run(manifest, tmp_path / "calm", generate_captions=False, clips_per_part=1)
    (tmp_path / "jumpy.py").write_text(JUMPY)
    command = [sys.executable, "jumpy.py", "run", str(manifest), "out", "--clips-per-part", "1"]

    done = subprocess.run([*command, "--no-generate-captions"], capture_output=True, cwd=tmp_path, check=False)

    assert done.returncode == 0, done.stderr
    for path in data_files(calm.path):
        assert (tmp_path / "out" / path.relative_to(calm.path)).read_bytes() == path.read_bytes()


def test_a_jump_forward_times_no_task_out(monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    with MediaPool(1, timeout_s=30) as pool:
        assert pool.submit(sum, [1]).result(timeout=30) == 1
        task = pool.submit(time.sleep, 1.5)
        time.sleep(0.5)
        monkeypatch.setattr(time, "time", lambda: real() + 86400)

        assert task.exception(timeout=30) is None


def test_a_task_still_times_out() -> None:
    with MediaPool(1, timeout_s=0.5) as pool:
        assert "timeout" in str(pool.submit(time.sleep, 30).exception(timeout=30))


def test_files_from_the_past_and_the_future_are_as_good_as_any(manifest: Path, tmp_path: Path) -> None:
    run = colcap.run(manifest, tmp_path / "out", generate_captions=False, clips_per_part=1).path
    for number, path in enumerate(sorted(run.rglob("*"))):
        os.utime(path, (0, 0) if number % 2 else (4_000_000_000, 4_000_000_000))
    (run / "previews" / "part-000002.parquet").unlink()
    before = {path: path.stat().st_ino for path in data_files(run)}

    colcap.run(manifest, run, generate_captions=False)
    after = {path: path.stat().st_ino for path in data_files(run)}

    changed = {path.parent.name for path in after if after[path] != before.get(path)}
    assert changed == {"previews", "previews_webp"}
    assert check(run, verify=True) == []
