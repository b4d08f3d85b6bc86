"""The lazy verbs run the same steps as a run does: the same rows, the same bytes."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

import colcap
from colcap.engines.base import Engine


@pytest.fixture(scope="module")
def run(manifest: Path, tiny_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> colcap.Run:
    folder = tmp_path_factory.mktemp("lazy") / "out"
    return colcap.run(manifest, folder, engine=tiny_engine, captioning={"model_variant": "tiny"})


def test_windows_are_the_runs_and_a_broken_clip_is_a_row(run: colcap.Run, manifest: Path) -> None:
    result = colcap.windows(pl.scan_parquet(manifest)).collect()

    there = result.filter(pl.col("window_id").is_not_null())
    broken = result.filter(pl.col("window_id").is_null())
    assert there.drop("mp4").equals(run.windows.collect())
    assert broken.select("clip_id", "status").rows() == [("broken", "error")]
    stored = run.sql("select window_id, mp4 from windows_mp4 order by window_id", blobs=True)
    assert there["mp4"].to_list() == stored["mp4"].to_list()


@pytest.mark.parametrize("collect", ["in-memory", "streaming"])
def test_previews_of_windows_are_the_runs(run: colcap.Run, manifest: Path, collect: str) -> None:
    lazy = colcap.previews(colcap.windows(pl.scan_parquet(manifest)))

    result = lazy.collect(engine=collect)  # type: ignore[call-overload]

    there = result.filter(pl.col("window_id").is_not_null()).sort("window_id")
    assert there.drop("webp", "fingerprint").equals(run.previews.drop("fingerprint").collect())


def test_captions_of_windows_are_the_runs(run: colcap.Run, manifest: Path, tiny_engine: Engine) -> None:
    lazy = colcap.captions(colcap.windows(pl.scan_parquet(manifest)), engine=tiny_engine, model_variant="tiny")

    result = lazy.collect()

    there = result.filter(pl.col("window_id").is_not_null())
    assert there.equals(run.captions.collect())
    assert result.filter(pl.col("window_id").is_null())["status"].to_list() == ["error"]


def test_a_rows_own_prompt_has_no_stray_indentation(run: colcap.Run, tiny_engine: Engine) -> None:
    windows = run.sql("select * from windows join windows_mp4 using (window_id) limit 1", blobs=True).lazy()
    prompts = ["Look.\n  What moves?", "\n    Look.\n      What moves?\n"]

    result = [
        colcap.captions(windows.with_columns(prompt_text=pl.lit(text)), engine=tiny_engine, model_variant="tiny")
        for text in prompts
    ]

    hashes = [lazy.select("prompt_variant", "prompt_sha256").collect().row(0) for lazy in result]
    assert hashes[0] == hashes[1] == ("row", sha256(prompts[0].encode()).hexdigest())


def test_clips_may_be_bytes(run: colcap.Run, manifest: Path) -> None:
    clips = pl.read_parquet(manifest).filter(pl.col("clip_id") != "broken").with_columns(
        mp4=pl.col("uri").map_elements(lambda uri: Path(uri).read_bytes(), return_dtype=pl.Binary)
    )  # fmt: skip

    result = colcap.windows(clips.lazy().drop("uri")).collect(engine="streaming").sort("window_id")

    assert result.drop("mp4").equals(run.windows.sort("window_id").collect())


def test_schemas_are_known_before_anything_runs() -> None:
    lazy = colcap.previews(colcap.windows(pl.LazyFrame({"uri": ["/nowhere.mp4"]})))

    assert lazy.collect_schema()["webp"] == pl.Binary


def test_a_frame_without_clips_is_refused() -> None:
    with pytest.raises(Exception, match="needs a column `uri` or `mp4`"):
        colcap.windows(pl.LazyFrame({"path": ["x"]})).collect()
