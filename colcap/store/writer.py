"""Streams one table of one part into a temp file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from colcap.schema import BLOB_TABLES
from colcap.store.disk import sync
from colcap.store.footer import COUNTS, count_rows
from colcap.store.names import own_suffix

ROW_GROUP_BYTES: Final = 24 << 20
"""Blobs per row group: 16 rows of 1.5 MB cost 0.31 CPU s to write, one group of 64 rows 1.11."""

FACT_ROW_GROUP: Final = 122_880


def arrow_schema(schema: Mapping[str, pl.DataType]) -> pa.Schema:
    """The Arrow schema a polars schema is stored with (large_string, large_binary)."""
    return pl.DataFrame(schema=dict(schema)).to_arrow(compat_level=pl.CompatLevel.oldest()).schema


class TableWriter:
    """Streams one table of one part into a temp file; blobs never pile up beyond a row group."""

    def __init__(self, table: str, final: Path, schema: Mapping[str, pl.DataType]) -> None:
        self.final = final
        self.rows = 0
        self._counts: Counter[str] | None = Counter() if "status" in schema else None
        self.temp = final.parent / f".{final.name.removesuffix('.parquet')}.{own_suffix()}.tmp"
        self._schema = schema
        self._blob = BLOB_TABLES.get(table)
        self._waiting: list[pl.DataFrame] = []
        self._waiting_bytes = 0
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._writer = pq.ParquetWriter(self.temp, arrow_schema(schema), **_layout(self._blob))
        except OSError:
            self.temp.unlink(missing_ok=True)
            raise

    def append(self, frame: pl.DataFrame) -> None:
        """Add rows; columns must be those of the table's schema."""
        if frame.is_empty():
            return
        self._waiting.append(frame.select(list(self._schema)).cast(dict(self._schema)))  # type: ignore[arg-type]
        self.rows += frame.height
        if self._counts is not None:
            self._counts += count_rows(frame)
        if self._blob:
            self._waiting_bytes += int(frame[self._blob].bin.size().sum() or 0)
            if self._waiting_bytes >= ROW_GROUP_BYTES:
                self._flush()

    def close(self, footer: Mapping[str, str]) -> None:
        """Write what waits and the footer, and make sure it is on the disk."""
        self._flush()
        counts = {} if self._counts is None else {COUNTS: json.dumps(self._counts, sort_keys=True)}
        self._writer.add_key_value_metadata({**footer, **counts, "colcap.rows": str(self.rows)})
        self._writer.close()
        sync(self.temp)

    def abort(self) -> None:
        """Throw the temp file away."""
        with suppress(OSError, pa.ArrowException):  # the disk may be full; the file goes anyway
            self._writer.close()
        self.temp.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._waiting:
            return
        frame = pl.concat(self._waiting, rechunk=True)
        self._waiting, self._waiting_bytes = [], 0
        for slab in _row_groups(frame, self._blob):
            self._writer.write_table(slab.to_arrow(compat_level=pl.CompatLevel.oldest()), row_group_size=FACT_ROW_GROUP)


def _row_groups(frame: pl.DataFrame, blob: str | None) -> Iterator[pl.DataFrame]:
    """Slices of at most ROW_GROUP_BYTES of blobs, at least one row each; facts in one slice."""
    if blob is None:
        yield frame
        return
    start, total = 0, 0
    for row, size in enumerate(frame[blob].bin.size().fill_null(0)):
        if row > start and total + size > ROW_GROUP_BYTES:
            yield frame.slice(start, row - start)
            start, total = row, 0
        total += size
    yield frame.slice(start)


def _layout(blob: str | None) -> dict[str, object]:
    if blob:  # bytes that are compressed already: zstd saves nothing and costs time
        return {**_CHECKED, "compression": "none", "use_dictionary": False, "write_statistics": ["window_id"]}
    return {**_CHECKED, "compression": "zstd"}


_CHECKED: Final = {"write_page_checksum": True}
"""A footer does not know of a flipped bit in a page; soundness.py looks for it."""
