"""A disk that fills up or cannot be written stops the run; it never becomes rows, and what was done stays."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from disks import as_somebody_else, fill, small_disk

import colcap
from colcap.errors import ColcapError
from colcap.qa.check import check

COMMAND = [sys.executable, "-m", "colcap", "run"]
FLAGS = ["--clips-per-part", "1", "--no-generate-captions"]


@pytest.fixture(scope="module")
def sixteen(clips_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of sixteen rows over two clips."""
    path = tmp_path_factory.mktemp("sixteen") / "m.parquet"
    uris = [str(clips_folder / name) for name in ("short.mp4", "across.mp4")] * 8
    pl.DataFrame({"clip_id": [f"{i:02d}" for i in range(16)], "uri": uris}).write_parquet(path)
    return path


def no_files_over(num_bytes: int) -> None:
    """What a full disk does, for one process and its children: a write beyond this size fails."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))


def test_a_disk_that_fills_up_stops_the_run_and_going_on_works_once_there_is_room(
    sixteen: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", 80) as disk:
        run = disk / "out"
        process = subprocess.Popen([*COMMAND, str(sixteen), str(run), *FLAGS], stderr=subprocess.PIPE, text=True)
        while not any(run.glob("clips/part-*")):
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGSTOP)  # or it might be done before the disk is full
        ballast = fill(disk)
        os.kill(process.pid, signal.SIGCONT)
        _, said = process.communicate(timeout=60)
        committed = len(list(run.glob("clips/part-*")))
        wrong = check(run)  # leftovers too
        ballast.unlink()
        result = colcap.run(sixteen, run, generate_captions=False)

        assert process.returncode == 1
        assert "no room to write" in said
        assert "Traceback" not in said
        assert 1 <= committed < 16
        assert wrong == []
        assert result.clips.collect()["status"].to_list() == ["ok"] * 16
        assert check(run, verify=True) == []


def test_no_room_for_a_part_is_told_and_leaves_nothing_of_it(sixteen: Path, tmp_path: Path) -> None:
    run = tmp_path / "out"
    refused = subprocess.run(
        [*COMMAND, str(sixteen), str(run), *FLAGS],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: no_files_over(6_000),
    )
    left = [str(path) for path in run.rglob("*") if path.name.startswith((".part", ".commit", "part-"))]
    result = colcap.run(sixteen, run, generate_captions=False, clips_per_part=1)

    assert refused.returncode == 1
    assert "no room to write" in refused.stderr
    assert left == []
    assert result.clips.collect()["status"].to_list() == ["ok"] * 16


def test_no_room_for_the_manifest_is_told_too(sixteen: Path, tmp_path: Path) -> None:
    refused = subprocess.run(
        [*COMMAND, str(sixteen), str(tmp_path / "out"), *FLAGS],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: no_files_over(500),
    )

    assert refused.returncode == 1
    assert "no room to write" in refused.stderr


def test_a_read_only_disk_is_told_and_its_run_can_still_be_read(sixteen: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 80) as disk:
        run = colcap.run(sixteen, disk / "out", generate_captions=False)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

        with pytest.raises(ColcapError, match="cannot write there: Read-only file system"):
            colcap.run(sixteen, run.path, generate_captions=False)
        with pytest.raises(ColcapError, match="cannot write there: Read-only file system"):
            colcap.run(sixteen, disk / "other", generate_captions=False)
        assert check(run.path) == []
        assert run.sql("select count(*) from clips").item() == 16


def test_a_folder_of_somebody_else_is_told(sixteen: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    (tmp_path / "m.parquet").write_bytes(sixteen.read_bytes())
    for folder in [tmp_path, *tmp_path.parents][:4]:
        if folder.owner() == tmp_path.owner() and folder != Path("/tmp"):
            folder.chmod(0o755)
    said = as_somebody_else(f"""
        try:
            colcap.run({str(tmp_path / "m.parquet")!r}, {str(closed / "out")!r}, generate_captions=False)
        except colcap.errors.ColcapError as error:
            print(error.exit_code, error)
    """)

    assert said.startswith("2 ")
    assert "cannot write there: Permission denied" in said
    assert list(closed.iterdir()) == []
