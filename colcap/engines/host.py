"""The engine's process: it imports vLLM while the front-end does, and then becomes vLLM's engine process.

vLLM would start that process itself, once the front-end has imported everything, through multiprocessing: 7 s
later, with this process's environment and standard streams, and running the user's script again as `__mp_main__`.
"""

from __future__ import annotations

import gc
import io
import multiprocessing
import os
import pickle
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import context, resource_sharer
from multiprocessing.queues import Queue
from multiprocessing.reduction import ForkingPickler
from typing import Any

from colcap.engines.child import Child, die_with


class EngineHost(Child):
    """One engine process. To vLLM it is both the multiprocessing context and the process that context makes.

    Parameters
    ----------
    env : environment variables for it alone.
    cores : cores it may run on; all where None.
    verbose : what it says is logged as INFO, else as DEBUG.
    """

    name = "EngineCore"

    def __init__(self, *, env: Mapping[str, str], cores: Sequence[int] | None, verbose: bool) -> None:
        super().__init__(__name__, [",".join(map(str, cores or ()))], env=env, verbose=verbose)
        self.sentinel = os.pidfd_open(self.pid)
        weakref.finalize(self, os.close, self.sentinel)  # not in `kill`: vLLM may still be watching it
        self._job: bytes | None = None

    @contextmanager
    def offered(self) -> Iterator[None]:
        """While this lasts, vLLM takes this process when it wants to start one, in this thread.

        A vLLM that no longer asks here starts its own: slower, but just as right.
        """
        from vllm.v1.engine import utils

        _listen_to_offers(utils)
        _mine.host = self
        try:
            yield
        finally:
            del _mine.host

    # ---- what vLLM asks of a multiprocessing context

    def Process(self, *, target: Any, name: str, kwargs: Mapping[str, Any]) -> EngineHost:
        """Keep the work until `start`."""
        self.name = name
        with _pickling_for_a_child():
            self._job = bytes(ForkingPickler.dumps((target, dict(kwargs))))
        return self

    def Queue(self) -> Queue[Any]:
        """A queue that tensors travel through, with `mm_tensor_ipc="torch_shm"`."""
        return multiprocessing.get_context("spawn").Queue()

    # ---- what vLLM asks of a process, besides what a Child has

    def start(self) -> None:
        """Hand the work over, and the key that lets it fetch file descriptors from here."""
        assert self._process.stdin is not None
        assert self._job is not None
        with suppress(BrokenPipeError), self._process.stdin as stdin:  # a dead one is found by its sentinel
            pickle.dump(bytes(multiprocessing.current_process().authkey), stdin)
            stdin.write(self._job)
        self._job = None


_mine = threading.local()
"""The host that this thread offers."""

_once = threading.Lock()


def _listen_to_offers(utils: Any) -> None:
    """Have vLLM ask for the host of the thread it starts an engine in; elsewhere it gets what it had."""
    with _once:
        theirs = utils.get_mp_context
        if not hasattr(theirs, "of_colcap"):
            utils.get_mp_context = lambda: getattr(_mine, "host", None) or theirs()
            utils.get_mp_context.of_colcap = True


class _FetchedLater:
    """Stands where multiprocessing has a Popen: it asks for descriptors to be inherited, ours are fetched when used."""

    DupFd = resource_sharer.DupFd

    @staticmethod
    def duplicate_for_child(fd: int) -> int:
        return fd


@contextmanager
def _pickling_for_a_child() -> Iterator[None]:
    context.set_spawning_popen(_FetchedLater)  # type: ignore[arg-type]
    try:
        yield
    finally:
        context.set_spawning_popen(None)


def main(parent: int, cores: Sequence[int]) -> None:
    """Import vLLM, wait for work, do it."""
    die_with(parent)
    if cores:
        os.sched_setaffinity(0, cores)
    gc.disable()  # thousands of modules, and nothing to collect
    import vllm.v1.engine.core

    assert vllm.v1.engine.core
    gc.enable()
    work = io.BytesIO(sys.stdin.buffer.read())
    if work.getbuffer():
        multiprocessing.current_process().authkey = pickle.load(work)
        target, kwargs = pickle.load(work)
        target(**kwargs)


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(core) for core in sys.argv[2].split(",") if core])
