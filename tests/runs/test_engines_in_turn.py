"""The text model starts when the video model has been shut down: both together need not fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import colcap
from colcap.engines import vllm
from colcap.engines.base import EngineStats, Generation, Request, Sampling
from colcap.models.weights import ResolvedModel

TINY = {"model_variant": "tiny"}
happened: list[str] = []


class Heard:
    """Tells when it is started, asked and closed."""

    revision = None

    def __init__(self, model: ResolvedModel, **given: Any) -> None:
        self.model, self.stats = model.id, EngineStats()
        self._kind = "vision" if "preprocess_dtype" in given else "text"
        happened.append(f"{self._kind} starts")

    def wait(self) -> None:
        """Ready at once."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """One word for every request."""
        assert happened[-1] == f"{self._kind} starts"
        return [Generation("yes", 1, 1, "stop") for _ in requests]

    def close(self) -> None:
        happened.append(f"{self._kind} closed")


def test_one_engine_at_a_time(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened.clear()
    monkeypatch.setattr(vllm, "VllmEngine", Heard)
    options = {"captioning": TINY, "enhancement": TINY, "generate_previews": False}

    run = colcap.run(manifest, tmp_path / "out", enhance_captions=True, **options)

    assert happened == ["vision starts", "vision closed", "text starts", "text closed"]
    assert run.enhanced.collect()["enhanced_caption"].to_list() == ["yes"] * 4
