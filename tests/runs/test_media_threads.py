"""Media work in threads of the run's own process gives what workers give."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import colcap
from colcap.errors import ConfigError
from colcap.qa.check import check

TABLES = (lambda run: run.windows, lambda run: run.previews, lambda run: run.clips)


def config(folder: Path, threads: bool) -> Path:
    path = folder / f"{threads}.toml"
    path.write_text(f"generate_captions = false\n[runtime]\nmedia_threads = {str(threads).lower()}\n")
    return path


def test_threads_make_what_workers_make(clips_folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "m.parquet"
    uris = [str(clips_folder / name) for name in ("short.mp4", "broken.mp4")]
    pl.DataFrame({"uri": uris}).write_parquet(manifest)
    made = {
        threads: colcap.run(manifest, tmp_path / f"{threads}", config=config(tmp_path, threads))
        for threads in (False, True)
    }
    windows, previews, clips = ([table(run).collect() for run in made.values()] for table in TABLES)

    assert set(windows[1]["status"]) == set(previews[1]["status"]) == {"ok"}
    assert sorted(clips[1]["status"]) == ["error", "ok"]
    assert all(workers.equals(threads) for workers, threads in (windows, previews, clips))
    assert check(tmp_path / "True", verify=True) == []


def test_ray_is_told_to_leave_them_out(clips_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    manifest = tmp_path / "m.parquet"
    pl.DataFrame({"uri": [str(clips_folder / "short.mp4")]}).write_parquet(manifest)

    with pytest.raises(ConfigError, match=r"runtime\.media_threads"):
        colcap.run(manifest, tmp_path / "out", config=config(tmp_path, True), runner="ray")
