"""A user's own models are data in the configuration, beside the built-in ones and never in their place."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import colcap
from colcap.config import load, parse
from colcap.engines.base import Engine
from colcap.errors import ConfigError, WeightsError
from colcap.models.weights import resolve
from colcap.runners import choices
from colcap.runners.runfile import saved_config

TINY = resolve("tiny", model_dir=Path("models"))
BUDGET = {"factor": 28, "min_pixels": 784, "max_pixels": 7840, "total_pixels": 784000}


def named(model: dict[str, Any], **captioning: Any) -> dict[str, Any]:
    return {"models": {"my-vl": model}, "captioning": {"model_variant": "my-vl", **captioning}}


def test_a_hub_model_with_its_budget(tmp_path: Path) -> None:
    shutil.copytree(TINY.path, tmp_path / "me" / "vl")
    model = {"id": "me/vl", "revision": "0123abc", "family": "qwen2_5_vl", **BUDGET}

    result = choices.resolve_model(parse(named(model, model_dir=str(tmp_path))))

    assert (result.id, result.revision, result.path) == ("me/vl", "0123abc", tmp_path / "me" / "vl")
    assert (result.factor, result.min_pixels, result.max_pixels, result.total_pixels) == tuple(BUDGET.values())


def test_a_folder_has_its_own_budget_unless_told_another(tmp_path: Path) -> None:
    shutil.copytree(TINY.path, tmp_path / "vl")

    plain = choices.resolve_model(parse(named({"id": str(tmp_path / "vl")})))
    told = choices.resolve_model(parse(named({"id": str(tmp_path / "vl"), **BUDGET})))

    assert (plain.id, plain.revision, plain.max_pixels) == ("vl", TINY.revision, TINY.max_pixels)
    assert (told.id, told.revision, told.max_pixels) == ("vl", TINY.revision, 7840)


def test_a_text_model(tmp_path: Path) -> None:
    folder = shutil.copytree(TINY.path, tmp_path / "llm")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    config = {"models": {"my-llm": {"id": str(folder), "kind": "text"}}, "enhancement": {"model_variant": "my-llm"}}

    result = choices.resolve_text_model(parse(config))

    assert (result.id, result.family, result.max_pixels) == ("llm", "text", 0)


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"qwen": {"id": "me/vl"}}, ["models", "qwen is built in"]),
        ({"tiny": {"id": "me/vl"}}, ["models", "tiny is built in"]),
        ({"../x": {"id": "me/vl"}}, ["models.../x", "pattern"]),
        ({"a": {}}, ["models.a.id", "required"]),
        ({"a": {"id": "me/vl", "famly": "qwen3_vl"}}, ["models.a.famly", "unknown", "did you mean family"]),
        ({"family": {"id": "me/vl", "famly": "qwen3_vl"}}, ["models.family.famly", "unknown", "did you mean family"]),
        ({"a": {"id": "me/vl", "family": "llava"}}, ["models.a.family", "'llava'", "qwen3_vl"]),
        ({"a": {"id": "me/vl", "factor": 28}}, ["models.a", "missing: min_pixels, max_pixels, total_pixels"]),
        ({"a": {"id": "me/vl", **BUDGET, "min_pixels": 9999}}, ["models.a", "at most max_pixels"]),
        ({"a": {"id": "me/llm", "kind": "text", **BUDGET}}, ["models.a", "neither family nor pixels"]),
    ],
)
def test_wrong_entries_are_refused_by_name(models: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        parse({"models": models})

    assert all(words in str(refused.value) for words in told), refused.value


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"id": "/nowhere/at/all"}, "models.my-vl: id '/nowhere/at/all' is neither a folder that exists nor a hub id"),
        (
            {"id": str(TINY.path), "family": "qwen3_vl"},
            "says model_type 'qwen2_5_vl', but the model is named as 'qwen3",
        ),
        ({"id": "me/vl", "kind": "text"}, "no model 'my-vl'"),
    ],
)
def test_entries_that_lead_nowhere(tmp_path: Path, model: dict[str, Any], words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        choices.resolve_model(parse(named(model, model_dir=str(tmp_path))), allow_download=False)


def test_a_run_keeps_its_models(manifest: Path, tiny_engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        f"[models.my-vl]\nid = {json.dumps(str(TINY.path))}\n"
        "factor = 28\nmin_pixels = 784\nmax_pixels = 7840\ntotal_pixels = 784000\n"
        '[captioning]\nmodel_variant = "my-vl"\n'
    )

    run = colcap.run(
        manifest, tmp_path / "run", config=tmp_path / "c.toml", engine=tiny_engine, limit=1, generate_previews=False
    )

    assert saved_config(run.path).models == parse(load(tmp_path / "c.toml")).models
    assert run.captions.collect().select("frame_width", "frame_height").rows() == [(84, 84)]
    before = sorted((run.path / "captions").rglob("*.parquet"))
    colcap.run(manifest, run.path, engine=tiny_engine, limit=1)  # nothing given: as it was
    assert sorted((run.path / "captions").rglob("*.parquet")) == before
