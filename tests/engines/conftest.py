"""The embedded model's weights, whose engine is in tests/conftest.py; what tests of servers need."""

from __future__ import annotations

from pathlib import Path

import pytest
from asking import KEY

from colcap.engines import openai
from colcap.models.weights import ResolvedModel, resolve


@pytest.fixture(scope="session")
def tiny() -> ResolvedModel:
    return resolve("tiny", model_dir=Path("models"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are repeated soon, and there is a key."""
    monkeypatch.setattr(openai, "FIRST_WAIT_S", 0.02)
    monkeypatch.setenv("TEST_KEY", KEY)
