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
        raise error.__class__(earlier(str(error), lines=1)) from None
    except RecursionError:
        raise QueryError("the query is nested too deeply") from None


def earlier(text: str, *, lines: int) -> str:
    """An error of DuckDB's whose line numbers are less by so many lines, its caret still under its word.

    >>> print(earlier("Oops\\n\\nLINE 10: a b\\n           ^", lines=9))
    Oops
    <BLANKLINE>
    LINE 1: a b
              ^
    """

    def moved(place: re.Match[str]) -> str:
        head = f"LINE {int(place[1]) - lines}:"
        shift = len(f"LINE {place[1]}:") - len(head)
        return head + place[2] + place[3][shift:]

    return re.sub(r"^LINE (\d+):(.*\n)( *)(?=\^)", moved, text, flags=re.MULTILINE)


def _operators(nodes: list[dict[str, Any]]) -> Iterator[str]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node["name"]
        waiting.extend(node.get("children", ()))
