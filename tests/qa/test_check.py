"""check finds each kind of damage, and nothing in a sound run."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import qa_runs
from filelock import FileLock

from colcap.qa.check import check

CHANGES: dict[str, tuple[str, pl.Expr, str]] = {
    # what is changed: (the file, the column's new values, the invariant that breaks)
    "part": (qa_runs.path("clips", 0), pl.lit(7, pl.Int32).alias("part"), "manifest"),
    "clip_id": (qa_runs.path("clips", 1), pl.lit("other").alias("clip_id"), "manifest"),
    "num_windows": (qa_runs.path("clips", 0), pl.lit(5, pl.Int32).alias("num_windows"), "num_windows"),
    "window's clip": (qa_runs.path("windows", 1), pl.lit("zz").alias("clip_id"), "num_windows"),
    "start_frame": (qa_runs.path("windows", 0), pl.col("start_frame") + 1, "frame_ranges"),
    "end_frame": (qa_runs.path("windows", 1), pl.col("end_frame") - 1, "frame_ranges"),
    "num_frames": (qa_runs.path("windows", 1), pl.col("num_frames") + 1, "frame_ranges"),
    "window_index": (qa_runs.path("windows", 1), pl.col("window_index") + 1, "frame_ranges"),
    "clip's num_frames": (qa_runs.path("clips", 1), pl.col("num_frames") + 1, "frame_ranges"),
    "status": (qa_runs.path("captions", 0), pl.lit("fine").alias("status"), "status"),
    "no status": (qa_runs.path("captions", 0), pl.lit(None, pl.String).alias("status"), "status"),
    "error_kind": (qa_runs.path("previews", 0), pl.lit("gremlins").alias("error_kind"), "status"),
    "error": (qa_runs.path("previews", 0), pl.lit(None, pl.String).alias("error"), "status"),
    "cut": (qa_runs.path("windows", 0), pl.lit("torn").alias("cut"), "status"),
    "empty caption": (qa_runs.path("captions", 0), pl.lit(" \n").alias("caption"), "status"),
    "empty enhancement": (qa_runs.path("enhanced", 1), pl.lit("").alias("enhanced_caption"), "status"),
    "window_id of a caption": (qa_runs.path("captions", 0), pl.lit("a:00000").alias("window_id"), "one_row_each"),
    "unknown window": (qa_runs.path("enhanced", 1), pl.lit("zz").alias("window_id"), "one_row_each"),
    "caption_set": (qa_runs.path("captions", 0), pl.lit("other").alias("caption_set"), "footer"),
    "attempt": (qa_runs.path("captions", 0), pl.lit(2, pl.Int32).alias("attempt"), "footer"),
    "row's fingerprint": (qa_runs.path("captions", 0), pl.lit("other").alias("fingerprint"), "footer"),
    "mp4_bytes": (qa_runs.path("windows", 0), pl.col("mp4_bytes") + 1, "blobs"),
    "webp": (qa_runs.path("previews_webp", 0), pl.lit(b"short").alias("webp"), "blobs"),
    "blob of no window": (qa_runs.path("windows_mp4", 1), pl.lit("zz").alias("window_id"), "blobs"),
    "type": (qa_runs.path("windows", 0), pl.col("start_frame").cast(pl.Int32), "schema"),
}


def broken(run: Path, *, verify: bool = False) -> set[tuple[str, str]]:
    return {(problem.invariant, problem.table) for problem in check(run, verify=verify)}


def test_a_sound_run_has_no_problems(any_run: Path) -> None:
    assert check(any_run, verify=True) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_wrong_value_is_found(run: Path, change: str) -> None:
    file, values, invariant = CHANGES[change]
    qa_runs.write_part(run / file, pl.read_parquet(run / file, hive_partitioning=False).with_columns(values))

    result = broken(run)

    told_of = {"num_windows": "windows", "frame_ranges": "windows", "mp4_bytes": "windows_mp4"}
    table = told_of.get(invariant) or told_of.get(change) or file.partition("/")[0]
    assert (invariant, table) in result


@pytest.mark.parametrize(
    "table", ["clips", "windows", "windows_mp4", "previews", "previews_webp", "captions", "enhanced"]
)
def test_half_a_part_is_found(run: Path, table: str) -> None:
    file = run / qa_runs.path(table, 0)
    whole = pl.read_parquet(file, hive_partitioning=False)
    qa_runs.write_part(file, whole.head(whole.height // 2))

    result = broken(run)

    expected = {"clips": "manifest", "windows_mp4": "blobs", "previews_webp": "blobs", "windows": "num_windows"}
    assert (expected.get(table, "one_row_each"), table) in result


@pytest.mark.parametrize("table", ["clips", "windows", "windows_mp4", "previews", "previews_webp"])
def test_a_missing_companion_is_found(run: Path, table: str) -> None:
    (run / qa_runs.path(table, 0)).unlink()

    assert ("one_row_each", table) in broken(run)


@pytest.mark.parametrize(
    ("footer", "expected"),
    [
        ({"part": "1"}, "the footer says part 1"),
        ({"part": ""}, "no footer of ours"),
        ({"rows": "99"}, "its row count is wrong"),
        ({"rows": "many"}, "no footer of ours"),
        ({"fingerprint": ""}, "no footer of ours"),
        ({"fingerprint": "other"}, "fingerprint"),
        ({"counts": '{"ok": 7}'}, "its footer says {'ok': 7}"),
        ({"counts": "[7]"}, "no footer of ours"),
    ],
)
def test_a_footer_that_is_not_true_is_found(run: Path, footer: dict[str, str], expected: str) -> None:
    file = run / qa_runs.path("windows", 0)
    qa_runs.write_part(file, pl.read_parquet(file), **footer)

    result = [problem.text for problem in check(run) if problem.invariant == "footer"]

    assert any(expected in text for text in result)


def test_a_changed_byte_is_found_by_its_hash_only(run: Path) -> None:
    file = run / qa_runs.path("windows_mp4", 0)
    flipped = pl.read_parquet(file).with_columns(
        mp4=pl.Series([b"M" + blob[1:] for blob in pl.read_parquet(file)["mp4"]])
    )
    qa_runs.write_part(file, flipped)

    assert broken(run) == set()
    assert broken(run, verify=True) == {("blobs", "windows_mp4")}


def garbage(file: Path) -> None:
    file.write_bytes(b"PAR1 and so on")


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def holes(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4:400] = bytes(396)
    file.write_bytes(bytes(data))


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [garbage, cut_short, empty, holes, a_folder])
@pytest.mark.parametrize("table", ["clips", "windows", "windows_mp4", "captions"])
def test_a_damaged_file_is_told_not_raised(run: Path, damage: Callable[[Path], None], table: str) -> None:
    damage(run / qa_runs.path(table, 0))

    assert ("readable", table) in broken(run)


def test_a_flipped_bit_of_a_footer_is_told_or_harmless_and_never_raised(run: Path) -> None:
    file, rng = run / qa_runs.path("captions", 0), random.Random(3)
    sound = file.read_bytes()
    footer = int.from_bytes(sound[-8:-4], "little")
    found = Counter[bool]()
    for _ in range(60):
        data = bytearray(sound)
        data[len(sound) - 8 - rng.randrange(footer)] ^= 1 << rng.randrange(8)
        file.write_bytes(bytes(data))
        found[bool(check(run))] += 1

    assert found[True] > 20


def test_a_damaged_manifest_is_told_not_raised(run: Path) -> None:
    garbage(run / "manifest.parquet")

    assert ("readable", "manifest.parquet") in broken(run)


def test_a_part_the_manifest_does_not_have_is_found(run: Path) -> None:
    (run / qa_runs.path("captions", 1)).rename(run / qa_runs.path("captions", 12))

    assert [p.text for p in check(run) if p.part == 12] == ["the manifest has no such part"]


def test_a_later_attempt_at_some_windows_is_sound(run: Path) -> None:
    file = run / qa_runs.path("captions", 0, attempt=2)
    again = qa_runs.captions([("b:00000", "A blue star.")], attempt=2)

    qa_runs.write_part(file, again, scope="selection")
    selection = check(run)
    qa_runs.write_part(file, again, scope="part")
    part = check(run)

    assert selection == []
    assert [problem.invariant for problem in part] == ["one_row_each"]


def test_a_part_without_captions_yet_is_sound(run: Path) -> None:
    (run / qa_runs.path("captions", 1)).unlink()
    (run / qa_runs.path("enhanced", 1)).unlink()

    assert check(run) == []


@pytest.mark.parametrize(
    "name",
    [
        ".manifest.parquet.7.tmp",
        "clips/.part-000003.7.tmp",
        "captions/set=default/.x.9.tmp",
        ".commit-000001-clips.json",
    ],
)
def test_leftovers_are_told_unless_a_writer_is_at_work(run: Path, name: str) -> None:
    (run / name).touch()

    alone = [problem.table for problem in check(run)]
    with FileLock(run / ".lock"):
        beside_a_writer = check(run)

    assert alone == [name]
    assert beside_a_writer == []


def test_a_problem_reads_as_a_sentence(run: Path) -> None:
    file = run / qa_runs.path("clips", 0)
    qa_runs.write_part(file, pl.read_parquet(file).filter(pl.col("clip_id") != "gone"))

    assert [str(problem) for problem in check(run)] == ["clips part 0: clips without a row: 1 (gone) (manifest)"]


@pytest.mark.parametrize(
    ("table", "part", "values", "expected"),
    [
        (
            "clips",
            0,
            {"status": "ok", "error_kind": None, "error": None},
            "ok clips without windows: 1 (gone)",
        ),
        ("windows", 1, {"clip_id": "zz"}, "windows of no clip: 1 (d:00000)"),
        ("windows", 1, {"end_frame": -1, "num_frames": 0}, "windows whose num_frames is not their range: 1 (d:00000)"),
    ],
)
def test_what_is_wrong_is_told_in_words(
    run: Path, table: str, part: int, values: dict[str, object], expected: str
) -> None:
    file = run / qa_runs.path(table, part)
    rows = pl.read_parquet(file)
    changed = [pl.lit(value, rows.schema[name]).alias(name) for name, value in values.items()]
    qa_runs.write_part(file, rows.with_columns(changed))

    assert expected in [problem.text for problem in check(run)]
