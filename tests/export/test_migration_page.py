"""docs/migration.md is checked against the configuration and the tests that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from colcap.config import Captioning, Config, Enhancement, Preview
from colcap.flags import FLAGS
from colcap.schema import TABLES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "migration.md").read_text("utf-8")


def default(path: str) -> object:
    value: object = Config()
    for name in path.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_every_flag_is_there_with_its_parameter_and_default(flag: object) -> None:
    value = default(flag.path)  # type: ignore[attr-defined]
    shown = not value if flag.inverted else value  # type: ignore[attr-defined]
    row = f"| `--{flag.name}` | `{flag.path}` | `{shown!r}` |"  # type: ignore[attr-defined]

    assert row in PAGE


@pytest.mark.parametrize("section", [Captioning, Preview, Enhancement])
def test_every_parameter_is_there(section: type[BaseModel]) -> None:
    name = {Captioning: "captioning", Preview: "preview", Enhancement: "enhancement"}[section]

    assert [field for field in section.model_fields if f"`{name}.{field}" not in PAGE] == []


def test_every_table_is_there() -> None:
    assert [table for table in TABLES if f"`{table}`" not in PAGE] == []


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", PAGE)

    assert len(named) >= 9
    for path, test in named:
        assert f"def {test}(" in (ROOT / path).read_text("utf-8"), test
