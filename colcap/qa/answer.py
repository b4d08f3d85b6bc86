"""The rows of one checked SELECT, a batch at a time, up to a limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import duckdb
import pyarrow as pa
from duckdb import DuckDBPyConnection

from colcap.errors import QueryError
from colcap.qa.guard import checked_select

MAX_RESULT_BYTES: Final = 1 << 30
"""DuckDB's memory limit ends where a result leaves DuckDB, so results have their own."""

FAILURES: Final = (duckdb.Error, pa.ArrowException, OSError, MemoryError)
"""What a query can end in; pyarrow's own errors are of these."""

_FETCH_ROWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class First:
    """Only the first rows of an answer are wanted."""

    by: Sequence[str]
    """Columns that order them; nulls come last."""
    rows: int
    """So many at most."""


@dataclass(frozen=True, slots=True)
class Select:
    """One SELECT, asked of the whole run or of its shares, one after another."""

    sql: str
    """Anything: it is checked where it runs."""
    params: Mapping[str, object]
    """Values of its `$name` parameters."""
    shares: Sequence[Sequence[str]] = ((),)
    """What makes the views of each share; see `views.share_statements`."""
    first: First | None = None
    """Which rows of all answers together; None for all."""


def answer(connection: DuckDBPyConnection, select: Select) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Ask a SELECT that only reads; a share's views are made when the rows of the share before it have been read.

    Raises
    ------
    QueryError : it is no such thing; while its rows are read: there are more than MAX_RESULT_BYTES of them.
    """
    answers = (_answer(connection, select, views) for views in select.shares)
    schema, batches = next(answers)
    every = chain(batches, chain.from_iterable(batches for _, batches in answers))
    return schema, _limited(every if select.first is None else _first(schema, every, select.first))


def _answer(
    connection: DuckDBPyConnection, select: Select, views: Sequence[str]
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    for view in views:
        connection.execute(view)
    checked = checked_select(connection, select.sql, select.params)
    reader = connection.sql(checked, params=dict(select.params)).to_arrow_reader(_FETCH_ROWS)
    return reader.schema, iter(reader)


def _first(schema: pa.Schema, batches: Iterator[pa.RecordBatch], first: First) -> Iterator[pa.RecordBatch]:
    """No more than these rows and a batch are held, and no more bytes than an answer may have."""
    order = [(name, "ascending") for name in first.by]
    kept = schema.empty_table()
    for batch in batches:
        kept = pa.concat_tables([kept, pa.Table.from_batches([batch])]).sort_by(order).slice(0, first.rows)
        _check_size(kept.nbytes)
    return iter(kept.to_batches())


def _limited(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    num_bytes = 0
    for batch in batches:
        num_bytes += batch.nbytes
        _check_size(num_bytes)
        yield batch


def _check_size(num_bytes: int) -> None:
    if num_bytes > MAX_RESULT_BYTES:
        raise QueryError(f"the result is larger than {MAX_RESULT_BYTES >> 20} MiB: add a LIMIT, or aggregate")
