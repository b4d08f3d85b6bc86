"""The embedded model's weights; its engine is in tests/conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from colcap.models.weights import ResolvedModel, resolve


@pytest.fixture(scope="session")
def tiny() -> ResolvedModel:
    return resolve("tiny", model_dir=Path("models"))
