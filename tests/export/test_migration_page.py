"""docs/migration.md is checked against the configuration and the tests that it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from colcap.cli import cli
from colcap.config import Captioning, Config, Enhancement, Preview
from colcap.flags import FLAGS, Flag, parameters
from colcap.schema import TABLES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "migration.md").read_text("utf-8")

REFERENCE = {
    "generate_previews": True,
    "captioning.model_variant": "qwen",
    "captioning.prompt_variant": "default",
    "captioning.prompt_text": None,
    "captioning.sampling_fps": 2.0,
    "captioning.window_size": 256,
    "captioning.remainder_threshold": 128,
    "captioning.model_does_preprocess": False,
    "captioning.preprocess_dtype": "float32",
    "captioning.model_dir": "models/qwen",
    "captioning.caption_batch_size": 16,
    "captioning.fp8": False,
    "captioning.max_output_tokens": 512,
    "captioning.disable_mmcache": False,
    "captioning.generate_stage2_caption": False,
    "captioning.stage2_prompt_text": None,
    "captioning.verbose": False,
    "preview.target_fps": 1.0,
    "preview.target_height": 240,
    "preview.compression_level": 6,
    "preview.quality": 50,
    "preview.num_cpus_per_worker": 4.0,
    "preview.verbose": False,
    "enhancement.model_dir": "models/qwen",
    "enhancement.model_variant": "qwen",
    "enhancement.prompt_variant": "default",
    "enhancement.prompt_text": None,
    "enhancement.model_batch_size": 128,
    "enhancement.fp8": False,
    "enhancement.max_output_tokens": 512,
    "enhancement.verbose": False,
}
"""Every parameter of the reference's captions-and-preview page, and its default there."""

STAGES = ["caption preparation", "preview", "caption generation", "caption enhancement"]
"""The reference's stages between clips and what is written."""

DEFECTS = [
    "One clip's failure ends its batch",
    "Clips under 4 frames leave no row; webm and fragmented clips vanish; previews without captions do nothing",
    "A preview that fails leaves only a log line",
    "The engine gets one video's windows at a time and drains between videos",
    "Errors are keys without text",
    "A rerun with a new prompt keeps the old captions",
    "The finish reason is thrown away",
    "Prompts keep their 8 spaces of indentation",
]
"""What the reference gets wrong by DESIGN 7; the page may know of more."""

DIFFERS = {"captioning.preprocess_dtype": "auto"}
"""Those that are not as there."""


def default(path: str) -> object:
    value: object = Config()
    for name in path.split("."):
        value = getattr(value, name)
    return value


ROWS = dict(re.findall(r"^\| `--([\w-]+)` \| `([\w.]+)` \|", PAGE, re.MULTILINE))


@pytest.mark.parametrize(("path", "expected"), REFERENCE.items())
def test_a_parameter_of_the_reference_has_its_name_and_default_or_a_note(path: str, expected: object) -> None:
    here = default(path)

    assert (here, path in DIFFERS) == (DIFFERS.get(path, expected), here != expected)
    assert path not in DIFFERS or f"`{path}` is `{here}`, there `{expected}`" in PAGE
    assert f"`{path}`" in PAGE


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.path in REFERENCE], ids=lambda flag: flag.name)
def test_a_flag_of_the_reference_is_there_with_its_parameter_and_default(flag: Flag) -> None:
    value = default(flag.path)

    assert f"| `--{flag.name}` | `{flag.path}` | `{(not value if flag.inverted else value)!r}` |" in PAGE


def test_every_flag_on_the_page_exists_and_sets_what_it_says() -> None:
    assert {flag.name: flag.path for flag in FLAGS if flag.name in ROWS} | {"verbose": ""} == {**ROWS, "verbose": ""}
    assert len(ROWS) >= 30


def test_the_scripts_own_spelling_of_a_flag_is_taken() -> None:
    command = cli.commands["run"]
    args = ["m.parquet", "out", "--enhance-captioning-prompt-variant", "av-surveillance"]
    with command.make_context("run", args) as context:
        result = parameters(context.params)

    assert result == {"enhancement": {"prompt_variant": "av-surveillance"}}


@pytest.mark.parametrize("section", [Captioning, Preview, Enhancement])
def test_every_parameter_is_there(section: type[BaseModel]) -> None:
    name = {Captioning: "captioning", Preview: "preview", Enhancement: "enhancement"}[section]

    assert [field for field in section.model_fields if f"`{name}.{field}" not in PAGE] == []


def test_every_table_is_there() -> None:
    assert [table for table in TABLES if f"`{table}`" not in PAGE] == []


def test_every_stage_has_its_step() -> None:
    part = PAGE.split("## Stage to step")[1].split("\n## ")[0]

    assert re.findall(r"^\| ([a-z ]+)(?:: [^|]*)? \| \S", part, re.MULTILINE)[1:] == STAGES


def test_every_defect_has_a_test_that_exists() -> None:
    rows = re.findall(r"^\| ([^|`]+) \| `(tests/[\w/]+\.py)::(test_\w+)` \|$", PAGE, re.MULTILINE)

    assert [defect for defect in DEFECTS if defect not in {name for name, _, _ in rows}] == []
    for _, path, test in rows:
        assert f"def {test}(" in (ROOT / path).read_text("utf-8"), test
