"""What holds for every format alike: the condition, the counts that are printed, and going on after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import qa_runs
import webdataset
from click.testing import CliRunner
from hashing import hashes

from colcap.cli import cli
from colcap.export import export
from colcap.export.folder import NOTES
from colcap.store import part_name

FORMS = ["curator", "webdataset", "jsonl", "parquet"]
PARTS = 6

WROTE = {
    "curator": "metas 4, windows 4, previews 3",
    "webdataset": "samples 4, left out 1",
    "jsonl": "lines 5",
    "parquet": "table rows 5",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound run whose every step ran, only read here; clip `gone` failed, and the preview of clip `b`."""
    return qa_runs.write(tmp_path_factory.mktemp("every") / "run", qa_runs.full())


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of PARTS parts, each of one clip of one window."""
    run = tmp_path_factory.mktemp("long") / "run"
    tables: qa_runs.Tables = {}
    for part in range(PARTS):
        window_id = f"c{part}:00000"
        clip = {"clip_id": f"c{part}", "uri": f"/c{part}.mp4", "part": part, "num_windows": 1, "status": "ok"}
        window = {"window_id": window_id, "clip_id": f"c{part}", "window_index": 0, "status": "ok", "mp4_bytes": 1}
        facts = {"start_frame": 0, "end_frame": 9, "num_frames": 10}
        tables[f"clips/{part_name(part)}"] = qa_runs.rows("clips", [clip])
        tables[f"windows/{part_name(part)}"] = qa_runs.rows("windows", [window | facts])
        tables[f"windows_mp4/{part_name(part)}"] = qa_runs.rows("windows_mp4", [{"window_id": window_id, "mp4": b"x"}])
    qa_runs.write(run, tables, with_manifest=False)
    pl.DataFrame({"clip_id": [f"c{part}" for part in range(PARTS)]}).write_parquet(run / "manifest.parquet")
    return run


def content(folder: Path) -> dict[str, str]:
    return hashes(folder, without=NOTES)


def clips_and_starts(form: str, folder: Path) -> list[tuple[str, int | None]]:
    """Each row's clip and first frame, as a format's own readers find them."""
    if form == "curator":
        metas = [json.loads(path.read_text()) for path in sorted(folder.glob("metas/v0/*.json"))]
        starts = [(meta["span_uuid"], [window["start_frame"] for window in meta["windows"]]) for meta in metas]
        return [(clip_id, start) for clip_id, found in starts for start in found or [None]]
    if form == "webdataset":
        shards = [str(path) for path in sorted(folder.glob("*.tar"))]
        rows = [json.loads(sample["json"]) for sample in webdataset.WebDataset(shards, shardshuffle=False)]
    elif form == "jsonl":
        rows = [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.open()]
    else:
        rows = pl.read_parquet(folder / "*.parquet").to_dicts()
    return [(row["clip_id"], row["start_frame"]) for row in rows]


def printed(*arguments: str | Path) -> str:
    result = CliRunner().invoke(cli, ["export", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("form", FORMS)
def test_the_verb_prints_exact_counts(form: str, run: Path, tmp_path: Path) -> None:
    said = printed(run, tmp_path / "out", "--format", form)

    assert f"5 rows of 4 clips and 4 windows (2 error, 3 ok): {WROTE[form]} in {tmp_path / 'out'}" in said
    assert "(2 parts, 0 of them kept)" in said


@pytest.mark.parametrize(
    ("form", "expected", "wrote"),
    [
        ("curator", [("a", 256), ("gone", None)], "metas 2, windows 1, previews 1"),
        ("webdataset", [("a", 256)], "samples 1, left out 1"),
        ("jsonl", [("a", 256), ("gone", None)], "lines 2"),
        ("parquet", [("a", 256), ("gone", None)], "table rows 2"),
    ],
)
def test_a_condition_chooses_rows_and_counts_are_of_those(
    form: str, expected: list[tuple[str, int | None]], wrote: str, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    said = printed(run, out, "--format", form, "--where", "window_id = 'a:00001' or error_kind = 'unreadable'")

    assert clips_and_starts(form, out) == expected
    assert f"2 rows of 2 clips and 1 window (1 error, 1 ok): {wrote} in" in said


@pytest.mark.parametrize("form", FORMS)
def test_a_killed_export_goes_on(form: str, long_run: Path, tmp_path: Path) -> None:
    expected = export(long_run, tmp_path / "whole", form=form)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "colcap", "export", str(long_run), str(out), "--format", form]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(out.glob(f"{NOTES}/part-*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -signal.SIGKILL

    done = export(long_run, out, form=form)

    assert 2 <= done.kept < PARTS
    assert done.counts == expected.counts
    assert content(out) == content(tmp_path / "whole")
