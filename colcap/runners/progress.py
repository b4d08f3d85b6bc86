"""What a run has done so far, and the two ways to show it: a live display, or a plain line now and then."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import polars as pl
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Display

LINE_EVERY_S: Final = 10.0
"""Without a terminal, one line this often, in seconds."""

KINDS_SHOWN: Final = 3
"""Kinds of errors that a line names, the most frequent first."""


@dataclass(slots=True)
class Progress:
    """Counters that all stages add to."""

    total_parts: int
    total_clips: int
    """Clips in the parts that are to do."""
    captioning: bool
    idle_share: Callable[[], float | None] = field(default=lambda: None)
    """Share of the engine's time, since it was ready, in which it had nothing to do."""
    started: float = field(default_factory=time.monotonic)
    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    engine_ready: float | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **counts: int) -> None:
        """Count what was done: clips, windows, captions, parts."""
        with self._lock:
            self.counts.update(counts)

    def mark_engine_ready(self, ago_s: float = 0.0) -> None:
        """Captions are made from now on, or have been for so many seconds."""
        since = time.monotonic() - ago_s
        self.engine_ready = since if self.engine_ready is None else min(since, self.engine_ready)

    def add_captions(self, captions: pl.DataFrame) -> None:
        """Count captions, and those of them that failed."""
        self.add(captions=captions["window_id"].n_unique())  # one that was asked again has several rows
        self.add_errors(captions)

    def add_errors(self, rows: pl.DataFrame) -> None:
        """Count the rows that failed, by kind."""
        with self._lock:
            self.errors.update(rows["error_kind"].drop_nulls().to_list())

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def captions_per_s(self) -> float:
        """Captions per second since the engine was ready."""
        if self.engine_ready is None:
            return 0.0
        return self.counts["captions"] / max(1e-3, time.monotonic() - self.engine_ready)

    @property
    def share(self) -> float:
        """How much of the work is done, 0 to 1; a clip counts once its windows are captioned."""
        clips, windows = self.counts["clips"] / max(1, self.total_clips), self.counts["windows"]
        if not self.captioning or not windows:
            return min(1.0, clips) if not self.captioning else 0.0
        return min(1.0, max(clips, self.counts["parts"] / self.total_parts) * self.counts["captions"] / windows)

    @property
    def left_s(self) -> float | None:
        """Seconds left at this pace; None while nothing can be said."""
        return self.elapsed_s * (1 - self.share) / self.share if self.share > 0.01 else None

    def line(self) -> str:
        """One line for a person."""
        engine = self._engine_words() if self.captioning else []
        left = "?" if self.left_s is None else _clock(self.left_s)
        return " · ".join([*self._done_words(), *engine, self._error_words(), f"left {left}"])

    def _error_words(self) -> str:
        with self._lock:
            kinds = self.errors.most_common()
        more = [f"{sum(count for _, count in kinds[KINDS_SHOWN:])} other"] if len(kinds) > KINDS_SHOWN else []
        told = ", ".join([*(f"{count} {kind}" for kind, count in kinds[:KINDS_SHOWN]), *more])
        return f"errors {self.errors.total()}" + (f" ({told})" if told else "")

    def _done_words(self) -> list[str]:
        c = self.counts
        words = [f"parts {c['parts']}/{self.total_parts}", f"clips {c['clips']}/{self.total_clips}"]
        words.append(f"windows {c['windows']}")
        return [*words, f"captions {c['captions']} ({self.captions_per_s:.1f}/s)"] if self.captioning else words

    def _engine_words(self) -> list[str]:
        idle = self.idle_share()
        return ["engine starting" if idle is None else f"engine idle {idle:.0%}"]


class EnhanceProgress(Progress):
    """The same for enhancement: `total_clips` counts captions."""

    @property
    def share(self) -> float:
        """How much of the work is done, 0 to 1."""
        return min(1.0, self.counts["captions"] / max(1, self.total_clips))

    def _done_words(self) -> list[str]:
        return [f"enhanced {self.counts['captions']}/{self.total_clips} ({self.captions_per_s:.1f}/s)"]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def shown(progress: Progress, console: Console | None) -> Iterator[None]:
    """Show progress while the block runs: live on a terminal, else as plain lines; not at all without a console."""
    if console is None:
        yield
        return
    done = threading.Event()
    show = _live if console.is_terminal else _lines
    thread = threading.Thread(target=show, args=(progress, console, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _live(progress: Progress, console: Console, done: threading.Event) -> None:
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}"))
    with Display(*columns, TimeElapsedColumn(), console=console, refresh_per_second=4) as display:
        bar = display.add_task(progress.line(), total=1.0)
        while not done.wait(0.25):
            display.update(bar, completed=progress.share, description=progress.line())
        display.update(bar, completed=progress.share, description=progress.line())


def _lines(progress: Progress, console: Console, done: threading.Event) -> None:
    while not done.wait(LINE_EVERY_S):
        console.print(progress.line(), highlight=False, soft_wrap=True)
    console.print(progress.line(), highlight=False, soft_wrap=True)
