"""The engine's process: it imports vLLM while the front-end does, and then becomes vLLM's engine process.

vLLM would start that process itself, once the front-end has imported everything, through multiprocessing: 7 s
later, with this process's environment and standard streams, and running the user's script again as `__mp_main__`.
Here it is an interpreter of its own session, so that Ctrl-C in a terminal does not reach it, that dies with us
even if we are killed, and whose every line goes to logging.
"""

from __future__ import annotations

import collections
import ctypes
import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.reduction import ForkingPickler
from typing import IO, Any, Final

log = logging.getLogger(__name__)

LAST_LINES: Final = 40
"""Lines kept of what the engine's process said, for the message when it dies."""

PR_SET_PDEATHSIG: Final = 1


class EngineHost:
    """One engine process. To vLLM it is both the multiprocessing context and the process that context makes.

    Parameters
    ----------
    env : environment variables for it alone.
    cores : cores it may run on; all where None.
    verbose : let it write to our standard error instead of to logging.

    It must be made by a thread that outlives it: Linux ends it together with the thread that started it.
    """

    name = "EngineCore"

    def __init__(self, *, env: Mapping[str, str], cores: Sequence[int] | None, verbose: bool) -> None:
        path = os.pathsep.join(p for p in sys.path if p)
        wanted = ",".join(map(str, cores or ()))
        stream = None if verbose else subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, str(os.getpid()), wanted],
            env={**os.environ, **env, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=2 if verbose else stream,
            stderr=stream if verbose else subprocess.STDOUT,
            start_new_session=True,
        )
        self._lines: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        if self._process.stdout is not None:
            threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()
        self.sentinel = os.pidfd_open(self._process.pid)
        weakref.finalize(self, os.close, self.sentinel)  # not in `kill`: vLLM may still be watching it
        self._job: bytes | None = None

    def _listen(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                text = line.decode(errors="replace").rstrip()
                self._lines.append(text)
                log.debug("%s", text)

    def last_words(self) -> str:
        """What the process said last."""
        return "\n".join(self._lines)

    @contextmanager
    def offered(self) -> Iterator[None]:
        """While this lasts, vLLM takes this process when it wants to start one.

        A vLLM that no longer asks here starts its own: slower, but just as right.
        """
        from vllm.v1.engine import utils

        theirs = utils.get_mp_context
        utils.get_mp_context = lambda: self
        try:
            yield
        finally:
            utils.get_mp_context = theirs

    # ---- what vLLM asks of a multiprocessing context

    def Process(self, *, target: Any, name: str, kwargs: Mapping[str, Any]) -> EngineHost:
        """Keep the work until `start`."""
        self.name = name
        self._job = bytes(ForkingPickler.dumps((target, dict(kwargs))))
        return self

    # ---- what vLLM asks of a process

    def start(self) -> None:
        """Hand the work over."""
        assert self._process.stdin is not None
        assert self._job is not None
        with suppress(BrokenPipeError), self._process.stdin as stdin:  # a dead one is found by its sentinel
            stdin.write(self._job)
        self._job = None

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def exitcode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it and everything it started, which is all of its session."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()


def main(parent: int, cores: Sequence[int]) -> None:
    """Import vLLM, wait for work, do it."""
    _die_with(parent)
    if cores:
        os.sched_setaffinity(0, cores)
    gc.disable()  # thousands of modules, and nothing to collect
    import vllm.v1.engine.core

    assert vllm.v1.engine.core
    gc.enable()
    job = sys.stdin.buffer.read()
    if job:
        target, kwargs = pickle.loads(job)
        target(**kwargs)


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), [int(core) for core in sys.argv[2].split(",") if core])
