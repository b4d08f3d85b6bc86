"""What connect shows of a run."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import qa_runs

from colcap.errors import QueryError, RunError
from colcap.qa import queries
from colcap.qa.connect import connect
from colcap.schema import BLOB_TABLES, SET_TABLES, TABLES


def ask(run: Path, sql: str, *, blobs: bool = False) -> pl.DataFrame:
    """In this process, which is the faster."""
    with connect(run, blobs=blobs) as connection:
        return queries.ask(connection, sql)


@pytest.mark.parametrize("table", sorted(set(TABLES) - {"clips"}))
def test_a_view_has_the_columns_of_its_schema_whatever_has_run(any_run: Path, table: str) -> None:
    result = ask(any_run, f"from {table} limit 0", blobs=True)

    assert dict(result.schema) == dict(TABLES[table])


@pytest.mark.parametrize("table", SET_TABLES)
def test_a_latest_view_has_the_columns_of_its_table(any_run: Path, table: str) -> None:
    result = ask(any_run, f"from {table}_latest limit 0")

    assert dict(result.schema) == dict(TABLES[table])


def test_rows_are_those_of_the_parts(run: Path) -> None:
    result = ask(run, "select window_id, start_frame, end_frame from windows order by all")

    assert result.rows() == [("a:00000", 0, 255), ("a:00001", 256, 455), ("b:00000", 0, 89), ("d:00000", 0, 99)]


def test_clips_carry_the_manifests_own_columns(run: Path) -> None:
    files = [run / qa_runs.path("clips", part) for part in (0, 1)]
    for file in files:
        clips = pl.read_parquet(file).join(qa_runs.manifest().drop("uri", "part"), on="clip_id", how="left")
        qa_runs.write_part(file, clips)

    result = ask(run, '''select clip_id, title, "it's ""odd""" as odd from clips order by clip_id''')

    assert result.rows() == [("a", "A", 0), ("b", "B", 1), ("d", "D", 3), ("gone", "GONE", 2)]


def test_a_manifest_column_that_differs_in_case_alone_is_left_out(tmp_path: Path) -> None:
    run = qa_runs.write(tmp_path / "run", {})
    qa_runs.manifest().with_columns(Status=pl.lit("mine")).write_parquet(run / "manifest.parquet")

    result = ask(run, "describe clips")["column_name"].to_list()

    assert [name for name in result if name.lower().startswith("status")] == ["status"]
    assert "title" in result


def test_blobs_are_there_only_when_asked_for(run: Path) -> None:
    with pytest.raises(QueryError, match="windows_mp4 does not exist"):
        ask(run, "select * from windows_mp4")

    result = ask(run, "select octet_length(mp4) from windows_mp4 order by window_id limit 1", blobs=True)

    assert result.item() == 140
    assert set(BLOB_TABLES) <= set(ask(run, "show tables", blobs=True)["name"])


def test_temp_files_and_strangers_are_not_read(run: Path) -> None:
    for name in (".part-000000.7.tmp", ".part-000007.parquet", "notes.parquet", "part-7.parquet"):
        (run / "clips" / name).write_text("no parquet")
    (run / "captions" / "part-000000.parquet").write_text("not in a set")

    assert ask(run, "select count(*) from clips").item() == 4
    assert ask(run, "select count(*) from captions").item() == 4


ATTEMPTS = {
    # attempt -> status of the rows of that attempt; then the attempt that counts
    "one": ({1: "ok"}, 1),
    "newest ok": ({1: "ok", 2: "ok", 10: "ok"}, 10),
    "newest failed": ({1: "ok", 2: "error"}, 1),
    "first failed": ({1: "error", 2: "ok"}, 2),
    "all failed": ({1: "error", 2: "error"}, 2),
}


@pytest.mark.parametrize("case", ATTEMPTS)
def test_the_newest_ok_attempt_counts_else_the_newest(run: Path, case: str) -> None:
    attempts, expected = ATTEMPTS[case]
    for attempt, status in attempts.items():
        made = qa_runs.captions([("d:00000", f"attempt {attempt}")], attempt=attempt)
        qa_runs.write_part(run / qa_runs.path("captions", 1, attempt=attempt), made.with_columns(status=pl.lit(status)))

    result = ask(run, "select window_id, attempt from captions_latest order by window_id")

    assert result.rows() == [("a:00000", 1), ("a:00001", 1), ("b:00000", 1), ("d:00000", expected)]
    assert ask(run, "select count(*) from captions").item() == 3 + len(attempts)


def test_each_caption_set_has_its_own_latest(run: Path) -> None:
    other = qa_runs.captions([("d:00000", "another prompt")], caption_set="other")
    qa_runs.write_part(run / qa_runs.path("captions", 1, caption_set="other"), other)

    result = ask(run, "select caption_set, caption from captions_latest where window_id = 'd:00000' order by all")

    assert result.rows() == [("default", "A red circle moves, number d:00000."), ("other", "another prompt")]


def test_a_part_of_an_older_version_has_nulls_for_what_it_lacks(run: Path) -> None:
    file = run / qa_runs.path("captions", 1)
    qa_runs.write_part(file, pl.read_parquet(file, hive_partitioning=False).drop("prompt_sha256", "model_revision"))

    result = ask(run, "select caption, prompt_sha256 from captions where window_id = 'd:00000'")

    assert result.rows() == [("A red circle moves, number d:00000.", None)]


@pytest.mark.parametrize(
    "name", ["it's", "a[1]b", "st*r", "wh?t", "é 日本", 'q"uote', "per%cent", "back\\slash", "{a,b}", "-x"]
)
def test_a_run_path_may_hold_anything(tmp_path: Path, name: str) -> None:
    run = qa_runs.write(tmp_path / name, qa_runs.full())
    for decoy in ("a1b", "star", "what", "a", "b"):  # what the name would match as a pattern
        qa_runs.write(tmp_path / decoy, {qa_runs.path("clips", 5): qa_runs.media()[qa_runs.path("clips", 0)]})

    assert ask(run, "select count(*) from clips").item() == 4
    assert ask(run, "select count(*) from captions_latest").item() == 4


def test_a_run_may_be_reached_through_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run)

    assert ask(tmp_path / "link", "select count(*) from clips").item() == 4


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        connect(tmp_path / name)


def test_a_connection_is_kept_open_by_ask(run: Path) -> None:
    with connect(run) as connection:
        first, second = (queries.ask(connection, "select count(*) from clips").item() for _ in range(2))

    assert first == second == 4


@pytest.mark.parametrize("damage", [b"", b"PAR1 and so on"])
def test_a_damaged_part_is_a_query_error(run: Path, damage: bytes) -> None:
    (run / qa_runs.path("captions", 1)).write_bytes(damage)

    with pytest.raises(QueryError, match="part-000001"):
        ask(run, "select caption from captions")
