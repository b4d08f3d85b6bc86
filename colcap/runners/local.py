"""The one-machine runner: reading and media work, captioning and writing overlap, a thread a stage.

    feed ──tasks──> media workers ──results, in order──> collect ──windows──> caption threads ──rows──> commit

The queues between are bounded, so memory does not depend on the manifest's length. Any failure, or Ctrl-C,
sends every thread home; parts that were not committed leave nothing behind.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import polars as pl
import pyarrow.parquet as pq

from colcap import manifests, store
from colcap.errors import ColcapError, RowError
from colcap.runners.plan import MEDIA_TABLES, PREVIEW_TABLES, PartTodo, Plan
from colcap.runners.progress import Progress
from colcap.runners.queues import ByteQueue, Cancelled
from colcap.steps.media import clip_rows, table_rows

WINDOWS_IN_FLIGHT: Final = 64
"""Windows given to the engine at once, over all batches: enough that the tail of one overlaps the next."""

WAKE_S: Final = 0.2
"""How often a waiting main thread looks up, in seconds, so that Ctrl-C is heard."""


GOODBYE_S: Final = 15.0
"""How long threads may take to come home before the run is left without them, in seconds."""


class Interrupted(ColcapError):
    """Stopped by Ctrl-C."""

    exit_code = 130


class Step(Protocol):
    """A media step as runners see it: batch to batch, and the rows of a batch whose worker died."""

    def __call__(self, batch: pl.DataFrame, /) -> pl.DataFrame: ...
    def failed(self, batch: pl.DataFrame, error: RowError, /) -> pl.DataFrame: ...


class Pool(Protocol):
    """Worker processes."""

    def submit(self, fn: Callable[[pl.DataFrame], pl.DataFrame], batch: pl.DataFrame, /) -> Future[pl.DataFrame]: ...
    def kill(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Steps:
    """The batch functions of a run."""

    media: Callable[[PartTodo], Step]
    """The step that makes what a part lacks, from its clips."""
    windows: Callable[[PartTodo], Step]
    """The same, from its stored windows."""
    caption: Callable[[], Callable[[pl.DataFrame], pl.DataFrame]]
    """Starts the engine, once, and gives the caption step; called only if a part needs it."""
    cancel: Callable[[], None]
    """Stops the engine, so that whoever waits for it comes back."""


@dataclass(slots=True)
class _Part:
    """A part in hand."""

    todo: PartTodo
    extras: pl.DataFrame
    """The manifest's own further columns, by clip_id."""
    commit: store.PartCommit | None
    caption_fingerprint: str | None
    prompts: dict[str, str] = field(default_factory=dict)
    """Clip id -> the row's own prompt."""
    num_windows: int = 0
    complete: bool = False
    """All windows are known; only captions may still be under way."""
    captions: list[pl.DataFrame] = field(default_factory=list)
    num_captions: int = 0


@dataclass(frozen=True, slots=True)
class _Task:
    part: _Part
    step: Step
    batch: pl.DataFrame
    future: Future[pl.DataFrame]


class LocalRunner:
    """Runs a plan on this machine; `run` returns when every part is committed, or raises.

    Raises
    ------
    ColcapError : a dead engine, a full disk, Ctrl-C (`Interrupted`). Committed parts stay; the same command goes on.
    """

    def __init__(
        self, plan: Plan, steps: Steps, pool: Pool, progress: Progress, *, num_workers: int, captioners: int
    ) -> None:
        self.plan, self.steps, self.pool, self.progress = plan, steps, pool, progress
        self._tasks: queue.Queue[_Task | _Part | None] = queue.Queue()
        self._slots = threading.Semaphore(2 * num_workers)
        self._windows = ByteQueue[tuple[_Part, pl.DataFrame]](max_bytes=plan.config.runtime.max_queue_bytes)
        self._captioners = captioners
        self._engine_lock, self._commit_lock = threading.Lock(), threading.Lock()
        self._caption_step: Callable[[pl.DataFrame], pl.DataFrame] | None = None
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._in_hand: set[store.PartCommit] = set()

    def run(self) -> None:
        """Do everything the plan says."""
        stages = [self._feed, self._collect, *[self._caption] * (self._captioners if self._needs_engine else 0)]
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
            self._error = self._error or error
        self._stop.set()
        self._windows.cancel()
        self._tasks.put(None)
        self.pool.kill()
        self.steps.cancel()

    @property
    def _needs_engine(self) -> bool:
        return any(todo.captions for todo in self.plan.todo)

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
        fresh = {todo.part: todo for todo in self.plan.todo if todo.media}
        stored = [todo for todo in self.plan.todo if not todo.media]
        for todo in stored:
            self._feed_part(self._open(todo, None), self.steps.windows(todo), _stored_windows(self.plan, todo.part))
        for part, rows in manifests.iter_parts(self.plan.run / manifests.FROZEN, fresh):
            self._feed_part(self._open(fresh[part], rows), self.steps.media(fresh[part]), _one_by_one(rows))
        self._tasks.put(None)

    def _feed_part(self, part: _Part, step: Step, batches: Iterator[pl.DataFrame]) -> None:
        for batch in batches:
            while not self._slots.acquire(timeout=WAKE_S):
                if self._stop.is_set():
                    raise Cancelled
            if self._stop.is_set():
                raise Cancelled
            self._tasks.put(_Task(part, step, batch, self.pool.submit(step, batch)))
        self._tasks.put(part)

    def _open(self, todo: PartTodo, rows: pl.DataFrame | None) -> _Part:
        plan = self.plan
        extra = manifests.extra_columns(plan.run / manifests.FROZEN)
        extras = rows if rows is not None else pl.DataFrame(schema={"clip_id": pl.String, **extra})
        tables = (MEDIA_TABLES if todo.media else ()) + (PREVIEW_TABLES if todo.previews else ())
        part = _Part(
            todo, extras.select("clip_id", *extra), self._writers(todo, tables, extra), plan.caption_fingerprint
        )
        if "prompt_text" in extra and todo.captions:
            part.prompts = _prompts(plan, todo.part) if rows is None else _named(rows)
        return part

    def _writers(self, todo: PartTodo, tables: tuple[str, ...], extra: pl.Schema) -> store.PartCommit | None:
        if not tables:
            return None
        plan = self.plan
        prints = {t: plan.media_fingerprint if t in MEDIA_TABLES else plan.preview_fingerprint for t in tables}
        paths = {table: store.table_dir(plan.run, table) / store.part_name(todo.part) for table in tables}
        commit = store.PartCommit(plan.run, todo.part, paths, fingerprints=prints, extra=extra)
        self._in_hand.add(commit)
        return commit

    # ---- collect: results in order -> tables, and windows to caption

    def _collect(self) -> None:
        while (item := self._tasks.get()) is not None and not self._stop.is_set():
            if isinstance(item, _Part):
                self._close_media(item)
            else:
                self._take(item)
                self._slots.release()
        self._windows.close()

    def _take(self, task: _Task) -> None:
        part, made = task.part, self._result(task)
        if part.commit:
            self._append(part, part.commit, made)
        if part.todo.captions:
            samples = self._with_prompts(part, table_rows(made, "samples"))
            part.num_windows += samples.height
            for row in samples.iter_slices(1):
                self._windows.put((part, row), int(row["frames"].bin.size().sum() or 0) + 1024)
        self._count(part, made)

    def _result(self, task: _Task) -> pl.DataFrame:
        while True:
            try:
                return task.future.result(timeout=WAKE_S)
            except TimeoutError:
                if self._stop.is_set():
                    raise Cancelled from None
            except RowError as error:
                return task.step.failed(task.batch, error)

    def _append(self, part: _Part, commit: store.PartCommit, made: pl.DataFrame) -> None:
        for table in commit.tables:
            if table == "clips":
                clips = clip_rows(made).join(part.extras, on="clip_id", how="left", maintain_order="left")
                commit.append(table, clips)
            else:
                commit.append(table, table_rows(made, table))

    def _with_prompts(self, part: _Part, samples: pl.DataFrame) -> pl.DataFrame:
        clip_ids = [window_id.rpartition(":")[0] for window_id in samples["window_id"]]
        prompts = pl.Series("prompt_text", [part.prompts.get(clip_id) for clip_id in clip_ids], dtype=pl.String)
        return samples.with_columns(prompts)

    def _count(self, part: _Part, made: pl.DataFrame) -> None:
        if part.todo.media:
            self.progress.add_clips(clip_rows(made))
        self.progress.add(windows=table_rows(made, "windows").height)

    def _close_media(self, part: _Part) -> None:
        if part.commit:
            part.commit.commit()
            self._in_hand.discard(part.commit)
        with self._commit_lock:
            part.complete = True
        self._finish_part(part)

    # ---- caption: windows -> rows

    def _caption(self) -> None:
        batch_size = self.plan.config.captioning.caption_batch_size
        step = self._engine()
        while batch := self._windows.take(at_most=batch_size):
            rows = step(pl.concat([window for _, window in batch]))
            for (part, _), row in zip(batch, rows.iter_slices(1), strict=True):
                with self._commit_lock:
                    part.captions.append(row)
                    part.num_captions += 1
            self.progress.add_captions(rows)
            for part in {id(part): part for part, _ in batch}.values():
                self._finish_part(part)

    def _engine(self) -> Callable[[pl.DataFrame], pl.DataFrame]:
        with self._engine_lock:
            if self._caption_step is None:
                self._caption_step = self.steps.caption()
                self.progress.mark_engine_ready()
            return self._caption_step

    def _finish_part(self, part: _Part) -> None:
        """Commit a part's captions once all its windows have theirs."""
        with self._commit_lock:
            if not part.complete or part.num_captions < part.num_windows or self._stop.is_set():
                return
            part.complete = False  # only one thread finishes it
            if part.todo.captions:
                self._commit_captions(part, part.todo.captions)
        self.progress.add(parts=1)

    def _commit_captions(self, part: _Part, attempt: int) -> None:
        plan, number = self.plan, part.todo.part
        path = store.table_dir(plan.run, "captions", plan.config.caption_set) / store.part_name(number, attempt)
        assert part.caption_fingerprint is not None
        commit = store.PartCommit(
            plan.run, number, {"captions": path}, fingerprints={"captions": part.caption_fingerprint}
        )
        if part.captions:
            rows = pl.concat(part.captions).with_columns(pl.lit(attempt, pl.Int32).alias("attempt"))
            commit.append("captions", rows.sort("window_id"))
        commit.commit()
        part.captions.clear()

    def _drop_unfinished(self) -> None:
        for commit in self._in_hand:
            with suppress(OSError):
                commit.abort()


def _one_by_one(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """A clip a batch: a crash or a timeout then costs one row."""
    columns = [name for name in ("clip_id", "uri", "part", "mp4") if name in rows.columns]
    return rows.select(columns).iter_slices(1)


def _stored_windows(plan: Plan, part: int) -> Iterator[pl.DataFrame]:
    """A part's windows with their bytes, in order, one at a time; a window whose cut failed has null bytes."""
    name = store.part_name(part)
    facts = pl.read_parquet(store.table_dir(plan.run, "windows") / name)
    blobs = _blobs(store.table_dir(plan.run, "windows_mp4") / name)
    for row in facts.iter_slices(1):
        mp4 = next(blobs) if row["status"].item() == "ok" else None
        yield row.with_columns(pl.Series("mp4", [mp4], dtype=pl.Binary))


def _blobs(path: Path) -> Iterator[bytes]:
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        for blob in file.read_row_group(group, columns=["mp4"])["mp4"]:
            yield blob.as_py()


def _prompts(plan: Plan, part: int) -> dict[str, str]:
    clips = pl.read_parquet(
        store.table_dir(plan.run, "clips") / store.part_name(part), columns=["clip_id", "prompt_text"]
    )
    return _named(clips)


def _named(rows: pl.DataFrame) -> dict[str, str]:
    there = rows.drop_nulls("prompt_text")
    return dict(zip(there["clip_id"], there["prompt_text"], strict=True))
