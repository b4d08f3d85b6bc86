"""--retry-errors: what failed is made again where it was, and nothing else is touched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import colcap
from colcap.engines.base import Engine
from colcap.errors import ConfigError
from colcap.qa.check import check

TINY: dict[str, Any] = {"model_variant": "tiny"}


@pytest.fixture
def clips(clips_folder: Path, tmp_path: Path) -> Path:
    """Four clips: `across` is not there yet, `broken` cannot be read."""
    folder = tmp_path / "clips"
    shutil.copytree(clips_folder, folder)
    (folder / "across.mp4").rename(tmp_path / "across.mp4")
    names = ["across", "broken", "change", "short"]
    frame = pl.DataFrame({"clip_id": names, "uri": [f"{name}.mp4" for name in names], "city": list("abcd")})
    frame.write_parquet(folder / "m.parquet")
    return folder


def start(clips: Path, run: Path, engine: Engine, **more: Any) -> colcap.Run:
    return colcap.run(clips / "m.parquet", run, engine=engine, captioning=TINY, clips_per_part=2, **more)


def test_a_clip_that_came_back_gets_everything_and_the_others_keep_theirs(
    clips: Path, tiny_engine: Engine, tmp_path: Path, truth: pl.DataFrame
) -> None:
    run = start(clips, tmp_path / "out", tiny_engine)
    untouched = {p: p.stat().st_mtime_ns for p in run.path.rglob("part-000001.parquet")}
    (tmp_path / "across.mp4").rename(clips / "across.mp4")

    start(clips, run.path, tiny_engine)
    without = run.clips.filter(status="error").collect()["clip_id"].to_list()
    start(clips, run.path, tiny_engine, retry_errors=True)
    whole = start(clips, tmp_path / "whole", tiny_engine)

    assert without == ["across", "broken"]  # going on does not try again by itself
    for table in ("clips", "windows", "previews", "windows_mp4", "previews_webp"):
        assert_frame_equal(run.table(table).collect(), whole.table(table).collect())
    said = run.sql("select window_id, caption from captions_latest").join(truth, on="window_id", how="full")
    assert said["caption"].sort().to_list() == said["truth"].sort().to_list()
    assert {p: p.stat().st_mtime_ns for p in untouched} == untouched
    assert check(run.path, verify=True) == []


def test_a_clip_that_came_back_is_read_though_its_part_lacks_more_than_that(clips: Path, tmp_path: Path) -> None:
    kept: dict[str, Any] = {"generate_captions": False, "clips_per_part": 2}
    run = colcap.run(clips / "m.parquet", tmp_path / "out", generate_previews=False, **kept)
    (tmp_path / "across.mp4").rename(clips / "across.mp4")

    colcap.run(clips / "m.parquet", run.path, retry_errors=True, **kept)
    whole = colcap.run(clips / "m.parquet", tmp_path / "whole", **kept)

    for table in ("clips", "windows", "previews", "windows_mp4", "previews_webp"):
        assert_frame_equal(run.table(table).collect(), whole.table(table).collect())
    assert check(run.path, verify=True) == []


def test_where_chooses_which_failures(clips: Path, tiny_engine: Engine, tmp_path: Path) -> None:
    run = start(clips, tmp_path / "out", tiny_engine)
    (tmp_path / "across.mp4").rename(clips / "across.mp4")

    start(clips, run.path, tiny_engine, retry_errors=True, where="clip_id = 'broken'")
    others = run.clips.filter(status="error").collect()["clip_id"].to_list()
    start(clips, run.path, tiny_engine, retry_errors=True, where="error_kind = 'unreadable' and clip_id = 'across'")

    assert others == ["across", "broken"]
    assert run.clips.filter(status="error").collect()["clip_id"].to_list() == ["broken"]


def test_a_failed_preview_is_made_again_from_the_stored_window(
    clips: Path, tiny_engine: Engine, tmp_path: Path
) -> None:
    run = start(clips, tmp_path / "out", tiny_engine)
    good = run.previews.collect()
    fail_preview(run, "short:00000")
    failed = run.previews.filter(status="error").collect().height
    for clip in clips.glob("*.mp4"):
        clip.unlink()

    start(clips, run.path, tiny_engine, retry_errors=True, where="table_name = 'previews'")

    assert failed == 1
    assert_frame_equal(run.previews.collect(), good)
    assert check(run.path, verify=True) == []


def fail_preview(run: colcap.Run, window_id: str) -> None:
    """Make a preview's row say that it failed, as if it had."""
    from colcap import store
    from colcap.runners.plan import PREVIEW_TABLES

    facts = pl.read_parquet(run.path / "previews/part-000001.parquet")
    blobs = pl.read_parquet(run.path / "previews_webp/part-000001.parquet")
    chosen = pl.col("window_id") == window_id
    bad = {"status": "error", "error_kind": "encode_failed", "error": "so it is said", "webp_sha256": None}
    facts = facts.with_columns(pl.when(chosen).then(pl.lit(v)).otherwise(n).alias(n) for n, v in bad.items())
    paths = {t: run.path / t / store.part_name(1) for t in PREVIEW_TABLES}
    prints = {t: store.read_footer(path) for t, path in paths.items()}
    commit = store.PartCommit(
        run.path,
        1,
        {t: store.TableFile(t, path, prints[t].fingerprint) for t, path in paths.items()},  # type: ignore[union-attr]
    )
    commit.append("previews", facts)
    commit.append("previews_webp", blobs.filter(~chosen))
    commit.commit()


def test_where_needs_retry_errors(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="retry-errors"):
        colcap.run(clips / "m.parquet", tmp_path / "out", where="true")
