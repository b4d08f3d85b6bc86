"""Write the pages of docs/ that are generated: `python docs/generate.py`, or `make docs`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from colcap.cli import cli
from colcap.config import CaptionSet, Config
from colcap.flags import FLAGS, Flag
from colcap.models.own import Model
from colcap.qa.named import named_queries
from colcap.schema import LATER_COLUMNS, SET_TABLES, SIDE_TABLES, TABLES
from colcap.sections import Escalation

DOCS: Final = Path(__file__).resolve().parent
MARK: Final = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
REPEATED: Final = {"models": Model, "captions": CaptionSet, "escalation": Escalation}
"""Parameters that are tables of their own, any number of them."""


def filled(page: str) -> str:
    """A page with what stands between its marks made anew."""
    return MARK.sub(lambda found: f"{found[1]}\n{_GENERATORS[found[2]]()}\n{found[3]}", page)


def parameters() -> str:
    """Every parameter of the configuration: a table a section."""
    return "\n".join(line for title, model in _sections("", Config) for line in _section(title, model))


def _sections(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """A section and those below it, by dotted path."""
    yield path, model
    for name, field in model.model_fields.items():
        below = REPEATED.get(name) or field.annotation
        if isinstance(below, type) and issubclass(below, BaseModel) and below is not CaptionSet:
            yield from _sections(f"{path}.{name}".strip("."), below)


def _section(path: str, model: type[BaseModel]) -> Iterator[str]:
    kind = {"models": "[models.NAME]", "captioning.escalation": "[[captioning.escalation]]"}.get(path, f"[{path}]")
    yield f"## `{kind}`\n" if path else "## Top level\n"
    yield f"{_first_paragraph(model)}\n"
    yield "| parameter | default | allowed | what it does | flag |\n|---|---|---|---|---|"
    for name, field in model.model_fields.items():
        if not isinstance(field.default, BaseModel):
            yield _row(f"{path}.{name}".strip("."), name, field)
    yield ""


def _first_paragraph(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split("\n\n")[0].split())


def _row(path: str, name: str, field: FieldInfo) -> str:
    flags = ", ".join(f"`{form}`" for flag in FLAGS if flag.path == path for form in _forms(flag))
    default = "(needed)" if field.is_required() else f"`{_toml(field.get_default(call_default_factory=True))}`"
    return f"| `{name}` | {default} | {_cell(_allowed(field))} | {_cell(field.description or '')} | {flags} |"


def _forms(flag: Flag) -> list[str]:
    """A flag as it can be typed; of one that is on or off, the form that makes the parameter true first."""
    option = next(param for param in cli.commands["run"].params if param.name == flag.variable)
    return [*option.secondary_opts, *option.opts] if flag.inverted else [*option.opts, *option.secondary_opts]


def _toml(value: Any) -> str:
    if value is None:
        return "not set"
    return str(value).lower() if isinstance(value, bool) else "[]" if value == () else str(value)


def _allowed(field: FieldInfo) -> str:
    """Choices, or a type and its bounds."""
    text = str(field.annotation)
    if text.startswith("dict[") and "Model" in text:
        return "tables"
    if choices := re.findall(r"Literal\[([^\]]*)\]", text):
        return choices[0].replace("'", "")
    names = {"dict": "table", "bool": "true, false", "int": "whole number", "float": "number", "str": "text"}
    kind = next((said for name, said in names.items() if re.search(rf"\b{name}\b", text)), "tables")
    return " ".join([kind, *_bounds(field)])


def _bounds(field: FieldInfo) -> Iterator[str]:
    signs = {"ge": "≥", "gt": ">", "le": "≤"}
    inner = [item for arg in get_args(field.annotation) for item in getattr(arg, "__metadata__", ())]
    for item in [*field.metadata, *inner]:
        for part in [*getattr(item, "metadata", ()), item]:
            yield from (f"{sign} {getattr(part, name)}" for name, sign in signs.items() if hasattr(part, name))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def tables() -> str:
    """Every table, and what each of its columns says."""
    notes = tomllib.loads((DOCS / "columns.toml").read_text(encoding="utf-8"))
    lines = []
    for table, columns in {**TABLES, **SIDE_TABLES}.items():
        also = f", and `{table}_latest`" if table in SET_TABLES else ""
        lines += [f"### `{table}`{also}\n", "| column | type | what it says |\n|---|---|---|"]
        for name, kind in columns.items():
            lines.append(f"| `{name}` | {_type(kind)} | {_cell(note(notes, table, name))} |")
        lines.append("")
    later = ", ".join(f"`{name}`" for names in LATER_COLUMNS.values() for name in names)
    return "\n".join([*lines, f"Runs made before there were {later} have nulls there."])


def note(notes: dict[str, dict[str, str]], table: str, column: str) -> str:
    """What a column says; its table's own line, else that of all tables."""
    return notes.get(table, {}).get(column) or notes["all"][column]


def _type(kind: Any) -> str:
    return str(kind).lower()


def queries() -> str:
    """Every named query with its parameters."""
    lines = ["| query | kind | what it answers | parameters |\n|---|---|---|---|"]
    for query in named_queries().values():
        given = "<br>".join(f"`{param.name}={_shown(param.default)}` {_cell(param.text)}" for param in query.params)
        lines.append(
            f"| `@{query.name}` | {'check' if query.is_check else 'report'} | {_cell(query.title)} | {given} |"
        )
    return "\n".join(lines)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else _cell(str(value))


def options() -> str:
    """Every command's options, but for the flags that set parameters."""
    own = {flag.variable for flag in FLAGS}
    lines = []
    for name, command in sorted(cli.commands.items()):
        lines.append(f"**{name}** {' '.join(p.make_metavar(click.Context(command)) for p in _arguments(command))}\n")
        lines += [f"- {_option(p)}" for p in command.params if isinstance(p, click.Option) and p.name not in own]
        lines.append("")
    return "\n".join(lines)


def _arguments(command: click.Command) -> list[click.Parameter]:
    return [param for param in command.params if isinstance(param, click.Argument)]


def _option(option: click.Option) -> str:
    return f"`{', '.join([*option.opts, *option.secondary_opts])}`: {_cell(option.help or '')}"


_GENERATORS: Final = {"parameters": parameters, "tables": tables, "queries": queries, "options": options}


def main() -> None:
    """Fill every page."""
    for page in sorted(DOCS.glob("*.md")):
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
