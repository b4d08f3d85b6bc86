"""SQL of strangers in a process of its own, since DuckDB by itself cannot be held to a limit.

Its memory limit leaves out the strings and lists that functions make, and it looks at an interrupt only between two
vectors: `SELECT repeat('x', 2000000000)` took 4 GB and half a minute. A process has a limit that the kernel keeps, and
can be killed at any time. It costs 0.5 s a query.
"""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from colcap.engines.child import die_with
from colcap.errors import QueryError, Refused, RunError, printable
from colcap.qa.answer import FAILURES, Select, answer
from colcap.qa.locked import open_locked

MAX_MEMORY_BYTES: Final = 3 << 30
"""Of the process: DuckDB's own 2 GB, and what it does not count."""

_REFUSALS: Final[dict[int, type[Refused]]] = {3: QueryError, 4: RunError}
"""By the exit code that stands for them."""

_MAIN: Final = f"from {__name__} import main; main()"


@dataclass(frozen=True, slots=True)
class Question:
    """A SELECT over a run."""

    run: Path
    """The run folder, without links."""
    views: Sequence[str]
    """What makes its views."""
    select: Select
    """A stranger's."""
    memory_limit: str
    """As `locked.open_locked` takes it."""


def ask_apart(question: Question, *, timeout_s: float) -> pa.Table:
    """Answer a question in a process that is killed after `timeout_s` seconds, or with the calling thread.

    Raises
    ------
    RunError : the run folder is none.
    QueryError : refused, wrong, too slow, or too large.
    """
    command = [sys.executable, "-P", "-c", _MAIN, str(os.getpid())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    sent = pickle.dumps(question)
    try:
        done = subprocess.run(
            command,
            check=False,
            input=sent,
            env=environment,
            capture_output=True,
            timeout=timeout_s,
            start_new_session=True,  # a terminal's Ctrl-C is for us, who then end it
        )
    except subprocess.TimeoutExpired:
        raise QueryError(f"stopped after {timeout_s:g} s") from None
    if done.returncode in _REFUSALS:
        raise _REFUSALS[done.returncode](done.stderr.decode(errors="replace"))
    if done.returncode:
        raise QueryError(f"the query's process died ({done.returncode}); it may have {MAX_MEMORY_BYTES >> 30} GiB")
    return pa.ipc.open_stream(done.stdout).read_all()


def main() -> None:
    """Answer the question on stdin as an Arrow stream on stdout, or say on stderr what is wrong with it."""
    die_with(int(sys.argv[1]))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    question = pickle.load(sys.stdin.buffer)
    try:
        _reply(question)
    except (Refused, *FAILURES) as error:
        codes = [code for code, kind in _REFUSALS.items() if isinstance(error, kind)]
        sys.stderr.buffer.write((printable(str(error)) or "out of memory").encode(errors="replace"))
        sys.stderr.flush()
        os._exit(codes[0] if codes else 3)


def _reply(question: Question) -> None:
    with closing(open_locked(question.run, question.views, memory_limit=question.memory_limit)) as connection:
        schema, batches = answer(connection, question.select)
        with pa.ipc.new_stream(sys.stdout.buffer, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    sys.stdout.flush()
