"""Fixtures of the media tests: an ffmpeg to compare with, where one is installed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # `import clips`, whatever the import mode


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    """Path of the ffmpeg command; without one the test is skipped, and fails in CI."""
    path = shutil.which("ffmpeg")
    if path is None and os.environ.get("CI") == "true":
        pytest.fail("CI must have ffmpeg: apt-get install ffmpeg")
    if path is None:
        pytest.skip("ffmpeg is not installed")
    return path
