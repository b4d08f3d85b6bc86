"""Lets a SELECT through and nothing that writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from duckdb import DuckDBPyConnection, Error, StatementType

from colcap.errors import QueryError, printable

_EXPLAIN: Final = "EXPLAIN (FORMAT json)\n"
_WRITES: Final = re.compile("COPY|INSERT|UPDATE|DELETE|MERGE_INTO|CREATE|ATTACH|SERIALIZED_SQL|EXTERNAL_RESOURCE")
"""Operators of a query plan that write, or that run SQL the plan does not show."""


def checked_select(connection: DuckDBPyConnection, sql: str, params: Mapping[str, object]) -> str:
    """Return the statement, if it is one SELECT that only reads and whose parameters are all there.

    The type of a statement is not enough: DuckDB 2.0 calls `WITH x AS (COPY … TO 'file') SELECT 1` a SELECT, and
    writes the file. So its plan is made, without running it, and no operator of the plan may write.

    Raises
    ------
    QueryError : anything else.
    """
    try:
        statements = connection.extract_statements(sql)
    except Error as error:
        raise QueryError(printable(str(error))) from None
    if len(statements) != 1:
        raise QueryError(f"expected one SELECT, got {len(statements)} statements")
    (statement,) = statements
    if statement.type != StatementType.SELECT:
        hint = "; a PIVOT needs its values: PIVOT … ON … IN (…)" if statement.type == StatementType.MULTI else ""
        raise QueryError(f"only SELECT is allowed, this is {statement.type.name}{hint}")
    _check_params(statement.named_parameters, params)
    for operator in _operators(_plan(connection, statement.query, params)):
        if _WRITES.search(operator):
            raise QueryError(f"only reading is allowed, this would run {operator}")
    return str(statement.query)


def _check_params(wanted: set[str], given: Mapping[str, object]) -> None:
    if missing := sorted(wanted - set(given)):
        raise QueryError(f"no value for parameter {', '.join(missing)}: give --param NAME=VALUE")
    if unknown := sorted(set(given) - wanted):
        raise QueryError(f"the query has no parameter {', '.join(unknown)}")


def _plan(connection: DuckDBPyConnection, select: str, params: Mapping[str, object]) -> list[dict[str, Any]]:
    try:
        rows = connection.execute(_EXPLAIN + select, dict(params)).fetchall()
        return [node for _, plan in rows for node in json.loads(plan)]
    except Error as error:
        # Our prefix is a line of its own, so that the line numbers only need one taken off.
        text = re.sub(r"^LINE (\d+):", lambda line: f"LINE {int(line[1]) - 1}:", str(error), flags=re.MULTILINE)
        raise error.__class__(text) from None
    except RecursionError:
        raise QueryError("the query is nested too deeply") from None


def _operators(nodes: list[dict[str, Any]]) -> Iterator[str]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node["name"]
        waiting.extend(node.get("children", ()))
