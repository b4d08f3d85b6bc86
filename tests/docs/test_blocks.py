"""Every code block and command of README and docs works as it stands there."""

from __future__ import annotations

import re
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
from blocks import CHECKOUT, NEEDS, PAGES, Block, blocks, inline_commands, words
from click.testing import CliRunner

import colcap
from colcap import config, demo
from colcap.cli import cli
from colcap.engines.base import Engine
from colcap.runners import launch, make

ALL = [block for page in PAGES for block in blocks(page)]
HERE = [block for block in ALL if not block.needs]


class Lent:
    """A running engine that whoever is lent it cannot stop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def close(self) -> None:
        """Stays open: it is the suite's."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_engine: Engine) -> Path:
    """Where a reader would be: the demo's clips in `clips/`, and their captions in `out/`."""
    folder = tmp_path_factory.mktemp("reader")
    demo.make_clips(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)  # the manifest as a reader makes it: the run remembers what it was made of
        assert CliRunner().invoke(cli, ["manifest", "clips/", "-o", "clips.parquet"]).exit_code == 0
        colcap.run("clips.parquet", "out", captioning={"model_variant": "tiny"}, engine=tiny_engine)
    return folder


@pytest.fixture
def reader(folder: Path, tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder as the working folder; whatever would start an engine is lent the suite's."""
    monkeypatch.chdir(folder)
    for module in (make, colcap.runners.engine):
        monkeypatch.setattr(module, "start_engine", lambda *_: Lent(tiny_engine))
    monkeypatch.setattr(launch, "start_text_engine", lambda *_: Lent(tiny_engine))
    return folder


def of(*languages: str) -> Any:
    found = [block for block in HERE if block.language in languages]
    return pytest.mark.parametrize("block", found, ids=str)


@of("sh", "console")
def test_commands_run_as_typed(block: Block, reader: Path) -> None:
    for command in block.commands:
        name, *args = words(command)
        assert name == "colcap", f"{command}: say what it needs"
        result = CliRunner().invoke(cli, args)

        assert result.exit_code == 0, f"{command}\n{result.output}\n{result.exception!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_python_blocks_of_a_page_run_one_after_the_other(page: Path, reader: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python" and not block.needs:
            exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), names)


@of("sql")
def test_queries_run(block: Block, reader: Path) -> None:
    assert colcap.open("out").sql(block.text).width


@of("toml")
def test_configurations_are_valid(block: Block) -> None:
    assert config.parse(tomllib.loads(block.text))


@pytest.mark.parametrize("block", [b for b in ALL if b.needs], ids=str)
def test_commands_that_are_not_run_have_flags_that_exist(block: Block) -> None:
    assert block.needs in NEEDS
    if block.language in ("sh", "console"):
        for command in block.commands:
            parse(command)


def test_what_is_neither_run_nor_marked_has_no_commands() -> None:
    rest = [block for block in ALL if block.language not in ("sh", "console", "python", "sql", "toml")]

    assert {block.language for block in rest} == {""}
    command = re.compile(r"^(\$ )?(colcap|make|pip|python) ", re.MULTILINE)
    assert [str(block) for block in rest if command.search(block.text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_commands_in_the_running_text_exist(page: Path) -> None:
    for command in inline_commands(page):
        parse(command)


def parse(command: str) -> None:
    """Parse a colcap command, or find a make target or script; other programs' flags are their own."""
    name, *args = words(command) if re.match(r"colcap |make |python ", command) else ("other",)
    if name == "colcap" and args[0] not in ("COMMAND", "--version"):
        with click.Context(cli) as context:
            _, verb, rest = cli.resolve_command(context, args)
            assert verb
            with suppress(click.MissingParameter):  # running text may leave out what goes without saying
                verb.make_context(str(verb.name), rest, parent=context)
    if name == "make":
        subprocess.run(["make", "--dry-run", *args], cwd=CHECKOUT, check=True, capture_output=True)
    if name == "python":
        assert (CHECKOUT / args[0]).exists(), command


def test_scripts_that_pages_name_exist() -> None:
    named = {found for page in PAGES for found in re.findall(r"`(?:python|pytest) ([\w/]+\.py)", page.read_text())}

    assert named
    assert [path for path in sorted(named) if not (CHECKOUT / path).exists()] == []


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in [*PAGES, *CHECKOUT.glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")

    assert broken == []
