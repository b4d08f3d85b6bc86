"""Worker processes for media work: a clip that crashes, hangs or eats all memory costs one row, not the run."""

from __future__ import annotations

import concurrent.futures
import fcntl
import multiprocessing
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace, TracebackType
from typing import Any, Final, Self, TypeVar

import pebble
import pebble.pool.process
from pebble.pool.base_pool import PoolStatus

from colcap.errors import RowError

T = TypeVar("T")

# pebble times tasks by the wall clock: one jump forward, and every task in flight would be a `timeout` row
pebble.pool.process.time = SimpleNamespace(time=time.monotonic, sleep=time.sleep)

MAX_MEMORY_BYTES: Final = 6 << 30
TRIES: Final = 3
"""Pools that may break under a task before it is given up; workers that cannot even start break every one."""
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
    timeout_s : seconds a task may run before its worker is killed.
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
        self._timeout_s = timeout_s
        self._num_workers = num_workers
        self._start = (tuple(cores) if cores else None, max_memory_bytes, initializer, tuple(initargs))
        self._lock, self._kill_lock = threading.Lock(), threading.Lock()
        self._unfinished: set[Future[Any]] = set()
        self._killed = False
        self._pool = self._new_pool()

    def submit(self, fn: Callable[..., T], *args: Any) -> Future[T]:
        """Run `fn(*args)` in a worker; both must pickle.

        Returns
        -------
        A future of the result. Its exception is what `fn` raised, or a RowError: `timeout`, `crashed`, or `too_large`
        where memory ran out. Cancelling it stops the task.

        Raises
        ------
        RuntimeError
            The pool is closed.
        """
        outer: Future[T] = Future()
        self._unfinished.add(outer)
        outer.add_done_callback(self._unfinished.discard)
        self._schedule(outer, fn, args, TRIES)
        return outer

    def _new_pool(self) -> pebble.ProcessPool:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        return pebble.ProcessPool(self._num_workers, initializer=_start_worker, initargs=self._start, context=context)

    def _schedule(self, outer: Future[Any], fn: Callable[..., Any], args: Sequence[Any], tries: int) -> None:
        inner = self._healthy().schedule(_run, args=(fn, *args), timeout=self._timeout_s)

        def settle(done: Future[Any]) -> None:
            error = None if done.cancelled() else done.exception()
            again = 0 if self._killed else _tries_left(error, tries)
            if again:
                self._schedule(outer, fn, args, again)
            elif done.cancelled() or self._killed:
                outer.cancel()
            elif outer.set_running_or_notify_cancel():
                _set(outer, done, error, self._timeout_s)

        inner.add_done_callback(settle)
        outer.add_done_callback(lambda done: inner.cancel() if done.cancelled() else None)

    def _healthy(self) -> pebble.ProcessPool:
        """The pool, or a new one: pebble gives up for good when a worker dies that has nothing to do."""
        with self._lock:
            if self._pool._context.status == PoolStatus.ERROR and not self._killed:
                threading.Thread(target=self._pool.join, daemon=True).start()
                self._pool = self._new_pool()
            return self._pool

    def close(self) -> None:
        """Wait for all tasks, then end the workers."""
        self._pool.close()
        self._pool.join()

    def kill(self) -> None:
        """End the workers at once; tasks that have not finished are cancelled. Any thread may call it, again too."""
        with self._kill_lock:  # pebble cannot be stopped by two threads at once
            if self._killed:
                return
            self._killed = True
            self._pool.stop()
            self._pool.join()
        for task in tuple(self._unfinished):  # pebble forgets the ones that it had not handed out
            task.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()


def _run(fn: Callable[..., T], *args: Any) -> T:
    try:
        return fn(*args)
    except MemoryError as error:
        raise RowError("too_large", "the worker's memory limit was reached") from error


def _tries_left(error: BaseException | None, tries: int) -> int:
    """How often a task is tried again: once where its worker died.

    A clip that kills workers does it again. But a worker may also die of the OOM killer, or (with exit code 1) of
    another one that was killed with pebble's lock in its hands.
    """
    if isinstance(error, BrokenProcessPool):
        return tries - 1
    return min(1, tries - 1) if isinstance(error, pebble.ProcessExpired) else 0


def _set(outer: Future[Any], inner: Future[Any], error: BaseException | None, timeout_s: float) -> None:
    """Pass a task's end on, in our terms."""
    if error is None:
        outer.set_result(inner.result())
    else:
        outer.set_exception(_row_error(error, timeout_s))


def _row_error(error: BaseException, timeout_s: float) -> BaseException:
    if isinstance(error, concurrent.futures.TimeoutError):
        return RowError("timeout", f"not done after {timeout_s:g} s")
    if isinstance(error, pebble.ProcessExpired):
        return RowError("crashed", _death(error.exitcode))
    return error


def _death(exitcode: int) -> str:
    if exitcode == -signal.SIGKILL:
        return "two workers were killed (SIGKILL); the system may have run out of memory"
    if exitcode < 0:
        return f"two workers died of it, the second of {signal.Signals(-exitcode).name}"
    return f"two workers died of it, the second exited with {exitcode}"


def _start_worker(
    cores: tuple[int, ...] | None,
    max_memory_bytes: int | None,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        _die_with_parent()
        if cores:
            os.sched_setaffinity(0, cores)
    if max_memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (max_memory_bytes, max_memory_bytes))
    if initializer is not None:
        initializer(*initargs)


def _die_with_parent() -> None:
    """Have the kernel kill this worker when the pool's process ends, however that happens.

    The pipe from that process hangs up then, and the kernel sends SIGKILL: no thread has to be awake for it, and no
    call into libav has to return. (PR_SET_PDEATHSIG would wait for the fork server, which outlives its workers.)
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    pipe = parent.sentinel
    fcntl.fcntl(pipe, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(pipe, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(pipe, fcntl.F_SETFL, fcntl.fcntl(pipe, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([pipe], [], [], 0)[0]:  # it hung up before it could tell
        os._exit(1)
