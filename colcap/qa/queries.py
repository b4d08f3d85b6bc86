"""Asking a run: one SELECT, or a named query, with a limit on time and on the size of the answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Final

import duckdb
import polars as pl
import pyarrow as pa
from duckdb import DuckDBPyConnection

from colcap.errors import QueryError, printable
from colcap.qa.connect import connect
from colcap.qa.guard import checked_select
from colcap.qa.named import find, listing

MAX_RESULT_BYTES: Final = 1 << 30
"""DuckDB's memory limit ends where a result leaves DuckDB, so results have their own."""

_FETCH_ROWS: Final = 100_000


def ask(
    source: Path | DuckDBPyConnection,
    sql: str,
    *,
    params: Mapping[str, object] | None = None,
    blobs: bool = False,
    timeout_s: float = 300,
) -> pl.DataFrame:
    """Run one SELECT, or a named query, over a run's views.

    Parameters
    ----------
    source : a run folder, or what `connect` gave.
    sql : a single SELECT, `@name` for one of `sql/*.sql`, or `@` for the list of these.
    params : values of `$name` parameters; bound, never pasted in. Named queries turn text into their own types.
    blobs : with the tables `windows_mp4` and `previews_webp`, where `source` is a folder.
    timeout_s : seconds until the query is interrupted. One call of a slow function is not cut short.

    Raises
    ------
    QueryError : refused (anything that could write), wrong, too slow, or too large.
    """
    if sql.strip() == "@":
        return listing()
    if sql.lstrip().startswith("@"):
        named = find(sql.strip()[1:])
        sql, params = named.sql, named.bind(params or {})
    opened = nullcontext(source) if isinstance(source, DuckDBPyConnection) else closing(connect(source, blobs=blobs))
    with opened as connection:
        stopped = threading.Event()
        try:
            with _deadline(connection, timeout_s, stopped):
                return _fetch(connection, checked_select(connection, sql, params or {}), params or {})
        except (duckdb.Error, pl.exceptions.PolarsError, pa.ArrowException, OSError) as error:
            if stopped.is_set():
                raise QueryError(f"stopped after {timeout_s:g} s") from None
            raise QueryError(printable(str(error))) from None


@contextmanager
def _deadline(connection: DuckDBPyConnection, timeout_s: float, stopped: threading.Event) -> Iterator[None]:
    done = threading.Event()

    def watch() -> None:
        if done.wait(timeout_s):
            return
        stopped.set()
        while not done.wait(0.05):  # again and again: an interrupt between two statements is forgotten
            connection.interrupt()

    thread = threading.Thread(target=watch, name="query-deadline", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _fetch(connection: DuckDBPyConnection, select: str, params: Mapping[str, object]) -> pl.DataFrame:
    reader = connection.sql(select, params=dict(params)).to_arrow_reader(_FETCH_ROWS)
    batches, num_bytes = [], 0
    for batch in reader:
        batches.append(batch)
        num_bytes += batch.nbytes
        if num_bytes > MAX_RESULT_BYTES:
            raise QueryError(f"the result is larger than {MAX_RESULT_BYTES >> 20} MiB: add a LIMIT, or aggregate")
    frame = pl.from_arrow(pa.Table.from_batches(batches, reader.schema))
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(_as_integer(frame[name]) for name, kind in frame.schema.items() if kind == _HUGEINT)


_HUGEINT: Final = pl.Decimal(38, 0)


def _as_integer(column: pl.Series) -> pl.Series:
    """DuckDB sums integers as HUGEINT, which Arrow has no type for; give them back as Int64 where they fit."""
    integers = column.cast(pl.Int64, strict=False)
    return integers if integers.null_count() == column.null_count() else column
