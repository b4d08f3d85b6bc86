"""Stops a run whose engine fails every request: a bug or a broken engine would otherwise fail every row."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from colcap.engines.base import Generation
from colcap.errors import EngineError

FAILURES_IN_A_ROW: Final = 16
"""So many requests that the engine fails, with no answer between them, are not the requests' fault."""


class Breaker:
    """Counts failures of the engine itself, over all callers.

    Examples
    --------
    >>> from colcap.errors import RowError
    >>> breaker = Breaker()
    >>> failed = Generation(error=RowError("engine_failed", "no more memory"))
    >>> breaker.see([failed] * 15 + [Generation("an answer")] + [failed] * 15)
    >>> breaker.see([failed])
    Traceback (most recent call last):
    colcap.errors.EngineError: the engine failed 16 requests in a row, the last one with: no more memory
    """

    def __init__(self) -> None:
        self._failures, self._lock = 0, threading.Lock()

    def see(self, answers: Iterable[Generation]) -> None:
        """Take note of answers.

        Raises
        ------
        EngineError : the last FAILURES_IN_A_ROW, and maybe more, all failed.
        """
        for answer in answers:
            if answer.error is None:
                self._failures = 0
            elif answer.error.kind == "engine_failed":
                with self._lock:
                    self._failures += 1
                if self._failures >= FAILURES_IN_A_ROW:
                    raise EngineError(
                        f"the engine failed {self._failures} requests in a row, the last one with: {answer.error.text}"
                    )
