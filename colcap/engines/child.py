"""A Python process of ours beside this one: in a session of its own, dies with us, its every line goes to logging."""

from __future__ import annotations

import collections
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

log = logging.getLogger(__name__)

LAST_LINES: Final = 40
"""Lines kept of what a process said, for the message when it dies."""

PR_SET_PDEATHSIG: Final = 1


class Child:
    """Runs a module as a script. A session of its own keeps a terminal's Ctrl-C from it.

    Parameters
    ----------
    module : what to run; it calls `die_with` on its first argument, our process id.
    args : its further arguments.
    env : environment variables for it alone.
    verbose : what it says is logged as INFO, else as DEBUG.
    fds : file descriptors it inherits, under the same numbers.

    It must be made by a thread that outlives it: Linux ends it together with the thread that started it.
    """

    def __init__(
        self, module: str, args: Sequence[str], *, env: Mapping[str, str], verbose: bool, fds: Sequence[int] = ()
    ) -> None:
        path = os.pathsep.join(p for p in sys.path if p)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(os.getpid()), *args],
            env={**os.environ, **env, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=fds,
        )
        self._lines: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._ended_here = False
        self._level = logging.INFO if verbose else logging.DEBUG
        if self._process.stdout is not None:
            threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True).start()

    def _listen(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                text = line.decode(errors="replace").rstrip()
                self._lines.append(text)
                log.log(self._level, "%s", text)

    def last_words(self) -> str:
        """What the process said last."""
        return "\n".join(self._lines)

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def exitcode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def was_killed(self) -> bool:
        """Whether a signal has ended it that was not sent here: somebody's, or the kernel's, short of memory."""
        return (self.exitcode or 0) < 0 and not self._ended_here

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)

    def terminate(self) -> None:
        """Ask it to end."""
        self._ended_here |= self.is_alive()
        self._process.terminate()

    def kill(self) -> None:
        """End it and everything it started, which is all of its session."""
        self._ended_here |= self.is_alive()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()


def die_with(parent: int) -> None:
    """Have the kernel end this process when the thread that started it ends, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked
        sys.exit(1)
