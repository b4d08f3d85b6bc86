"""A clock that stands still while the process is stopped: a task is not late for the time that its run was paused."""

from __future__ import annotations

import threading
import time
from typing import Final

MAX_STEP_S: Final = 1.0
"""Most time that passes between two looks at the clock. Whoever waits looks ten times a second; after a longer gap the
process was stopped (Ctrl-Z, SIGSTOP, a frozen container), and its workers with it."""


class AwakeClock:
    """Seconds since it was made, without those in which nobody could look at it; any thread may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._passed = 0.0

    def time(self) -> float:
        """What pebble calls instead of `time.time`, which also jumps when the clock on the wall is set."""
        with self._lock:
            now = time.monotonic()
            self._passed += min(now - self._last, MAX_STEP_S)
            self._last = now
            return self._passed
