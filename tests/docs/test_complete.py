"""Nothing that a user can name is undocumented, and generated pages are fresh."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import get_args

import click
import pytest
import qa_runs
from blocks import CHECKOUT, PAGES, words
from blocks import blocks as blocks_of

import colcap
from colcap.cli import cli
from colcap.config import Captioning
from colcap.errors import ERROR_KINDS
from colcap.export import FORMATS
from colcap.flags import FLAGS, Flag
from colcap.models.registry import TINY, VARIANTS
from colcap.qa.named import named_queries
from colcap.qa.queries import ask
from colcap.run_folder import Run
from colcap.schema import BLOB_TABLES, SET_TABLES, SIDE_TABLES, TABLES

DOCS = CHECKOUT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_generated_parts_are_fresh(path: Path) -> None:
    """`make docs` mends it."""
    text = path.read_text(encoding="utf-8")

    assert runpy.run_path(str(DOCS / "generate.py"))["filled"](text) == text


def test_everything_that_is_generated_has_its_place_and_says_something() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    generators = runpy.run_path(str(DOCS / "generate.py"))["_GENERATORS"]

    assert sorted(re.findall(r"^<!-- generated: (\w+) -->$", text, re.MULTILINE)) == sorted(generators)
    assert text.count("<!-- end -->") == len(generators)
    assert [row for row in generators["parameters"]().splitlines() if row.startswith("|") and "|  |" in row[:-3]] == []


def test_every_command_has_an_example_and_every_option_a_line() -> None:
    text = page("cli.md")
    shown = {list(words(line))[1] for block in blocks_of(DOCS / "cli.md") for line in block.commands}

    assert shown == set(cli.commands)
    parameters = {form for flag in FLAGS for form in forms(option_of(flag))}
    for name, command in cli.commands.items():
        section = text.split(f"\n**{name}**")[1].split("\n**")[0]
        listed = [re.findall(r"--?[\w-]+", line) for line in re.findall(r"^- `([^`]+)`: \S", section, re.MULTILINE)]
        options = [forms(option) for option in command.params if isinstance(option, click.Option)]
        assert listed == [each for each in options if not parameters.issuperset(each)], name


def forms(option: click.Parameter) -> list[str]:
    """An option as it can be typed: its names, and those that switch it off."""
    return [*option.opts, *option.secondary_opts]


def option_of(flag: Flag) -> click.Parameter:
    return next(param for param in cli.commands["run"].params if param.name == flag.variable)


def test_every_flag_is_in_the_configuration_reference_in_each_form_at_its_parameter() -> None:
    heading, rows = "", {}
    for line in page("configuration.md").splitlines():
        heading = line.removeprefix("## ") if line.startswith("## ") else heading
        if (row := re.match(r"\| `(\w+)` .*\| ([^|]*) \|$", line)) and row[2]:
            rows[".".join([*re.findall(r"`\[([\w.]+)\]`", heading), row[1]])] = set(re.findall(r"`([^`]+)`", row[2]))

    assert rows == {flag.path: set(forms(option_of(flag))) for flag in FLAGS}


def test_every_column_of_every_view_is_described_and_nothing_else() -> None:
    text = page("sql.md")
    tables = {**TABLES, **SIDE_TABLES}
    described = {
        table: re.findall(r"^\| `(\w+)` \| \w+ \| \S", part.split("\n### ")[0], re.MULTILINE)
        for table in tables
        for part in [text.split(f"\n### `{table}`")[1]]
    }
    notes = tomllib.loads((DOCS / "columns.toml").read_text(encoding="utf-8"))
    stale = [
        (table, name)
        for table, columns in notes.items()
        for name in columns
        if not any(name in tables[each] for each in (tables if table == "all" else [table]))
    ]

    assert described == {table: list(columns) for table, columns in tables.items()}
    assert stale == []


def test_every_view_is_a_table_that_is_described(tmp_path: Path) -> None:
    run = qa_runs.write(tmp_path / "run", {})
    views = set(ask(run, "show tables")["name"])

    assert views == {f"{name}_latest" for name in SET_TABLES} | (set(TABLES) - set(BLOB_TABLES)) | set(SIDE_TABLES)


def test_every_named_query_is_in_the_sql_page() -> None:
    assert [name for name in named_queries() if f"`@{name}`" not in page("sql.md")] == []


def test_every_error_kind_says_what_to_do() -> None:
    headings = re.findall(r"^### `(\w+)`$", page("troubleshooting.md"), re.MULTILINE)

    assert headings == list(ERROR_KINDS)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("export.md", list(FORMATS)),
        ("models.md", [*VARIANTS["vision"], *VARIANTS["text"], TINY]),
        ("notebooks.md", [path.name for path in sorted((CHECKOUT / "notebooks").glob("*.ipynb"))]),
    ],
)
def test_every_format_model_and_notebook_has_a_row(name: str, rows: list[str]) -> None:
    said = "\n".join(re.findall(r"^\| (`[^|]+) \| \S", page(name), re.MULTILINE))

    assert [row for row in rows if f"`{row}`" not in said] == []


def test_every_engine_has_a_heading() -> None:
    engines = get_args(Captioning.model_fields["engine"].annotation)

    assert [name for name in engines if f"\n## {name}\n" not in page("engines.md")] == []


def test_every_public_name_is_in_the_python_page() -> None:
    text = page("python.md")
    methods = {name for name in vars(Run) if not name.startswith("_")}

    assert set(re.findall(r"\bcolcap\.(\w+)", text)) == set(colcap.__all__)
    assert methods <= set(re.findall(r"\brun\.(\w+)", text))


def test_every_benchmark_is_listed_and_nothing_else() -> None:
    folder = CHECKOUT / "benchmarks"
    scripts = {path.name for path in folder.glob("*.py") if '__name__ == "__main__"' in path.read_text("utf-8")}
    listed = re.findall(r"^\| `python benchmarks/(\w+\.py)", (folder / "README.md").read_text("utf-8"), re.MULTILINE)

    assert sorted(listed) == sorted(scripts)


def test_every_page_is_in_the_index() -> None:
    index = page("README.md")

    assert [
        path.name for path in PAGES if path.parent == DOCS and path.name != "README.md" and path.name not in index
    ] == []
