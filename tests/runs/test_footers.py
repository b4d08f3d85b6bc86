"""Footers are remembered, and believed only of files that are the very ones that were read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

import colcap
from colcap import footers, store
from colcap.printing import summary_lines
from colcap.qa.tally import tally
from colcap.runners.plan import empty_plan, unfinished
from colcap.runners.runfile import saved_config


@pytest.fixture(scope="module")
def made(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> colcap.Run:
    """A finished run of two clips a part, one of them broken, without captions."""
    return colcap.run(manifest, tmp_path_factory.mktemp("made") / "out", generate_captions=False, clips_per_part=2)


@pytest.fixture
def run(made: colcap.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> colcap.Run:
    """A copy of it that is worth remembering."""
    monkeypatch.setattr(footers, "WORTH_KEEPING", 1)
    monkeypatch.setattr(footers, "SETTLED_S", 0.0)
    return colcap.open(shutil.copytree(made.path, tmp_path / "out"))


def todo(run: colcap.Run) -> list[int]:
    return [part.part for part in unfinished(empty_plan(run.path, saved_config(run.path)))]


def test_what_was_read_once_is_not_read_again(run: colcap.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = (todo(run), summary_lines(run))
    monkeypatch.setattr(store, "read_ending", lambda path: pytest.fail(f"{path} is read again"))

    assert (todo(run), summary_lines(run)) == first
    assert first[0] == []


def test_what_was_parsed_once_is_not_parsed_again_in_a_copy(
    run: colcap.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = (todo(run), [one.counts for one in tally(run.path)])
    monkeypatch.setattr(store, "parse_ending", lambda ending: pytest.fail("a footer is parsed again"))

    copy = colcap.open(shutil.copytree(run.path, tmp_path / "copy", copy_function=shutil.copyfile))

    assert (todo(copy), [one.counts for one in tally(copy.path)]) == first
    monkeypatch.setattr(store, "read_ending", lambda path: pytest.fail(f"{path} is read again"))
    assert (todo(copy), [one.counts for one in tally(copy.path)]) == first


def test_a_part_under_the_name_of_another_is_noticed(run: colcap.Run) -> None:
    todo(run)
    windows = run.path / "windows"
    shutil.copyfile(windows / "part-000000.parquet", windows / "part-000001.parquet")

    assert todo(run) == [1]


def test_a_run_remembers_what_it_made(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footers, "WORTH_KEEPING", 1)
    monkeypatch.setattr(footers, "SETTLED_S", 0.0)
    run = colcap.run(manifest, tmp_path / "out", generate_captions=False, clips_per_part=2)

    known = pl.read_parquet(run.path / footers.INDEX)["name"]
    assert sorted(known) == sorted(str(path.relative_to(run.path)) for path in run.path.glob("[cpw]*/part-*.parquet"))


@pytest.mark.parametrize("times", ["kept", "new"])
def test_a_file_that_changed_is_read_again(run: colcap.Run, times: str) -> None:
    todo(run)
    path = run.path / "windows" / "part-000001.parquet"
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    if times == "kept":  # as a copying tool would; the inode's own time tells
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert todo(run) == [1]
    assert [one.damaged for one in tally(run.path) if one.damaged] == [[path]]


@pytest.mark.parametrize("harm", ["none", "lost", "cut", "flipped", "foreign"])
def test_the_index_can_be_lost_or_damaged(run: colcap.Run, harm: str) -> None:
    first = summary_lines(run)
    index = run.path / footers.INDEX
    data = bytearray(index.read_bytes())
    data[len(data) // 3] ^= 1
    match harm:
        case "lost":
            index.unlink()
        case "cut":
            index.write_bytes(index.read_bytes()[:-20])
        case "flipped":
            index.write_bytes(data)
        case "foreign":
            pl.DataFrame({"name": ["clips/part-000000.parquet"]}).write_parquet(index)

    assert (todo(run), summary_lines(run)) == ([], first)


def test_a_folder_that_cannot_be_written_can_be_asked(run: colcap.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, data: bytes) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(store, "write_atomically", refuse)

    assert summary_lines(run)[1] > 0
    assert not (run.path / footers.INDEX).exists()


def test_counts_are_those_of_the_rows(run: colcap.Run) -> None:
    said = {one.table: one for one in tally(run.path)}
    rows = run.sql("select status, error_kind, count(*) as n from clips group by all")

    expected = {s if k is None else f"{s}:{k}": n for s, k, n in rows.iter_rows()}
    assert dict(said["clips"].counts) == expected
    ((kind, (example_id, error)),) = said["clips"].examples.items()
    assert run.sql("select status || ':' || error_kind, clip_id, error from clips where status <> 'ok'").rows() == [
        (kind, example_id, error)
    ]


def test_parts_that_do_not_say_their_counts_are_counted(run: colcap.Run) -> None:
    before = summary_lines(run)
    for path in run.path.glob("*/part-*.parquet"):
        without_counts(path)

    assert summary_lines(run) == before


def without_counts(path: Path) -> None:
    source = pq.ParquetFile(path)
    said = {k: v for k, v in source.metadata.metadata.items() if k not in (b"ARROW:schema", b"colcap.counts")}
    with pq.ParquetWriter(path.with_suffix(".new"), source.schema_arrow) as writer:
        writer.write_table(source.read())
        writer.add_key_value_metadata(said)
    path.with_suffix(".new").replace(path)
