"""A flipped bit anywhere in a part is found by `check`, and `run --verify` makes just that part again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import colcap
from colcap.qa.check import check
from colcap.schema import TABLES
from colcap.soundness import pages_are_whole

TABLE_NAMES = ("clips", "windows", "windows_mp4", "previews", "previews_webp")


@pytest.fixture(scope="module")
def sound(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a clip a part, without captions."""
    return colcap.run(
        manifest, tmp_path_factory.mktemp("sound") / "out", generate_captions=False, clips_per_part=1
    ).path


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(sound, tmp_path / "out"))


def flip(path: Path, position: int) -> None:
    """Turn one bit around, and leave no trace of it in the file's times."""
    data, stat = bytearray(path.read_bytes()), path.stat()
    data[position] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def identities(run: Path) -> dict[Path, tuple[int, int]]:
    """Inode and time of every part file: an inode alone may be taken again."""
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in run.glob("*/part-*")
        if path.parent.name in TABLES
    }


def middle_of_a_page(path: Path, column: str) -> int:
    """A position inside the data of a column."""
    group = pq.read_metadata(path).row_group(0)
    chunk = next(group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == column)
    return int(chunk.data_page_offset) + int(chunk.total_compressed_size) - 4


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_a_flipped_bit_is_found_and_only_its_part_is_made_again(
    table: str, run: Path, sound: Path, manifest: Path
) -> None:
    victim = run / table / "part-000002.parquet"
    flip(victim, middle_of_a_page(victim, list(TABLES[table])[-1] if "_" in table else "status"))
    before = identities(run)

    found = check(run)
    colcap.run(manifest, run, generate_captions=False, verify=True)

    rewritten = {path.relative_to(run).as_posix() for path in before if identities(run)[path] != before[path]}
    together = {"clips", "windows", "windows_mp4"} if table in TABLE_NAMES[:3] else {"previews", "previews_webp"}
    assert {(problem.table, problem.part) for problem in found if problem.invariant == "readable"} == {(table, 2)}
    assert rewritten == {f"{name}/part-000002.parquet" for name in together}
    assert check(run, verify=True) == []
    assert all(path.read_bytes() == (sound / path.relative_to(run)).read_bytes() for path in before)


def test_blobs_of_other_facts_are_found_by_their_hash(run: Path, manifest: Path) -> None:
    victim = run / "previews_webp" / "part-000000.parquet"
    schema, meta = pq.read_schema(victim), pq.read_metadata(victim).metadata
    rows = pq.read_table(victim).to_pylist()
    with pq.ParquetWriter(victim, schema) as writer:
        writer.write_table(pa.Table.from_pylist([{**row, "webp": row["webp"][::-1]} for row in rows], schema=schema))
        writer.add_key_value_metadata({k: v for k, v in meta.items() if k != b"ARROW:schema"})

    assert pages_are_whole(victim)
    assert [problem.invariant for problem in check(run, verify=True)] == ["blobs"]
    colcap.run(manifest, run, generate_captions=False, verify=True)
    assert check(run, verify=True) == []


def test_a_sound_run_is_left_alone(run: Path, manifest: Path) -> None:
    before = identities(run)

    colcap.run(manifest, run, generate_captions=False, verify=True)

    assert identities(run) == before


def test_other_readers_take_parts_with_checksums(sound: Path) -> None:
    assert pl.read_parquet(sound / "clips" / "*.parquet").height == 4
    assert colcap.open(sound).sql("select count(*) from windows").item() == 4
