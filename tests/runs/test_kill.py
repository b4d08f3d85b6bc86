"""Killed at any moment and started again, a run ends with every row exactly once and rewrites nothing it had."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import colcap
from colcap.engines.base import Engine
from colcap.errors import RunError
from colcap.qa.check import check

COMMAND = [sys.executable, "-m", "colcap", "run"]
MEDIA_ONLY = ["--clips-per-part", "1", "--no-generate-captions"]
WITH_CAPTIONS = ["--clips-per-part", "1", "--captioning-algorithm", "tiny"]


def committed(run: Path) -> dict[Path, tuple[int, str]]:
    """Every committed part file's inode and content."""
    files = (path for path in run.rglob("part-*.parquet") if path.parent.name != "timings")
    return {path: (path.stat().st_ino, hashlib.sha256(path.read_bytes()).hexdigest()) for path in files}


def start(manifest: Path, run: Path, flags: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, str(manifest), str(run), *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL of the run alone: its workers and its engine have to notice by themselves."""
    process.kill()
    process.wait()


def wait_for_part(run: Path, process: subprocess.Popen[bytes], pattern: str) -> None:
    deadline = time.monotonic() + 120
    while not any(run.glob(pattern)) and process.poll() is None:
        assert time.monotonic() < deadline, "no part was committed in two minutes"
        time.sleep(0.005)


def test_media_parts_survive_being_killed_again_and_again(many: Path, tmp_path: Path) -> None:
    dice, run, kills, rewritten = random.Random(2), tmp_path / "out", 0, []
    while kills < 6:
        before = committed(run)
        process = start(many, run, MEDIA_ONLY)
        if kills % 2:  # every other kill falls after a commit, the rest anywhere
            wait_for_part(run, process, f"clips/part-{kills:06d}.parquet")
        time.sleep(dice.uniform(0, 0.8))
        kill(process)
        rewritten += [path for path, seen in before.items() if committed(run).get(path) != seen]
        kills += 1

    before = committed(run)
    colcap.run(many, run, generate_captions=False)

    assert before
    assert rewritten + [path for path, seen in before.items() if committed(run)[path] != seen] == []
    assert colcap.open(run).clips.collect()["clip_id"].sort().to_list() == pl.read_parquet(many)["clip_id"].to_list()
    assert check(run, verify=True) == []
    assert not [path for path in run.rglob(".*") if path.name != ".lock"]


def test_the_writers_lock_dies_with_its_process(many: Path, tmp_path: Path) -> None:
    run = tmp_path / "out"
    first = start(many, run, MEDIA_ONLY)
    wait_for_part(run, first, "clips/part-000000.parquet")
    first.send_signal(signal.SIGSTOP)

    with pytest.raises(RunError, match="another colcap process is writing this run"):
        colcap.run(many, run, generate_captions=False)
    kill(first)
    result = colcap.run(many, run, generate_captions=False)

    assert result.clips.collect()["clip_id"].sort().to_list() == pl.read_parquet(many)["clip_id"].to_list()
    assert check(run, verify=True) == []


@pytest.mark.slow
def test_captions_survive_being_killed_with_a_real_engine(many: Path, tiny_engine: Engine, tmp_path: Path) -> None:
    dice, run = random.Random(3), tmp_path / "out"
    captions = "captions/set=default"
    rewritten = []
    for moment in ("clips/part-000000.parquet", f"{captions}/part-000002.parquet"):
        before = committed(run)
        process = start(many, run, WITH_CAPTIONS)
        wait_for_part(run, process, moment)
        time.sleep(dice.uniform(0, 0.1))
        kill(process)
        rewritten += [path for path, seen in before.items() if committed(run).get(path) != seen]
    before = committed(run)

    result = colcap.run(many, run, engine=tiny_engine, captioning={"model_variant": "tiny"})
    undisturbed = colcap.run(
        many, tmp_path / "calm", engine=tiny_engine, captioning={"model_variant": "tiny"}, clips_per_part=1
    )

    assert rewritten + [path for path, seen in before.items() if committed(run)[path] != seen] == []
    for table in ("clips", "windows", "previews", "captions"):
        assert_frame_equal(result.table(table).collect(), undisturbed.table(table).collect())
    assert check(run, verify=True) == []


def test_ctrl_c_keeps_what_is_committed_and_says_how_to_go_on(many: Path, tmp_path: Path) -> None:
    run = tmp_path / "out"
    process = subprocess.Popen([*COMMAND, str(many), str(run), *MEDIA_ONLY], stderr=subprocess.PIPE, text=True)
    wait_for_part(run, process, "clips/part-000001.parquet")  # type: ignore[arg-type]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    before = committed(run)

    colcap.run(many, run, generate_captions=False)

    assert process.returncode == 130
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert {path: committed(run)[path] for path in before} == before
    assert check(run, verify=True) == []


def test_a_second_ctrl_c_stops_at_once(many: Path, tmp_path: Path) -> None:
    run = tmp_path / "out"
    process = subprocess.Popen([*COMMAND, str(many), str(run), *MEDIA_ONLY], stderr=subprocess.DEVNULL)
    wait_for_part(run, process, "clips/part-000000.parquet")  # type: ignore[arg-type]
    os.kill(process.pid, signal.SIGSTOP)  # so that both arrive before it can leave by the first
    os.kill(process.pid, signal.SIGINT)
    os.kill(process.pid, signal.SIGCONT)
    os.kill(process.pid, signal.SIGINT)
    started = time.monotonic()
    process.wait(30)

    assert time.monotonic() - started < 5
    # a shell calls both 130: an interpreter that is already leaving dies of the second signal itself
    assert process.returncode in (130, -signal.SIGINT)
    colcap.run(many, run, generate_captions=False)
    assert check(run, verify=True) == []
