"""Enhancement, part by part, once captions are there: on an engine of its own, or long after the run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl

from colcap import manifests, store
from colcap.errors import RunError
from colcap.fingerprints import fingerprint
from colcap.runners.feeding import Feeding
from colcap.runners.local import WAKE_S
from colcap.runners.part import Attempt
from colcap.runners.plan import attempts, new_attempt, newest_whole
from colcap.runners.progress import Progress
from colcap.runners.queues import Cancelled
from colcap.runners.timings import Timings
from colcap.steps.media_rows import clip_of

COLUMNS: Final = ("window_id", "attempt", "caption", "status", "error_kind", "error")


@dataclass(frozen=True, slots=True)
class EnhanceTodo:
    """A part whose captions have no enhancement of the kind that is wanted."""

    part: int
    attempt: int
    """Number the new attempt will have."""
    fingerprint: str
    """Hash of the choices."""
    basis: str
    """Hash of the caption attempts there are."""
    scope: str
    """Of the new attempt, see `store.Footer`."""
    windows: frozenset[str] | None = None
    """Only these; None: all, or where there is an enhancement already, those whose caption is another since."""


def plan_enhancement(
    run: Path, caption_set: str, choices: Mapping[str, Any], *, windows: frozenset[str] | None = None
) -> list[EnhanceTodo]:
    """Which parts to enhance: those whose newest enhancement was made from other captions or with other choices.

    Parameters
    ----------
    run : the run folder.
    caption_set : whose captions.
    choices : what the user chose that can change the text.
    windows : enhance these, chosen by hand, and no others.
    """
    wanted = fingerprint(choices)
    done = attempts(run, "enhanced", caption_set)
    chosen = None if windows is None else _by_part(run, windows)
    todo = []
    for part, captions in sorted(attempts(run, "captions", caption_set).items()):
        basis = fingerprint({"captions": [[attempt, footer.fingerprint, footer.rows] for attempt, footer in captions]})
        there = done.get(part, [])
        plan = partial(EnhanceTodo, part, new_attempt(there), wanted, basis)
        whole = newest_whole(there)
        if chosen is not None:
            todo += [plan("selection", chosen[part])] if part in chosen else []
        elif whole is None or whole.fingerprint != wanted:
            todo.append(plan("part"))
        elif whole.basis != basis:
            todo.append(plan("update"))
    return todo


def _by_part(run: Path, windows: frozenset[str]) -> dict[int, frozenset[str]]:
    """Window ids by the part they are in."""
    clips = {clip_of(window_id) for window_id in windows}
    parts = pl.read_parquet(run / manifests.FROZEN, columns=["clip_id", "part"])
    place = dict(parts.filter(pl.col("clip_id").is_in(list(clips))).iter_rows())
    found: dict[int, set[str]] = {}
    for window_id in windows:
        found.setdefault(place[clip_of(window_id)], set()).add(window_id)
    return {part: frozenset(names) for part, names in found.items()}


def latest(run: Path, table: str, caption_set: str, part: int, columns: Sequence[str]) -> pl.DataFrame:
    """A part's rows that count, as in SQL's `captions_latest`: per window the newest ok attempt, else the newest."""
    files = [file.path for file in store.list_parts(store.table_dir(run, table, caption_set)) if file.part == part]
    every = pl.concat(pl.read_parquet(path, columns=list(columns)) for path in files)
    best_first = every.sort(pl.col("status") == "ok", "attempt", descending=True, maintain_order=True)
    return best_first.unique("window_id", keep="first", maintain_order=True).sort("window_id")


def to_enhance(run: Path, caption_set: str, todo: EnhanceTodo) -> pl.DataFrame:
    """The captions that a part's new attempt is made from."""
    captions = latest(run, "captions", caption_set, todo.part, COLUMNS)
    if todo.windows is not None:
        return captions.filter(pl.col("window_id").is_in(list(todo.windows)))
    if todo.scope == "part":
        return captions
    columns = ("window_id", "attempt", "status", "caption_attempt")
    enhanced = latest(run, "enhanced", caption_set, todo.part, columns).select("window_id", attempt="caption_attempt")
    return captions.join(enhanced, on=["window_id", "attempt"], how="anti", maintain_order="left")


class Enhancer:
    """Enhances the parts of a run; `run` returns when all are committed, or raises."""

    def __init__(
        self,
        run: Path,
        caption_set: str,
        step: Callable[[str], Callable[[pl.DataFrame], pl.DataFrame]],
        progress: Progress,
        *,
        feeding: Feeding,
        cancel: Callable[[BaseException], None],
    ) -> None:
        self.folder, self.caption_set, self.step, self.progress = run, caption_set, step, progress
        self.feeding, self.cancel = feeding, cancel
        self._stop = threading.Event()
        self._timings = Timings(run)

    def run(self, todo: Sequence[EnhanceTodo]) -> None:
        """Enhance these parts."""
        threads = self.feeding.threads  # a part has at least a batch, and they do not wait for each other
        pool, self._asking = ThreadPoolExecutor(threads), ThreadPoolExecutor(threads)
        futures = [pool.submit(self._enhance, part) for part in todo]
        try:
            waiting = set(futures)
            while waiting:
                done, waiting = wait(waiting, WAKE_S, FIRST_EXCEPTION)
                for future in done:
                    future.result()
        except BaseException as error:  # Ctrl-C, a dead engine, a full disk
            self._stop.set()
            self.cancel(error)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self._asking.shutdown(wait=True, cancel_futures=True)

    def _enhance(self, todo: EnhanceTodo) -> None:
        step = self.step(todo.fingerprint)
        if self.progress.engine_ready is None:
            self.progress.mark_engine_ready()
        captions = to_enhance(self.folder, self.caption_set, todo)
        batches = captions.iter_slices(self.feeding.batch_size)
        asked = [self._asking.submit(self._ask, todo, step, batch) for batch in batches]
        rows = [future.result() for future in asked]
        with self._timings.timing(todo.part, "write"):
            self._commit(todo, rows)
        self._timings.finish(todo.part)
        self.progress.add(parts=1)

    def _ask(
        self, todo: EnhanceTodo, step: Callable[[pl.DataFrame], pl.DataFrame], batch: pl.DataFrame
    ) -> pl.DataFrame:
        if self._stop.is_set():
            raise Cancelled
        with self._timings.timing(todo.part, f"enhance {self.caption_set}") as cost:
            rows = step(batch)
            cost.rows = batch.height
        self.progress.add_captions(rows)
        return rows

    def _commit(self, todo: EnhanceTodo, rows: Sequence[pl.DataFrame]) -> None:
        attempt = Attempt(self.folder, "enhanced", self.caption_set, todo.part, todo.attempt)
        try:
            attempt.commit(rows, fingerprint=todo.fingerprint, scope=todo.scope, basis=todo.basis)
        except OSError as error:
            raise store.disk_error(self.folder, error) from error


def count_captions(run: Path, caption_set: str, todo: Sequence[EnhanceTodo]) -> int:
    """How many captions these parts have to enhance, at most."""
    there = attempts(run, "captions", caption_set)
    return sum(
        max(footer.rows for _, footer in there[part.part]) if part.windows is None else len(part.windows)
        for part in todo
    )


def require_captions(run: Path, caption_set: str) -> None:
    """Refuse to enhance what is not there.

    Raises
    ------
    RunError : the run has no captions of that set.
    """
    if not store.list_parts(store.table_dir(run, "captions", caption_set)):
        raise RunError(f"{run}: has no captions of the set {caption_set!r} to enhance")
