"""The short form of benchmarks/chaos.py: runs killed at seeded moments end as if nobody had disturbed them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHAOS = Path(__file__).parents[2] / "benchmarks" / "chaos.py"


def test_a_run_killed_at_seeded_moments_ends_like_an_undisturbed_one() -> None:
    command = [sys.executable, str(CHAOS), "--kills", "8", "--seed", "6", "--clips", "24"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)

    assert result.returncode == 0, result.stderr
    assert "every life and every end was as it should be" in result.stdout
