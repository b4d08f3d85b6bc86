"""JSON schemas of captions: read and checked once, and applied to every answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NoReturn

from colcap.errors import RowError

MAX_SCHEMA_BYTES: Final = 1 << 20
"""A larger file is no schema."""


def resolve(given: str) -> str:
    """A schema's content, on one line, from inline JSON or from a file; the order of its properties is kept.

    Parameters
    ----------
    given : JSON that begins with `{`, or a file's path.

    Raises
    ------
    ValueError : no such file; not JSON; not an object; not a schema; a reference to something outside it.

    Examples
    --------
    >>> resolve('{"type": "object", "required": ["colour"]}')
    '{"type":"object","required":["colour"]}'
    >>> resolve('{"type": "colour"}')
    Traceback (most recent call last):
    ValueError: is no JSON schema: 'colour' is not valid under any of the given schemas (at type)
    """
    text = given if given.lstrip().startswith("{") else _read(Path(given))
    schema = _parse(text, "is not JSON")
    if not isinstance(schema, dict):
        raise ValueError("a schema is a JSON object")  # noqa: TRY004 - what pydantic reports
    _check(schema)
    return json.dumps(schema, separators=(",", ":"), allow_nan=False)


def conform(answer: str, schema: str) -> str:
    """An answer as canonical JSON (sorted keys, no spaces), if it obeys a schema.

    Parameters
    ----------
    answer : what the model said.
    schema : what `resolve` gave.

    Raises
    ------
    RowError : invalid_output, and where it does not.

    Examples
    --------
    >>> conform(' {"b": 1, "a": "x"}', '{"type":"object","required":["a"]}')
    '{"a":"x","b":1}'
    >>> conform('{"b": 1}', '{"type":"object","required":["a"]}')
    Traceback (most recent call last):
    colcap.errors.RowError: invalid_output: the answer does not obey json_schema: 'a' is a required property
    """
    try:
        value = _parse(answer, "the answer is not JSON")
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        canonical.encode()
    except ValueError as error:  # half a surrogate pair and numbers beyond a double among them
        raise RowError("invalid_output", str(error)) from None
    problem = next(_validator(schema).iter_errors(value), None)
    if problem is not None:
        raise RowError("invalid_output", f"the answer does not obey json_schema: {_told(problem)}")
    return canonical


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SCHEMA_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ValueError(f"is neither inline JSON nor a file that can be read: {error}") from None
    if len(content) > MAX_SCHEMA_BYTES:
        raise ValueError(f"{path}: more than {MAX_SCHEMA_BYTES} bytes")
    return content.decode()


def _parse(text: str, problem: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError(f"{problem}: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{problem}: {error}") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _check(schema: dict[str, Any]) -> None:
    import jsonschema
    from referencing.exceptions import Unresolvable

    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
        resolver = _registry(schema).resolver()
        for reference in _references(schema):
            if not reference.startswith("#"):
                raise ValueError(
                    f"refers to {reference!r}: only references within the schema itself (#/…) are followed"
                )
            resolver.lookup(reference)
    except jsonschema.SchemaError as error:
        raise ValueError(f"is no JSON schema: {_told(error)}") from None
    except Unresolvable as error:
        raise ValueError(f"refers to something that is not in it: {error}") from None


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for name, value in part.items():
            if name in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _registry(schema: dict[str, Any]) -> Any:
    """Holds the schema alone: jsonschema would otherwise fetch what a reference names from the network."""
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012

    return Registry().with_resource("", Resource.from_contents(schema, default_specification=DRAFT202012))


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    import jsonschema

    content = json.loads(schema)
    kind = jsonschema.validators.validator_for(content, default=jsonschema.Draft202012Validator)
    return kind(content, registry=_registry(content))


def _told(problem: Any) -> str:
    where = "/".join(str(step) for step in problem.absolute_path)
    return f"{problem.message[:300]} (at {where})" if where else problem.message[:300]
