"""Threads for media work on clips that are trusted: nothing starts and nothing is copied, and nothing is contained."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

from colcap.media.worker_process import run_task

T = TypeVar("T")


class ThreadPool:
    """Runs functions in threads of this process; takes the place of a `MediaPool`.

    A clip that crashes its decoder ends the process, one that hangs is waited for, and memory has no bound.

    Examples
    --------
    >>> with ThreadPool(1) as pool:
    ...     pool.submit(sum, [1, 2]).result()
    3
    """

    def __init__(self, num_workers: int) -> None:
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix="media")

    def submit(self, fn: Callable[..., T], *args: Any) -> Future[T]:
        """Run `fn(*args)` in a thread.

        Returns
        -------
        A future of the result. Its exception is what `fn` raised, or a RowError `too_large` where memory ran out.
        """
        return self._threads.submit(run_task, fn, *args)

    def kill(self) -> None:
        """Cancel what has not begun; what has is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._threads.shutdown(wait=kind is None, cancel_futures=kind is not None)
