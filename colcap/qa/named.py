"""The named queries of `sql/*.sql`: what they answer, their parameters, and how these get their values.

A file starts with comment lines, then has one SELECT:

    -- What it answers, in plain words.
    -- kind = check
    -- threshold = 0 : rows
    -- param min_chars = 20 : shortest caption that is not suspicious
    select … where length(caption) < $min_chars

`kind` is `check` (every row is something to look at) or `report`. A check's threshold is how much it may find: of the
rows of its answer (`rows`), or of the sum of a column of its answer. A default is JSON: 20, 0.5, true, "text".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Final

import polars as pl

from colcap.errors import QueryError

_PACKAGE: Final = Path(__file__).resolve().parent.parent
_FOLDERS: Final = (_PACKAGE / "sql", _PACKAGE.parent / "sql")
"""Where a wheel has them, and where a checkout has them."""

_KIND: Final = re.compile(r"kind = (check|report)")
_THRESHOLD: Final = re.compile(r"threshold = (\d+) : (\w+)")
_PARAM: Final = re.compile(r"param (\w+) = (.+?) : (.+)")


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a named query."""

    name: str
    """Its `$name` in the SQL."""
    default: bool | int | float | str
    """Its value where none is given; its type is the type of every value."""
    text: str
    """What it does."""

    def parse(self, value: object) -> bool | int | float | str:
        """Turn a command line's text into a value of the default's type.

        >>> Param("limit", 10, "rows").parse("20")
        20
        """
        kind = type(self.default)
        if type(value) is kind:
            return value
        try:
            return {"true": True, "false": False}[str(value).lower()] if kind is bool else kind(str(value))
        except (ValueError, KeyError):
            raise QueryError(f"parameter {self.name} must be {_KINDS[kind]}, got {value!r}") from None


_KINDS: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


@dataclass(frozen=True, slots=True)
class Threshold:
    """How much a check may find."""

    most: int
    """More than this is too much."""
    unit: str
    """What is counted: `rows` of the answer, or the column of the answer that is summed."""


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query with a name."""

    name: str
    """What follows the `@`."""
    title: str
    """What it answers."""
    threshold: Threshold | None
    """How much it may find where it is a check; None for a report."""
    params: tuple[Param, ...]
    """All have defaults."""
    sql: str = field(repr=False)
    """One SELECT."""

    @property
    def is_check(self) -> bool:
        """Every row of its answer is something to look at."""
        return self.threshold is not None

    def bind(self, given: Mapping[str, object]) -> dict[str, object]:
        """Return a value for every parameter.

        Raises
        ------
        QueryError : an unknown parameter, or text that is not of the parameter's type.
        """
        names = [param.name for param in self.params]
        for name in given:
            if name not in names:
                raise QueryError(f"@{self.name} has no parameter {name}{_hint(name, names)}")
        return {p.name: p.parse(given[p.name]) if p.name in given else p.default for p in self.params}


@cache
def named_queries() -> Mapping[str, NamedQuery]:
    """All named queries by name, in alphabetical order."""
    folder = next(folder for folder in _FOLDERS if folder.is_dir())
    return {path.stem: parse(path.stem, path.read_text("utf-8")) for path in sorted(folder.glob("*.sql"))}


def find(name: str) -> NamedQuery:
    """Return a named query.

    Raises
    ------
    QueryError : there is none of this name; says which is nearest.
    """
    queries = named_queries()
    if name not in queries:
        raise QueryError(f"there is no query @{name}{_hint(name, list(queries))}")
    return queries[name]


def listing() -> pl.DataFrame:
    """All named queries: name, kind, title, and their parameters with defaults."""
    rows = [
        (
            q.name,
            "check" if q.is_check else "report",
            q.title,
            " ".join(f"{p.name}={json.dumps(p.default)}" for p in q.params),
        )
        for q in named_queries().values()
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("name", "kind", "title", "params"), pl.String), orient="row")


def _hint(name: str, names: list[str]) -> str:
    near = get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(names) or 'none'}"


def parse(name: str, text: str) -> NamedQuery:
    """Read a named query's file.

    >>> parse("n", '-- How many.\\n-- kind = report\\n-- param least = 3 : of these\\nselect $least').params[0].default
    3
    """
    lines = text.splitlines()
    comments = list(takewhile(lambda line: line.startswith("--"), lines))
    header = [line.removeprefix("--").strip() for line in comments]
    kinds = [match[1] for line in header if (match := _KIND.fullmatch(line))]
    thresholds = [Threshold(int(m[1]), m[2]) for line in header if (m := _THRESHOLD.fullmatch(line))]
    params = [Param(m[1], json.loads(m[2]), m[3]) for line in header if (m := _PARAM.fullmatch(line))]
    title = " ".join(line for line in header if line and not _is_setting(line))
    sql = "\n".join(lines[len(comments) :]).strip()
    if len(kinds) != 1 or not title or not sql:
        raise QueryError(f"{name}.sql: needs a sentence, a kind and a SELECT")
    if len(thresholds) != (kinds[0] == "check"):
        raise QueryError(f"{name}.sql: a check needs a threshold, and nothing else has one")
    return NamedQuery(name, title, thresholds[0] if thresholds else None, tuple(params), sql)


def _is_setting(line: str) -> bool:
    return any(pattern.fullmatch(line) for pattern in (_KIND, _THRESHOLD, _PARAM))
