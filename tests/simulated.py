"""The simulated engine of benchmarks/simulated_engine.py as a process of its own, for tests and benchmarks."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "simulated_engine.py"


@dataclass(frozen=True, slots=True)
class Simulated:
    """A running simulated engine."""

    url: str
    """For `captioning.server.api_base`."""

    def stats(self) -> dict[str, Any]:
        """What it did since the last reset."""
        with urllib.request.urlopen(f"{self.url.removesuffix('/v1')}/stats") as answer:
            return dict(json.load(answer))

    def reset(self) -> None:
        """Forget what was."""
        request = urllib.request.Request(f"{self.url.removesuffix('/v1')}/reset", method="POST")
        urllib.request.urlopen(request).close()

    def captioning(self, **server: Any) -> dict[str, Any]:
        """Captioning parameters of a run that asks it."""
        options = {"api_base": self.url, "video_as": "images", **server}
        return {"engine": "openai", "model_variant": "simulated", "server": options}


@contextmanager
def simulated_engine(**options: float) -> Iterator[Simulated]:
    """Start one; options are its command line's, with underscores: slots, prefill_ms, token_ms, mean_tokens, …"""
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    process = subprocess.Popen([sys.executable, str(SCRIPT), *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield Simulated(process.stdout.readline().strip())
    finally:
        process.terminate()
        process.wait(10)
