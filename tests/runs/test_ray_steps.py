"""Everything a run can be told works on a cluster as it does here: sets, enhancement, lean windows, retries."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from ray.cluster_utils import Cluster
from simulated import Simulated

import colcap
from colcap.qa.check import check
from colcap.schema import TABLES


@pytest.fixture
def clips(clips_folder: Path, tmp_path: Path) -> Path:
    """Six clips: `across` is not there yet, `broken` cannot be read."""
    folder = tmp_path / "clips"
    shutil.copytree(clips_folder, folder)
    (folder / "across.mp4").rename(tmp_path / "across.mp4")
    names = ["across", "broken", "change", "short", "change", "short"]
    ids = [f"{i}-{name}" for i, name in enumerate(names)]
    pl.DataFrame({"clip_id": ids, "uri": [f"{name}.mp4" for name in names]}).write_parquet(folder / "m.parquet")
    return folder


def assert_same_tables(run: colcap.Run, other: colcap.Run) -> None:
    for table in TABLES:
        keys = [name for name in ("caption_set", "window_id", "clip_id", "attempt") if name in TABLES[table]]
        mine, theirs = (one.table(table).collect().sort(keys) for one in (run, other))
        assert_frame_equal(mine, theirs)
    assert check(run.path, verify=True) == []


def test_sets_enhancement_and_a_retry_without_stored_bytes(
    cluster: Cluster, simulated: Simulated, clips: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "captioning": simulated.captioning(),
        "captions": [{"name": "plain"}, {"name": "av", "prompt_variant": "av", "max_output_tokens": 20}],
        "enhance_captions": True,
        "enhancement": {"engine": "openai", "model_variant": "simulated", "server": {"api_base": simulated.url}},
        "store_mp4": False,
        "clips_per_part": 2,
    }
    on_ray: dict[str, Any] = {"runner": "ray", "ray_address": cluster.address, **options}

    here = colcap.run(clips / "m.parquet", tmp_path / "here", **options)
    there = colcap.run(clips / "m.parquet", tmp_path / "there", **on_ray)

    assert_same_tables(there, here)
    assert there.enhanced.filter(status="ok").collect().height == 2 * there.windows.collect().height > 0

    (tmp_path / "across.mp4").rename(clips / "across.mp4")
    untouched = {path: path.stat().st_ino for path in there.path.rglob("part-000002*.parquet")}
    colcap.run(clips / "m.parquet", here.path, retry_errors=True, **options)
    colcap.run(clips / "m.parquet", there.path, retry_errors=True, **on_ray)

    assert there.clips.filter(status="error").collect()["clip_id"].to_list() == ["1-broken"]
    assert_same_tables(there, here)
    assert {path: path.stat().st_ino for path in untouched} == untouched

    chosen = {"runner": "ray", "ray_address": cluster.address}
    for run, how in ((here, {}), (there, chosen)):
        where = "clip_id in ('2-change', '3-short')"
        colcap.caption(run.path, where=where, caption_set="plain", prompt_text="Describe it in a word.", **how)
        colcap.preview(run.path, where=where, quality=20, **how)
        colcap.enhance(run.path, where=where, caption_set="plain", prompt_text="Say it with verve.", **how)

    assert there.captions.collect()["attempt"].max() == 2
    assert_same_tables(there, here)
    assert {path: path.stat().st_ino for path in untouched if "captions" not in str(path)} == {
        path: inode for path, inode in untouched.items() if "captions" not in str(path)
    }
