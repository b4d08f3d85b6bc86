"""Runs to ask."""

from __future__ import annotations

from pathlib import Path

import pytest
import qa_runs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A sound run whose every step ran."""
    return qa_runs.write(tmp_path / "run", qa_runs.full())


@pytest.fixture(params=["empty", "media", "full"])
def any_run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Sound runs that came differently far."""
    tables = {"empty": {}, "media": qa_runs.media(), "full": qa_runs.full()}
    return qa_runs.write(tmp_path / "run", tables[request.param])
