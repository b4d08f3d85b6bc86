"""One flat table, a file a part: a row a window and caption set, a row a clip without windows; bytes if wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import IO

import polars as pl
import pyarrow.parquet as pq

from colcap.export.folder import Folder
from colcap.export.options import COLUMNS, Options
from colcap.export.rows import PartRows
from colcap.store import FACT_ROW_GROUP, ROW_GROUP_BYTES, arrow_schema


def write(part: PartRows, folder: Folder, options: Options) -> Counter[str]:
    """Write `part-000000.parquet`; row groups hold at most about 24 MB of bytes."""
    with folder.writing(f"part-{part.part:06d}.parquet") as file:
        return _write(file, part, options)


def _write(file: IO[bytes], part: PartRows, options: Options) -> Counter[str]:
    columns = options.columns
    rows = part.rows.with_columns(pl.lit(None, pl.Binary).alias(column) for column in columns)
    counts: Counter[str] = Counter()
    # bytes that are compressed already: zstd saves nothing and costs time
    packed = {name: "none" if name in columns else "zstd" for name in rows.columns}
    flat = [name for name in rows.columns if name not in columns]
    with pq.ParquetWriter(
        file, arrow_schema(rows.schema), compression=packed, use_dictionary=_texts(rows, flat)
    ) as out:
        for group in _groups(part, columns) if columns else part.rows.iter_slices(FACT_ROW_GROUP):
            out.write_table(group.to_arrow(compat_level=pl.CompatLevel.oldest()), row_group_size=FACT_ROW_GROUP)
            counts["table_rows"] += group.height
            counts.update({column: group.height - group[column].null_count() for column in columns})
    return counts


def _texts(rows: pl.DataFrame, flat: list[str]) -> list[str]:
    return [name for name in flat if rows.schema[name] == pl.String]


def _groups(part: PartRows, columns: list[str]) -> Iterator[pl.DataFrame]:
    blobs = {column: part.blobs(COLUMNS[column], column) for column in columns}
    start, total = 0, 0
    held: list[list[bytes | None]] = []
    for row, window_id in enumerate(part.rows["window_id"]):
        found = [blobs[column].get(window_id) for column in columns]
        size = sum(len(data) for data in found if data)
        if held and total + size > ROW_GROUP_BYTES:
            yield _with(part.rows.slice(start, len(held)), columns, held)
            start, total, held = row, 0, []
        held.append(found)
        total += size
    if held:
        yield _with(part.rows.slice(start, len(held)), columns, held)


def _with(rows: pl.DataFrame, columns: list[str], held: list[list[bytes | None]]) -> pl.DataFrame:
    return rows.with_columns(
        pl.Series(column, [found[place] for found in held], dtype=pl.Binary) for place, column in enumerate(columns)
    )
