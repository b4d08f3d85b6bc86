"""Inside a worker process: how it starts, what it may use, and that it ends with whoever started it."""

from __future__ import annotations

import ctypes
import fcntl
import itertools
import multiprocessing
import os
import resource
import select
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from colcap.errors import RowError

T = TypeVar("T")

TRIM: Final[Callable[[int], int] | None] = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Gives free memory back to the system; None where the C library is not glibc."""

MALLOPT: Final[Callable[[int, int], int] | None] = getattr(ctypes.CDLL(None), "mallopt", None)
"""Sets how memory is asked for and given back; None where the C library has no such thing."""

TRIM_EVERY: Final = 64
"""Tasks between two trims. Memory that a clip has to ask for again costs it a page fault each 4 kB, which can be a
tenth of its time; memory that is never given back grows with the largest clips that came by."""

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt(3)."""
KEPT_BYTES: Final = 1 << 30
"""Free memory that a worker keeps between two trims."""

_tasks = itertools.count(1)


def run_task(fn: Callable[..., T], *args: Any) -> T:
    """Do a task; too little memory for it is the row's error."""
    if TRIM is not None and next(_tasks) % TRIM_EVERY == 0:
        TRIM(0)
    try:
        return fn(*args)
    except MemoryError as error:
        raise RowError("too_large", "the worker's memory limit was reached") from error


def keep_memory() -> None:
    """Keep the memory of one clip's frames for the next one's: asking the system for it again cost 5% of a decode."""
    if MALLOPT is not None:
        MALLOPT(M_MMAP_MAX, 0)
        MALLOPT(M_TRIM_THRESHOLD, KEPT_BYTES)


def start_worker(
    environment: Mapping[str, str],
    cores: tuple[int, ...] | None,
    max_memory_bytes: int | None,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Prepare this process for media work; see `MediaPool`.

    The environment is the pool's: that of the fork server is older, and an object store's address or keys may have
    been set since.
    """
    os.environ.update(environment)
    keep_memory()
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
