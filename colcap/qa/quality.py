"""Runs every check of `sql/*.sql` on a run and says which found more than their threshold."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import polars as pl
from duckdb import DuckDBPyConnection

from colcap.errors import QueryError
from colcap.qa.connect import connect
from colcap.qa.named import NamedQuery, Threshold, find, named_queries
from colcap.qa.queries import ask
from colcap.schema import Columns

COLUMNS: Columns = {
    "check": pl.String,
    "found": pl.Int64,
    "unit": pl.String,
    "threshold": pl.Int64,
    "passed": pl.Boolean,
    "query": pl.String,
    "looks_for": pl.String,
}


def quality(run: Path, *, thresholds: Mapping[str, int] | None = None) -> pl.DataFrame:
    """Count what every check finds.

    Parameters
    ----------
    run : the run folder.
    thresholds : name of a check -> how much it may find, instead of its own threshold.

    Returns
    -------
    One row a check, in alphabetical order: `check`, `found` (in `unit`: rows of the answer, or the sum of a column of
    it), `threshold`, `passed` (it found no more than that), `query` (the command that shows what it found) and
    `looks_for`. A check that could not be run (too slow, too large) has not passed; its `found` is null and
    `looks_for` says why.

    Raises
    ------
    RunError : `run` is not a run folder.
    QueryError : a threshold for something that is not a check.
    """
    given = dict(thresholds or {})
    _refuse_unknown(given)
    checks = [query for query in named_queries().values() if query.threshold is not None]
    with closing(connect(run)) as connection:
        rows = [_row(connection, run, check, given.get(check.name)) for check in checks]
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def _refuse_unknown(names: Iterable[str]) -> None:
    for name in names:
        if not find(name).is_check:
            raise QueryError(f"@{name} is a report: only a check has a threshold")


def _row(connection: DuckDBPyConnection, run: Path, check: NamedQuery, most: int | None) -> tuple[object, ...]:
    assert check.threshold is not None
    if most is None:
        most = check.threshold.most
    command = f"colcap sql {shlex.quote(str(run))} @{check.name}"
    try:
        found = _count(connection, check, check.threshold)
    except QueryError as error:
        return check.name, None, check.threshold.unit, most, False, command, f"could not be run: {error}"
    return check.name, found, check.threshold.unit, most, found <= most, command, check.title


def _count(connection: DuckDBPyConnection, check: NamedQuery, threshold: Threshold) -> int:
    counted = "count(*)" if threshold.unit == "rows" else f"coalesce(sum({threshold.unit}), 0)::bigint"
    return int(ask(connection, f"select {counted} from (\n{check.sql}\n)", params=check.bind({})).item())
