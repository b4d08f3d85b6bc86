"""The main job: a manifest of real clips becomes tables one can query, and going on changes only what it must."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from shared_clips import SCENES

import colcap
from colcap.demo import make_clips
from colcap.engines.base import Engine
from colcap.errors import RunError
from colcap.models.tiny.scenes import enhanced
from colcap.qa.check import check
from colcap.runners.runfile import writing
from colcap.schema import TABLES

TINY: dict[str, Any] = {"model_variant": "tiny"}


@pytest.fixture(scope="module")
def run(manifest: Path, tiny_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> colcap.Run:
    """A finished run of four clips, two a part."""
    folder = tmp_path_factory.mktemp("run") / "out"
    return colcap.run(manifest, folder, engine=tiny_engine, captioning=TINY, clips_per_part=2)


def state(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Every data file's inode, time and content: equal where nothing was rewritten."""
    paths = sorted(path for path in folder.rglob("*.parquet") if path.parent.name != "timings")
    return {
        str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).hexdigest())
        for p in paths
    }


def test_the_demo_says_what_is_true(tiny_engine: Engine, tmp_path: Path) -> None:
    truth = make_clips(tmp_path)
    run = colcap.run(tmp_path / "clips.parquet", tmp_path / "run", engine=tiny_engine, captioning=TINY)

    said = run.sql("select window_id, caption from captions_latest").join(truth, on="window_id", how="full")

    assert said.height == truth.height
    assert (said["caption"] == said["truth"]).mean() >= 0.95


def test_every_table_has_every_row_it_should(run: colcap.Run, truth: pl.DataFrame) -> None:
    clips = run.clips.collect().sort("clip_id")
    windows = run.windows.collect()

    assert clips["clip_id"].to_list() == ["across", "broken", "change", "short"]
    assert clips["part"].to_list() == [0, 0, 1, 1]
    assert clips["num_windows"].to_list() == [1, 0, 2, 1]
    assert windows.select("window_id", "start_frame", "end_frame").rows() == [
        ("across:00000", 0, 119),
        ("change:00000", 0, 255),
        ("change:00001", 256, 405),
        ("short:00000", 0, 89),
    ]
    assert run.previews.collect()["window_id"].to_list() == windows["window_id"].to_list()
    said = run.captions.collect().join(truth, on="window_id", how="full")
    assert said["caption"].to_list() == said["truth"].to_list()
    assert set(said["finish_reason"]) == {"stop"}
    assert check(run.path, verify=True) == []


def test_a_clip_that_cannot_be_read_is_a_row(run: colcap.Run) -> None:
    result = run.sql("select status, error_kind, error, num_windows from clips where clip_id = 'broken'").row(0)

    assert result[0] == "error"
    assert result[1] in ("unreadable", "corrupt", "unsupported", "no_video")
    assert result[2]
    assert result[3] == 0


def test_tables_have_exactly_their_declared_columns(run: colcap.Run) -> None:
    for name in ("clips", "windows", "previews", "captions"):
        assert run.table(name).collect_schema() == TABLES[name], name


def test_running_again_does_nothing(run: colcap.Run, manifest: Path, tiny_engine: Engine) -> None:
    before = state(run.path)

    colcap.run(manifest, run.path, engine=tiny_engine, captioning=TINY)
    colcap.run(manifest, run.path, engine=tiny_engine)  # nothing given: as it was

    assert state(run.path) == before


def test_a_run_in_use_refuses_a_second_writer(run: colcap.Run, manifest: Path, tiny_engine: Engine) -> None:
    with writing(run.path), pytest.raises(RunError, match="another colcap process"):
        colcap.run(manifest, run.path, engine=tiny_engine, captioning=TINY)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"captioning": {**TINY, "window_size": 128}}, "window_size: 256 then, 128 now"),
        ({"captioning": {**TINY, "sampling_fps": 4.0}}, "sampling_fps: 2.0 then, 4.0 now"),
        ({"captioning": TINY, "preview": {"quality": 80}}, "quality: 50 then, 80 now"),
        ({"captioning": TINY, "clips_per_part": 3}, "clips_per_part is 2"),
        ({"captioning": TINY, "limit": 1}, "another manifest"),
    ],
)
def test_what_would_mix_is_refused(
    run: colcap.Run, manifest: Path, tiny_engine: Engine, change: dict[str, Any], told: str
) -> None:
    before = state(run.path)

    with pytest.raises(RunError) as refused:
        colcap.run(manifest, run.path, engine=tiny_engine, **change)

    assert told in str(refused.value)
    assert state(run.path) == before


def test_a_changed_prompt_adds_an_attempt_and_leaves_the_rest_alone(
    manifest: Path, tiny_engine: Engine, tmp_path: Path
) -> None:
    run = colcap.run(manifest, tmp_path / "out", engine=tiny_engine, captioning=TINY)
    before = state(run.path)

    colcap.run(manifest, run.path, engine=tiny_engine, captioning={**TINY, "prompt_text": "Describe the video."})
    after = state(run.path)
    attempts = run.captions.group_by("window_id").agg(pl.col("attempt").sort(), pl.col("prompt_variant")).collect()

    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {"captions/set=default/part-000000.a2.parquet"}
    assert all(row == [1, 2] for row in attempts["attempt"].to_list())
    latest = run.sql("select distinct attempt, prompt_variant from captions_latest")
    assert latest.rows() == [(2, "custom")]


def test_steps_that_are_switched_on_later_give_the_same_rows(
    run: colcap.Run, manifest: Path, tiny_engine: Engine, tmp_path: Path
) -> None:
    first = colcap.run(manifest, tmp_path / "out", generate_captions=False, generate_previews=False, clips_per_part=2)
    before = state(first.path)

    colcap.run(manifest, first.path, engine=tiny_engine, captioning=TINY)

    assert {name: state(first.path)[name] for name in before} == before
    assert first.previews.collect().equals(run.previews.collect())
    assert first.captions.collect().drop("fingerprint").equals(run.captions.collect().drop("fingerprint"))
    assert check(first.path, verify=True) == []


def test_a_damaged_part_is_found_and_only_it_is_rebuilt(manifest: Path, tmp_path: Path) -> None:
    run = colcap.run(manifest, tmp_path / "out", generate_captions=False, clips_per_part=1)
    before = state(run.path)
    victim = run.path / "previews" / "part-000002.parquet"
    victim.write_bytes(victim.read_bytes()[:-20])

    found = check(run.path)
    colcap.run(manifest, run.path, generate_captions=False)
    rewritten = {name for name, seen in state(run.path).items() if seen != before[name]}

    assert found
    assert rewritten == {"previews/part-000002.parquet", "previews_webp/part-000002.parquet"}
    assert check(run.path, verify=True) == []


def test_own_columns_are_carried_along_and_a_row_may_have_its_own_prompt(
    clips_folder: Path, tiny_engine: Engine, tmp_path: Path
) -> None:
    rows = {
        "clip_id": ["a", "b"],
        "uri": [str(clips_folder / "across.mp4"), str(clips_folder / "short.mp4")],
        "city": ["Oslo", None],
        "prompt_text": [None, "Describe the video."],
    }
    pl.DataFrame(rows).write_parquet(tmp_path / "m.parquet")

    run = colcap.run(tmp_path / "m.parquet", tmp_path / "out", engine=tiny_engine, captioning=TINY)

    assert run.clips.collect().select("clip_id", "city").rows() == [("a", "Oslo"), ("b", None)]
    assert run.captions.collect().select("window_id", "prompt_variant").rows() == [
        ("a:00000", "default"),
        ("b:00000", "row"),
    ]


def test_clips_may_lie_inside_the_manifest(clips_folder: Path, run: colcap.Run, tmp_path: Path) -> None:
    blobs = {"clip_id": ["across", "nothing"], "mp4": [(clips_folder / "across.mp4").read_bytes(), b""]}
    pl.DataFrame(blobs).write_parquet(tmp_path / "m.parquet")

    result = colcap.run(tmp_path / "m.parquet", tmp_path / "out", generate_captions=False)

    assert result.clips.collect()["status"].to_list() == ["ok", "error"]
    expected = run.windows.filter(clip_id="across").collect()["mp4_sha256"]
    assert result.windows.collect()["mp4_sha256"].to_list() == expected.to_list()


def test_enhancement_is_kept_beside_the_caption_and_follows_it(
    manifest: Path, tiny_engine: Engine, tmp_path: Path
) -> None:
    options = {"captioning": TINY, "enhancement": TINY}
    run = colcap.run(manifest, tmp_path / "out", engine=tiny_engine, enhance_captions=True, **options)
    before = state(run.path)

    colcap.enhance(run.path, **TINY)
    result = run.sql(
        "select window_id, caption, enhanced_caption from captions_latest join enhanced_latest using (window_id)"
    )

    expected = [enhanced(scene) for name in sorted(SCENES) for scene, _ in SCENES[name]]
    assert result.sort("window_id")["enhanced_caption"].to_list() == expected
    assert state(run.path) == before
    assert check(run.path, verify=True) == []


def test_stage_two_asks_again_with_the_first_caption(clips_folder: Path, tiny_engine: Engine, tmp_path: Path) -> None:
    pl.DataFrame({"uri": [str(clips_folder / "across.mp4")]}).write_parquet(tmp_path / "m.parquet")
    options = {**TINY, "generate_stage2_caption": True}

    run = colcap.run(tmp_path / "m.parquet", tmp_path / "out", engine=tiny_engine, captioning=options)
    row = run.captions.collect().row(0, named=True)

    assert row["stage1_caption"] == "A red circle moves left across a black background."
    assert row["caption"].startswith("The video shows a red circle that moves steadily to the left")
