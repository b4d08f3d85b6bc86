"""Fixing what SQL finds, from the stored windows: captioned again, other sets, previews made anew, enhanced again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from hashing import hashes
from polars.testing import assert_frame_equal
from simulated import Simulated

import colcap
from colcap import manifests, store
from colcap.cli import cli
from colcap.engines.base import Engine
from colcap.errors import ColcapError, ConfigError, QueryError
from colcap.qa.check import check

TINY: dict[str, Any] = {"model_variant": "tiny"}


@pytest.fixture(scope="module")
def manifest(clips_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of clips of its own."""
    clips = shutil.copytree(clips_folder, tmp_path_factory.mktemp("again") / "clips")
    path = clips.parent / "m.parquet"
    manifests.from_sources([str(clips)]).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def finished(manifest: Path, tiny_engine: Engine) -> Path:
    """A run of four clips, two a part, whose captions are cut off after three tokens; the clips are gone since."""
    folder = manifest.parent / "out"
    cut_short = TINY | {"max_output_tokens": 3}
    colcap.run(manifest, folder, engine=tiny_engine, captioning=cut_short, clips_per_part=2)
    shutil.rmtree(manifest.parent / "clips")
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> colcap.Run:
    """A copy of it to change."""
    return colcap.open(shutil.copytree(finished, tmp_path / "out"))


def contents(run: colcap.Run) -> dict[str, str]:
    """Every part file's hash."""
    return hashes(run.path, "part-*.parquet")


def latest(run: colcap.Run, caption_set: str = "default") -> list[tuple[Any, ...]]:
    query = "select window_id, attempt, finish_reason from captions_latest where caption_set = $set order by 1"
    return run.sql(query, params={"set": caption_set}).rows()


def test_windows_that_sql_finds_are_captioned_again_beside_the_old_captions(
    run: colcap.Run, tiny_engine: Engine, truth: pl.DataFrame
) -> None:
    before = contents(run)

    colcap.caption(run.path, where="clip_id = 'change' and end_s > 9", engine=tiny_engine, max_output_tokens=512)

    assert latest(run) == [
        ("across:00000", 1, "length"),
        ("change:00000", 1, "length"),
        ("change:00001", 2, "stop"),
        ("short:00000", 1, "length"),
    ]
    said = run.sql("select caption from captions_latest where window_id = 'change:00001'").item()
    assert said == truth.filter(window_id="change:00001")["truth"].item()
    assert {name: contents(run)[name] for name in before} == before
    assert check(run.path, verify=True) == []


def test_the_same_caption_is_not_made_twice(
    run: colcap.Run, tiny_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    colcap.caption(run.path, where="true", engine=tiny_engine, max_output_tokens=512)
    before = contents(run)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    caplog.set_level("WARNING")
    caplog.clear()

    colcap.caption(run.path, where="true", engine=tiny_engine, max_output_tokens=512)
    colcap.preview(run.path, where="clip_id = 'nobody'")

    assert contents(run) == before
    assert told == []
    assert caplog.messages == [
        "no window is chosen by true; 4 of those that match: this very caption is there",
        "no window is chosen by clip_id = 'nobody'",
    ]
    assert {attempt for _, attempt, _ in latest(run)} == {2}


def test_going_on_with_the_run_leaves_hand_picked_attempts_alone(
    run: colcap.Run, manifest: Path, tiny_engine: Engine
) -> None:
    colcap.caption(run.path, where="clip_id = 'short'", engine=tiny_engine, max_output_tokens=512)
    before = contents(run)

    colcap.run(manifest, run.path, engine=tiny_engine)

    assert contents(run) == before


def test_another_set_stands_beside_the_first(run: colcap.Run, tiny_engine: Engine) -> None:
    colcap.caption(run.path, caption_set="long", engine=tiny_engine, max_output_tokens=512)

    assert [reason for _, _, reason in latest(run)] == ["length"] * 4
    assert [reason for _, _, reason in latest(run, "long")] == ["stop"] * 4
    assert check(run.path) == []


def test_a_new_set_can_be_of_some_windows_only(run: colcap.Run, tiny_engine: Engine) -> None:
    colcap.caption(run.path, where="clip_id = 'short'", caption_set="few", engine=tiny_engine)

    assert [name for name, _, _ in latest(run, "few")] == ["short:00000"]
    assert check(run.path) == []


def test_previews_are_made_again_in_their_place(run: colcap.Run) -> None:
    before = run.previews.collect()

    colcap.preview(run.path, where="clip_id = 'change'", target_height=64)
    after = run.previews.collect()

    assert after["window_id"].to_list() == before["window_id"].to_list()
    changed = after["window_id"].str.starts_with("change")
    assert_frame_equal(after.filter(~changed), before.filter(~changed))
    assert set(after.filter(changed)["height"]) == {64}
    assert after.filter(changed)["fingerprint"].unique().to_list() != before["fingerprint"].unique().to_list()
    assert check(run.path, verify=True) == []


def test_captions_that_sql_finds_are_enhanced_again(run: colcap.Run, simulated: Simulated) -> None:
    colcap.enhance(run.path, **simulated.captioning())
    before = contents(run)

    colcap.enhance(run.path, where="clip_id = 'change'", prompt_text="Say it well.", **simulated.captioning())

    attempts = run.sql("select window_id, attempt from enhanced_latest order by 1").rows()
    assert attempts == [("across:00000", 1), ("change:00000", 2), ("change:00001", 2), ("short:00000", 1)]
    assert {name: contents(run)[name] for name in before} == before
    assert check(run.path, verify=True) == []


CHANGE = ["--where", "clip_id = 'change'"]
TOLD = {
    "2 windows in 1 part would be captioned": ["caption", *CHANGE, "--captioning-max-output-tokens", "512"],
    "1 window in 1 part would be captioned": ["caption", "--where", "end_s > 9", "--set", "new"],
    "4 windows in 2 parts would be captioned": ["caption", "--set", "new"],
    "4 more have this very caption already": ["caption", "--where", "true"],
    "2 windows in 1 part would be previewed": ["preview", *CHANGE],
    "2 windows in 1 part would be enhanced": ["enhance", *CHANGE],
}


@pytest.mark.parametrize("told", TOLD)
def test_a_dry_run_says_how_many_and_changes_nothing(run: colcap.Run, told: str) -> None:
    verb, *options = TOLD[told]
    before = contents(run)

    result = CliRunner().invoke(cli, [verb, str(run.path), *options, "--dry-run"])

    assert told in result.output
    assert contents(run) == before


@pytest.mark.parametrize("where", ["1 = (select 1 from read_text('/etc/passwd'))", "true) -- ", "no_such_column = 1"])
def test_a_condition_can_only_read_the_run(run: colcap.Run, where: str) -> None:
    with pytest.raises(QueryError):
        colcap.caption(run.path, where=where)


def test_windows_are_as_they_are_stored(run: colcap.Run) -> None:
    with pytest.raises(ConfigError, match="window_size"):
        colcap.caption(run.path, window_size=64)


def test_captioning_a_damaged_part_says_so(run: colcap.Run, tiny_engine: Engine) -> None:
    (run.path / "windows_mp4" / store.part_name(0)).unlink()

    with pytest.raises(ColcapError):
        colcap.caption(run.path, where="clip_id = 'across'", engine=tiny_engine, max_output_tokens=512)
