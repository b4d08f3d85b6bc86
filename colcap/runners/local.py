"""The one-machine runner: reading and media work, captioning and writing overlap, a thread a stage.

    feed ──tasks──> media workers ──results, in order──> collect ──windows──> caption threads ──rows──> commit

The queues between are bounded, so memory does not depend on the manifest's length. Any failure, or Ctrl-C,
sends every thread home; parts that were not committed leave nothing behind.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import polars as pl

from colcap import manifests, store
from colcap.errors import ColcapError, RowError
from colcap.footers import REMEMBER_EVERY, remember
from colcap.runners.feeding import Feeding
from colcap.runners.part import OpenPart, open_part
from colcap.runners.plan import PartTodo, Plan
from colcap.runners.progress import Progress
from colcap.runners.queues import ByteQueue, Cancelled
from colcap.runners.tasks import MediaStep, MediaSteps, Step, needs_manifest, part_tasks
from colcap.runners.timings import Cost, Timed, Timings
from colcap.steps.media import clip_rows, table_rows
from colcap.steps.window_log import tell_preview

ROW_BYTES: Final = 1024
"""What a window waiting for the engine weighs besides its frames, about."""

WAKE_S: Final = 0.2
"""How often a waiting main thread looks up, in seconds, so that Ctrl-C is heard."""

GOODBYE_S: Final = 15.0
"""How long threads may take to come home before the run is left without them, in seconds."""


T = TypeVar("T")


class Interrupted(ColcapError):
    """Stopped by Ctrl-C."""

    exit_code = 130


class Pool(Protocol):
    """Worker processes."""

    def submit(self, fn: Callable[[pl.DataFrame], T], batch: pl.DataFrame, /) -> Future[T]: ...
    def kill(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Steps:
    """The batch functions of a run."""

    media: MediaSteps
    """What the workers do."""
    with_room: Callable[[pl.DataFrame, Sequence[str | None]], pl.DataFrame]
    """Adds to clips or windows the room that their own prompts leave for frames."""
    captions: Callable[[], dict[str, Step]]
    """Starts the engine, once, and gives the caption step of each set; called only if a part needs it."""
    cancel: Callable[[BaseException], None]
    """Stops the engine, so that whoever waits for it comes back; told why."""


@dataclass(frozen=True, slots=True)
class _Task:
    part: OpenPart
    step: MediaStep
    batch: pl.DataFrame
    future: Future[tuple[pl.DataFrame, Cost]]


Sampled = tuple[OpenPart, list[str], pl.DataFrame]
"""A window to caption: its part, the sets that want it, and its frames."""


class LocalRunner:
    """Runs a plan on this machine; `run` returns when every part is committed, or raises.

    Raises
    ------
    ColcapError : a dead engine, a full disk, Ctrl-C (`Interrupted`). Committed parts stay; the same command goes on.
    """

    def __init__(
        self, plan: Plan, steps: Steps, pool: Pool, progress: Progress, *, num_workers: int, feeding: Feeding
    ) -> None:
        self.plan, self.steps, self.pool, self.progress = plan, steps, pool, progress
        self._tasks: queue.Queue[_Task | OpenPart | None] = queue.Queue()
        self._slots = threading.Semaphore(2 * num_workers)
        self._windows = ByteQueue[Sampled](max_bytes=plan.config.runtime.max_queue_bytes)
        self._feeding = feeding
        self._engine_lock, self._commit_lock = threading.Lock(), threading.Lock()
        self._caption_steps: dict[str, Step] | None = None
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._in_hand: set[OpenPart] = set()
        self._timings = Timings(plan.run)

    def run(self) -> None:
        """Do everything the plan says."""
        stages = [
            self._feed,
            self._collect,
            *[self._caption] * (self._feeding.threads if self.plan.captioning else 0),
        ]
        threads = [
            threading.Thread(target=self._guard, args=(stage,), name=stage.__name__, daemon=True) for stage in stages
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(WAKE_S)
        except BaseException as error:  # Ctrl-C arrives in this thread
            self.stop(error)
        deadline = time.monotonic() + GOODBYE_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._drop_unfinished()
        if self._error is not None:
            raise self._error

    def stop(self, error: BaseException) -> None:
        """Send every thread home; the first reason given is the one that is told."""
        with self._commit_lock:
            self._error = why = self._error or error
        self._stop.set()
        self._windows.cancel()
        self._tasks.put(None)
        self.pool.kill()
        self.steps.cancel(why)

    def _guard(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except Cancelled:
            pass
        except OSError as error:
            self.stop(store.disk_error(self.plan.run, error))
        except BaseException as error:
            self.stop(error)

    # ---- feed: parts -> tasks

    def _feed(self) -> None:
        from_sources = {todo.part: todo for todo in self.plan.todo if needs_manifest(self.plan, todo)}
        for todo in self.plan.todo:
            if todo.part not in from_sources:
                self._feed_part(todo, None)
        for part, rows in manifests.iter_parts(store.opened(self.plan.run / manifests.FROZEN), from_sources):
            self._feed_part(from_sources[part], rows)
        self._tasks.put(None)

    def _feed_part(self, todo: PartTodo, rows: pl.DataFrame | None) -> None:
        part = open_part(self.plan, todo, rows)
        self._in_hand.add(part)
        for step, batch in part_tasks(self.plan, todo, rows, self.steps.media):
            while not self._slots.acquire(timeout=WAKE_S):
                if self._stop.is_set():
                    raise Cancelled
            if self._stop.is_set():
                raise Cancelled
            sized = self.steps.with_room(batch, part.own_prompts(batch))
            self._tasks.put(_Task(part, step, batch, self.pool.submit(Timed(step), sized)))
        self._tasks.put(part)

    # ---- collect: results in order -> tables, and windows to caption

    def _collect(self) -> None:
        while (item := self._tasks.get()) is not None and not self._stop.is_set():
            if isinstance(item, OpenPart):
                self._close_media(item)
            else:
                self._take(item)
                self._slots.release()
        self._windows.close()

    def _take(self, task: _Task) -> None:
        part, number = task.part, task.part.todo.part
        with self._timings.timing(number, "wait_media"):
            made, seconds = self._result(task)
        if self.plan.config.preview.verbose:
            for preview in table_rows(made, "previews").iter_rows(named=True):
                tell_preview(preview, seconds)
        if part.todo.captions:
            with self._timings.timing(number, "wait_engine"):
                for sets, row in part.samples(made):
                    self._windows.put((part, sets, row), int(row.estimated_size()) + ROW_BYTES)
        self._count(part, made)
        with self._timings.timing(number, "write"):
            part.add_media(_without_samples(made))

    def _result(self, task: _Task) -> tuple[pl.DataFrame, float]:
        """The rows of a batch, and the seconds that they took."""
        while True:
            try:
                made, cost = task.future.result(timeout=WAKE_S)
                self._timings.add(task.part.todo.part, "media", cost)
                return made, cost.wall_s
            except TimeoutError:
                if self._stop.is_set():
                    raise Cancelled from None
            except RowError as error:
                return task.step.failed(task.batch, error), 0.0

    def _count(self, part: OpenPart, made: pl.DataFrame) -> None:
        missing = made.get_column("window").null_count()
        self.progress.add(clips=int(part.todo.media), windows=made.height - missing)
        if missing:
            self.progress.add_errors(clip_rows(made))

    def _close_media(self, part: OpenPart) -> None:
        with self._timings.timing(part.todo.part, "write") as cost:
            cost.rows = sum(part.commit_media().values())
        with self._commit_lock:
            part.complete = True
        self._finish_part(part)

    # ---- caption: windows -> rows

    def _caption(self) -> None:
        steps = self._engine()
        while batch := self._windows.take(at_most=self._feeding.batch_size):
            for caption_set, step in steps.items():
                self._caption_set(caption_set, step, [item for item in batch if caption_set in item[1]])
            for part in {id(part): part for part, _, _ in batch}.values():
                self._finish_part(part)

    def _caption_set(self, caption_set: str, step: Step, batch: list[Sampled]) -> None:
        if not batch:
            return
        started = time.perf_counter()
        rows = step(pl.concat([row for _, _, row in batch]))
        share = (time.perf_counter() - started) / len(batch)
        for part, _, row in batch:
            cost = Cost(share, rows=1, num_bytes=int(row.estimated_size()))
            self._timings.add(part.todo.part, f"caption {caption_set}", cost)
        of_window = rows.partition_by("window_id", as_dict=True, maintain_order=True)
        with self._commit_lock:
            for part, _, row in batch:
                part.add_captions(caption_set, of_window[row["window_id"].item(),])
        self.progress.add_captions(rows)

    def _engine(self) -> dict[str, Step]:
        with self._engine_lock:
            if self._caption_steps is None:
                self._caption_steps = self.steps.captions()
                self.progress.mark_engine_ready()
            return self._caption_steps

    def _finish_part(self, part: OpenPart) -> None:
        """Commit a part's captions once all its windows have theirs."""
        with self._commit_lock:
            if not part.is_captioned or self._stop.is_set():
                return
            part.complete = False  # only one thread finishes it
            if part.todo.captions:
                with self._timings.timing(part.todo.part, "write"):
                    part.commit_captions()
            self._in_hand.discard(part)
        self._timings.finish(part.todo.part)
        self.progress.add(parts=1)
        if self.progress.counts["parts"] % REMEMBER_EVERY == 0:
            remember(self.plan.run)

    def _drop_unfinished(self) -> None:
        for part in self._in_hand:
            if part.commit:
                with suppress(OSError):
                    part.commit.abort()


def _without_samples(made: pl.DataFrame) -> pl.DataFrame:
    return pl.DataFrame([made.get_column(name) for name in made.columns if name not in ("sample", "frames")])
