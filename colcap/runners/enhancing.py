"""Enhancement, part by part, once captions are there: on an engine of its own, or long after the run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from colcap import store
from colcap.config import fingerprint
from colcap.errors import RunError
from colcap.runners.local import WAKE_S
from colcap.runners.part import commit_attempt
from colcap.runners.plan import attempts, next_attempt
from colcap.runners.progress import Progress

PARTS_IN_FLIGHT: Final = 2
"""So that the tail of one part's last batch overlaps the next part's first."""

COLUMNS: Final = ("window_id", "attempt", "caption", "status", "error_kind", "error")


@dataclass(frozen=True, slots=True)
class EnhanceTodo:
    """A part whose captions have no enhancement of the kind that is wanted."""

    part: int
    attempt: int
    """Number the new attempt will have."""
    fingerprint: str
    """Hash of the choices and of the captions it is made from."""


def plan_enhancement(run: Path, caption_set: str, choices: Mapping[str, Any]) -> list[EnhanceTodo]:
    """Which parts to enhance: those whose newest enhancement was made from other captions or with other choices.

    Parameters
    ----------
    run : the run folder.
    caption_set : whose captions.
    choices : what the user chose that can change the text.
    """
    done = attempts(store.table_dir(run, "enhanced", caption_set))
    todo = []
    for part, captions in sorted(attempts(store.table_dir(run, "captions", caption_set)).items()):
        basis = [[attempt, footer.fingerprint, footer.rows] for attempt, footer in captions]
        wanted = fingerprint({"choices": dict(choices), "captions": basis})
        if attempt := next_attempt(done.get(part, []), wanted):
            todo.append(EnhanceTodo(part, attempt, wanted))
    return todo


def latest_captions(run: Path, caption_set: str, part: int) -> pl.DataFrame:
    """A part's winning captions: per window the newest attempt that is ok, else the newest."""
    files = [file.path for file in store.list_parts(store.table_dir(run, "captions", caption_set)) if file.part == part]
    every = pl.concat(pl.read_parquet(path, columns=list(COLUMNS)) for path in files)
    best_first = every.sort(pl.col("status") == "ok", "attempt", descending=True, maintain_order=True)
    return best_first.unique("window_id", keep="first", maintain_order=True).sort("window_id")


class Enhancer:
    """Enhances the parts of a run; `run` returns when all are committed, or raises."""

    def __init__(
        self,
        run: Path,
        caption_set: str,
        step: Callable[[EnhanceTodo], Callable[[pl.DataFrame], pl.DataFrame]],
        progress: Progress,
        *,
        batch_size: int,
        cancel: Callable[[], None],
    ) -> None:
        self.folder, self.caption_set, self.step, self.progress = run, caption_set, step, progress
        self.batch_size, self.cancel = batch_size, cancel
        self._stop = threading.Event()

    def run(self, todo: Sequence[EnhanceTodo]) -> None:
        """Enhance these parts."""
        pool = ThreadPoolExecutor(PARTS_IN_FLIGHT)
        futures = [pool.submit(self._enhance, part) for part in todo]
        try:
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, WAKE_S, FIRST_EXCEPTION)
                for future in done:
                    future.result()
        except BaseException:  # Ctrl-C, a dead engine, a full disk
            self._stop.set()
            self.cancel()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _enhance(self, todo: EnhanceTodo) -> None:
        step = self.step(todo)
        if self.progress.engine_ready is None:
            self.progress.mark_engine_ready()
        captions = latest_captions(self.folder, self.caption_set, todo.part)
        rows = []
        for batch in captions.iter_slices(self.batch_size):
            if self._stop.is_set():
                return
            rows.append(step(batch))
            self.progress.add_captions(rows[-1])
        self._commit(todo, rows)
        self.progress.add(parts=1)

    def _commit(self, todo: EnhanceTodo, rows: Sequence[pl.DataFrame]) -> None:
        folder = store.table_dir(self.folder, "enhanced", self.caption_set)
        file = store.PartFile(todo.part, todo.attempt, folder / store.part_name(todo.part, todo.attempt))
        try:
            commit_attempt(self.folder, "enhanced", file, rows, fingerprint=todo.fingerprint)
        except OSError as error:
            raise store.disk_error(self.folder, error) from error


def count_captions(run: Path, caption_set: str, todo: Sequence[EnhanceTodo]) -> int:
    """How many windows these parts have captions of."""
    wanted = {part.part for part in todo}
    there = attempts(store.table_dir(run, "captions", caption_set))
    return sum(max(footer.rows for _, footer in found) for part, found in there.items() if part in wanted)


def require_captions(run: Path, caption_set: str) -> None:
    """Refuse to enhance what is not there.

    Raises
    ------
    RunError : the run has no captions of that set.
    """
    if not store.list_parts(store.table_dir(run, "captions", caption_set)):
        raise RunError(f"{run}: has no captions of the set {caption_set!r} to enhance")
