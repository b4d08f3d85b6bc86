"""Whether a part file still holds what was written: every page's checksum, and every blob's hash.

A footer says nothing about the bytes before it. So every page carries a CRC-32, which finds a flipped bit in any table,
and every blob's SHA-256 is in the facts beside it, which also finds a blob file that belongs to other facts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from colcap.schema import BLOB_TABLES, FACTS_OF, SET_TABLES, TABLES
from colcap.store import PartFile, list_parts, part_name, read_footer, source


def pages_are_whole(path: Path) -> bool:
    """Whether a part's footer and every page can be read and are what was written; memory is bounded by a row group."""
    if read_footer(path) is None:
        return False
    try:
        with pq.ParquetFile(source(path), page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                file.read_row_group(group)
    except (OSError, pa.ArrowException, ValueError):
        return False
    return True


def damaged_files(run: Path) -> list[Path]:
    """A run's part files that are not what was written. All of the run is read for it."""
    files = [(table, file) for table in TABLES for file in _files(run, table)]
    damaged = [file.path for _, file in files if not pages_are_whole(file.path)]
    blobs = [(table, file) for table, file in files if table in BLOB_TABLES and file.path not in damaged]
    return damaged + [file.path for table, file in blobs if not _hashes_match(run, table, file, damaged)]


def _files(run: Path, table: str) -> Iterator[PartFile]:
    folders = (run / table).glob("set=*") if table in SET_TABLES else [run / table]
    for folder in sorted(folders):
        yield from list_parts(folder)


def _hashes_match(run: Path, table: str, file: PartFile, damaged: list[Path]) -> bool:
    facts = run / FACTS_OF[table] / part_name(file.part)
    if facts in damaged or not facts.exists():
        return True  # made again with its facts anyway
    column = BLOB_TABLES[table]
    there = pl.read_parquet(facts, columns=["window_id", "status", f"{column}_sha256"]).filter(status="ok")
    wanted = dict(there.select("window_id", f"{column}_sha256").iter_rows())
    return dict(_hashes(file.path, column)) == wanted


def _hashes(path: Path, column: str) -> Iterator[tuple[str, str]]:
    with pq.ParquetFile(source(path)) as file:
        for group in range(file.num_row_groups):
            ids, blobs = file.read_row_group(group, columns=["window_id", column]).columns
            for name, blob in zip(ids, blobs, strict=True):
                yield name.as_py(), hashlib.sha256(blob.as_py() or b"").hexdigest()
