"""Worker processes for media work: a clip that crashes, hangs or eats all memory costs one row, not the run."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import forkserver
from types import SimpleNamespace, TracebackType
from typing import Any, Final, Self, TypeVar

import pebble
import pebble.pool.process

from colcap.errors import ColcapError, RowError
from colcap.media.awake import AwakeClock
from colcap.media.worker_process import run_task, start_worker

T = TypeVar("T")

# pebble times tasks by the wall clock: one jump forward, or a pause of the run, and every task in flight would be a
# `timeout` row
CLOCK: Final = AwakeClock()
pebble.pool.process.time = SimpleNamespace(time=CLOCK.time, sleep=time.sleep)

MAX_MEMORY_BYTES: Final = 6 << 30
TRIES: Final = 3
"""Workers that may die before they begin a task; then it is given up, since those that cannot even start all do."""
TASKS_PER_WORKER: Final = 4096
"""Then another takes its place, which costs a second or two: what clips leave behind in the allocators of Python and
polars is held by few pieces and cannot be given back (40 MB in one of two, after thousands of damaged clips)."""

START_S: Final = 300
"""Seconds a worker may take to start and to take its task, which are two on an idle machine. The task's own time runs
only then, so a start that hangs would be waited for without end."""

WAKE_S: Final = 0.1
LOOK_S: Final = 0.5
"""Between two looks for workers that are lost."""
UNGUARDED: Final = (
    'Workers import the script that they were started from: put what calls colcap under `if __name__ == "__main__":`.'
)
PRELOADED: Final = ["numpy", "av"]
"""Imported once, in the process that workers are forked from. Nothing of ours: `import colcap` brings polars, which
starts threads that do not survive a fork; workers import it for themselves."""


class MediaPool:
    """Runs functions in worker processes and replaces workers that die.

    Workers are forked from a small server process, not from this one: its threads, CUDA and engines stay here.
    They ignore Ctrl-C (the caller decides), die with the process that made the pool, and share `cores`.

    Parameters
    ----------
    num_workers : worker processes.
    cores : cores the workers may use; None: all of this process's.
    timeout_s : seconds a task may run before its worker is killed; while the process is stopped, none pass.
    max_memory_bytes : private memory of one worker; None: no limit.
    initializer, initargs : called in each new worker.

    Examples
    --------
    >>> with MediaPool(1) as pool:
    ...     pool.submit(sum, [1, 2]).result()
    3
    """

    def __init__(
        self,
        num_workers: int,
        *,
        cores: Sequence[int] | None = None,
        timeout_s: float = 600,
        max_memory_bytes: int | None = MAX_MEMORY_BYTES,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
    ) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {num_workers}")
        refuse_while_imported()
        start_fork_server()
        self._timeout_s = timeout_s
        self._start = (tuple(cores) if cores else None, max_memory_bytes, initializer, tuple(initargs))
        self._lock, self._kill_lock = threading.RLock(), threading.Lock()
        self._waiting: deque[_Task] = deque()
        self._unfinished: set[Future[Any]] = set()
        self._closed = self._killed = False
        self._stopped = threading.Event()
        self._workers = [_Worker(self._new_pool()) for _ in range(num_workers)]
        threading.Thread(target=self._watch, name="media pool", daemon=True).start()

    def submit(self, fn: Callable[..., T], *args: Any) -> Future[T]:
        """Run `fn(*args)` in a worker; both must pickle.

        Returns
        -------
        A future of the result. Its exception is what `fn` raised, or a RowError: `timeout`, `crashed`, or `too_large`
        where memory ran out; or a ColcapError where workers do not start. Cancelling it stops the task.

        Raises
        ------
        RuntimeError
            The pool is closed.
        """
        if self._closed or self._killed:
            raise RuntimeError("the pool is closed")
        outer: Future[T] = Future()
        self._unfinished.add(outer)
        outer.add_done_callback(self._unfinished.discard)
        self._waiting.append(_Task(outer, fn, args))
        self._hand_out()
        return outer

    def _new_pool(self) -> pebble.ProcessPool:
        start = (dict(os.environ), *self._start)
        context = multiprocessing.get_context("forkserver")
        return pebble.ProcessPool(1, TASKS_PER_WORKER, start_worker, start, context)

    def _watch(self) -> None:
        """Find lost workers where no other task comes or ends that would."""
        while not self._stopped.wait(LOOK_S):
            self._hand_out()

    def _hand_out(self) -> None:
        """Give waiting tasks to workers that have nothing to do, and those of lost workers to others."""
        with self._lock:
            for worker in self._workers:
                if worker.inner is not None and worker.is_lost():
                    self._settle(worker, worker.inner, BrokenProcessPool("the worker died before it took the task"))
                while self._waiting and worker.inner is None and not self._killed:
                    task = self._waiting.popleft()
                    if not task.outer.done():
                        self._give(worker, task)

    def _give(self, worker: _Worker, task: _Task) -> None:
        try:
            if not worker.pool.active:  # it died while it had nothing to do
                self._replace(worker)
            inner = worker.pool.schedule(run_task, args=(task.fn, *task.args), timeout=self._timeout_s)
        except (BrokenProcessPool, RuntimeError, OSError) as error:  # no process, no pipe, no semaphore to be had
            self._replace(worker)
            self._end(task, BrokenProcessPool(str(error)))
            return
        worker.inner, worker.task, worker.given_s = inner, task, CLOCK.time()
        task.outer.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)
        inner.add_done_callback(lambda done: self._settle(worker, done, None if done.cancelled() else done.exception()))

    def _settle(self, worker: _Worker, inner: Future[Any], error: BaseException | None) -> None:
        with self._lock:
            if worker.inner is not inner or worker.task is None:
                return  # given up already
            task, worker.inner, worker.task = worker.task, None, None
            if isinstance(error, BrokenProcessPool | pebble.ProcessExpired) and not self._killed:
                self._replace(worker)
        if error is None and not inner.cancelled() and task.outer.set_running_or_notify_cancel():
            task.outer.set_result(inner.result())
        elif error is None or self._killed:
            task.outer.cancel()
        else:
            self._end(task, error)
        self._hand_out()

    def _end(self, task: _Task, error: BaseException) -> None:
        """Try a task again whose worker died, or tell its error."""
        if task.may_be_tried_again(error):
            self._waiting.appendleft(task)
        elif task.outer.set_running_or_notify_cancel():
            task.outer.set_exception(_in_our_terms(error, self._timeout_s))

    def _replace(self, worker: _Worker) -> None:
        """A worker that was killed may have held the locks of its pipe: who came after it would wait for them."""
        worker.pool.stop()
        threading.Thread(target=worker.pool.join, daemon=True).start()
        worker.pool = self._new_pool()

    def close(self) -> None:
        """Wait for all tasks, then end the workers."""
        self._closed = True
        while unfinished := tuple(self._unfinished):
            concurrent.futures.wait(unfinished, timeout=WAKE_S)  # one that was cancelled never tells
        self._stop()

    def kill(self) -> None:
        """End the workers at once; tasks that have not finished are cancelled. Any thread may call it, again too."""
        with self._kill_lock:  # pebble cannot be stopped by two threads at once
            if self._killed:
                return
            self._killed = True
            self._stop()
        for task in tuple(self._unfinished):
            task.cancel()

    def _stop(self) -> None:
        self._stopped.set()
        with self._lock:
            pools = [worker.pool for worker in self._workers]
        for pool in pools:
            pool.stop()
        joins = [threading.Thread(target=pool.join, daemon=True) for pool in pools]
        for thread in joins:
            thread.start()
        for thread in joins:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()


@dataclass(slots=True, eq=False)
class _Task:
    """Something to do, and how often its worker died of it, or before it began."""

    outer: Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    deaths: int = 0
    failed_starts: int = 0

    def may_be_tried_again(self, error: BaseException) -> bool:
        """Once where its worker died: a clip that kills workers does it again, the OOM killer need not come back."""
        self.deaths += isinstance(error, pebble.ProcessExpired)
        self.failed_starts += isinstance(error, BrokenProcessPool)
        if isinstance(error, BrokenProcessPool):
            return self.failed_starts < TRIES
        return isinstance(error, pebble.ProcessExpired) and self.deaths < 2


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker process and what it has in hand. Each has a pebble pool of its own.

    In a pool of several all workers read and write one pipe under one lock. Kill one while it holds that, and the
    others wait for it for a minute, then die of it themselves.
    """

    pool: pebble.ProcessPool
    inner: Future[Any] | None = None
    task: _Task | None = None
    given_s: float = 0.0
    """When the task was handed to it, by CLOCK."""

    def is_lost(self) -> bool:
        """Its task will never begin: pebble queued it as the worker died and does not look any more, or it hangs."""
        if self.inner is None or self.inner.done():
            return False
        lost = not self.pool.active or (not self.inner.running() and CLOCK.time() - self.given_s > START_S)
        return lost and not pebble.pool.process.GLOBAL_SHUTDOWN  # then pebble has stopped all by itself


def refuse_while_imported() -> None:
    """Say what is wrong where a worker, about to start, imports a script that starts workers.

    Raises
    ------
    ColcapError : this process is such a worker.
    """
    if getattr(multiprocessing.process.current_process(), "_inheriting", False):
        raise ColcapError(UNGUARDED)


def start_fork_server() -> None:
    """Start what workers are forked from, where it does not run: pebble would not say why it cannot.

    Raises
    ------
    ColcapError : the folder for temporary files is none that a socket can be made in.
    """
    forkserver.set_forkserver_preload(PRELOADED)
    try:
        forkserver.ensure_running()
    except OSError as error:
        raise ColcapError(
            f"media workers cannot be started: {error}. They are reached by a socket in the folder for temporary "
            f"files, {tempfile.gettempdir()}. Set TMPDIR to one that can be written and whose path is shorter, such as "
            "/tmp."
        ) from error


def _in_our_terms(error: BaseException, timeout_s: float) -> BaseException:
    if isinstance(error, concurrent.futures.TimeoutError):
        return RowError("timeout", f"not done after {timeout_s:g} s")
    if isinstance(error, pebble.ProcessExpired):
        return RowError("crashed", _death(error.exitcode))
    if isinstance(error, BrokenProcessPool):
        script = getattr(sys.modules["__main__"], "__file__", None) and not sys.modules["__main__"].__spec__
        hint = UNGUARDED if script else "See above for what they said."
        return ColcapError(f"media workers die as soon as they start ({TRIES} of them). {hint}")
    return error


def _death(exitcode: int) -> str:
    if exitcode == -signal.SIGKILL:
        return "two workers were killed (SIGKILL); the system may have run out of memory"
    if exitcode < 0:
        return f"two workers died of it, the second of {signal.Signals(-exitcode).name}"
    return f"two workers died of it, the second exited with {exitcode}"
