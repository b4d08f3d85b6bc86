"""Asking a run: one SELECT, or a named query, with a limit on time and on the size of the answer."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
from duckdb import DuckDBPyConnection

from colcap.errors import QueryError, printable
from colcap.qa.answer import FAILURES, Select, answer
from colcap.qa.apart import Question, ask_apart
from colcap.qa.connect import MEMORY_LIMIT, connect
from colcap.qa.named import find, listing
from colcap.qa.views import view_statements
from colcap.schema import BLOB_TABLES


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
    source : a run folder, or what `connect` gave. SQL over a folder runs in a process of its own, whose memory and time
        are bounded whatever the SQL does; a named query, and any SQL over a connection, runs in this one, where a call
        of one function (`repeat('x', 4000000000)`) is bounded by nothing. So a stranger's SQL is given a folder.
    sql : a single SELECT, `@name` for one of `sql/*.sql`, or `@` for the list of these.
    params : values of `$name` parameters; bound, never pasted in. Named queries turn text into their own types.
    blobs : with the tables `windows_mp4` and `previews_webp`, where `source` is a folder.
    timeout_s : seconds until the query is stopped, with the start of its process (0.5 s).

    Raises
    ------
    RunError : `source` is not a run folder.
    QueryError : refused (anything that could write), wrong, too slow, or too large.
    """
    if sql.strip() == "@":
        return listing()
    if not sql.lstrip().startswith("@"):
        try:
            return ask_select(source, Select(sql, dict(params or {})), blobs=blobs, timeout_s=timeout_s)
        except QueryError as error:
            raise _with_hint(error, blobs=blobs) from None
    named = find(sql.strip()[1:])
    opened = nullcontext(source) if isinstance(source, DuckDBPyConnection) else closing(connect(source, blobs=blobs))
    with opened as connection:
        return _ask_here(connection, Select(named.sql, named.bind(params or {})), timeout_s)


def ask_select(
    source: Path | DuckDBPyConnection, select: Select, *, blobs: bool = False, timeout_s: float = 300
) -> pl.DataFrame:
    """Ask a SELECT, as `ask` does."""
    if isinstance(source, DuckDBPyConnection):
        return _ask_here(source, select, timeout_s)
    run = Path(os.path.realpath(source))
    question = Question(run, view_statements(run, blobs=blobs), select, MEMORY_LIMIT)
    return _frame(ask_apart(question, timeout_s=timeout_s))


def _with_hint(error: QueryError, *, blobs: bool) -> QueryError:
    """Say how the tables of bytes are seen, where one of them was asked for and is not there."""
    missed = not blobs and any(f"Table with name {table} does not exist" in str(error) for table in BLOB_TABLES)
    return QueryError(f"{error}\n\nTables of bytes are seen with --blobs (blobs=True).") if missed else error


def _ask_here(connection: DuckDBPyConnection, select: Select, timeout_s: float) -> pl.DataFrame:
    stopped = threading.Event()
    try:
        with _deadline(connection, timeout_s, stopped):
            schema, batches = answer(connection, select)
            return _frame(pa.Table.from_batches(batches, schema))
    except (*FAILURES, pl.exceptions.PolarsError) as error:
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


def _frame(table: pa.Table) -> pl.DataFrame:
    try:
        frame = pl.from_arrow(table)
    except pl.exceptions.PolarsError as error:
        raise QueryError(printable(str(error))) from None
    assert isinstance(frame, pl.DataFrame)
    return frame.with_columns(_as_integer(frame[name]) for name, kind in frame.schema.items() if kind == _HUGEINT)


_HUGEINT: Final = pl.Decimal(38, 0)


def _as_integer(column: pl.Series) -> pl.Series:
    """DuckDB sums integers as HUGEINT, which Arrow has no type for; give them back as Int64 where they fit."""
    integers = column.cast(pl.Int64, strict=False)
    return integers if integers.null_count() == column.null_count() else column
