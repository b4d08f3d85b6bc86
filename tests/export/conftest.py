"""Runs to export."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.extend(str(Path(__file__).parents[1] / name) for name in ("qa", "runs"))

import qa_runs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A sound run whose every step ran; clip `gone` failed, and the preview of clip `b`."""
    return qa_runs.write(tmp_path / "run", qa_runs.full())
