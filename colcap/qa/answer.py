"""The rows of one checked SELECT, a batch at a time, up to a limit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


def answer(
    connection: DuckDBPyConnection, sql: str, params: Mapping[str, object]
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Ask one SELECT that only reads.

    Raises
    ------
    QueryError : it is no such thing; while its rows are read: there are more than MAX_RESULT_BYTES of them.
    """
    select = checked_select(connection, sql, params)
    reader = connection.sql(select, params=dict(params)).to_arrow_reader(_FETCH_ROWS)
    return reader.schema, _limited(reader)


def _limited(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    num_bytes = 0
    for batch in batches:
        num_bytes += batch.nbytes
        if num_bytes > MAX_RESULT_BYTES:
            raise QueryError(f"the result is larger than {MAX_RESULT_BYTES >> 20} MiB: add a LIMIT, or aggregate")
        yield batch
