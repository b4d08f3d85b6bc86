"""run.log: what happened in a run, one JSON object a line, with no secrets in it and of bounded size."""

from __future__ import annotations

import json
import logging
import logging.handlers
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from colcap.errors import one_line
from colcap.secrets import without_secrets

LOG_NAME: Final = "run.log"
MAX_LOG_BYTES: Final = 16 << 20
"""A full file becomes run.log.1, and the one before it goes."""

TOLD: Final = ("colcap.windows", "colcap.engines.child")
"""Loggers that say at INFO what `verbose` asks for: a line a window, and what an engine's processes say."""

log = logging.getLogger(__name__)


class JsonLine(logging.Formatter):
    """A record as one JSON object: time (UTC), level, logger, event, and the record's own `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            said["trace"] = self.formatException(record.exc_info)
        return json.dumps({key: _clean(value) for key, value in said.items()}, default=str)


def _clean(value: Any) -> Any:
    return without_secrets(value) if isinstance(value, str) else value


class _File(logging.handlers.RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: a disk that is full stops the run by itself, and with a better message."""


class _Shown(logging.Handler):
    """Prints through the console that shows progress, so above its bar."""

    def __init__(self, console: Console, told_level: int, warn_level: int) -> None:
        super().__init__()
        self._console, self._told_level, self._warn_level = console, told_level, warn_level

    def filter(self, record: logging.LogRecord) -> bool:
        """What `verbose` asks for, and warnings; why a run stopped is told by whoever ran it."""
        level = self._told_level if record.name.startswith(TOLD) else self._warn_level
        return record.levelno >= level and record.name != __name__

    def emit(self, record: logging.LogRecord) -> None:
        """Print it; a process that says what it likes does not drive the terminal."""
        lines = record.getMessage().splitlines()
        self._console.print("\n".join(map(one_line, lines)), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def logged(run: Path, verb: str, console: Console | None = None) -> Iterator[None]:
    """Keep a log of what colcap does while the block runs.

    Parameters
    ----------
    run : the run folder, held by this process.
    verb : what is done, told in the first line.
    console : where progress is shown, and above it what `verbose` asks for, and warnings.
    """
    ours = logging.getLogger("colcap")
    handlers: list[logging.Handler] = [_File(run / LOG_NAME, maxBytes=MAX_LOG_BYTES, backupCount=1, encoding="utf-8")]
    handlers[0].setFormatter(JsonLine())
    # with a handler of our own, Python would no longer show warnings by itself
    warn_level = logging.CRITICAL + 1 if ours.hasHandlers() else logging.WARNING
    handlers.append(_Shown(console or Console(stderr=True), logging.INFO if console else warn_level, warn_level))
    before = ours.level
    ours.setLevel(logging.INFO)
    for handler in handlers:
        ours.addHandler(handler)
    try:
        log.info("start", extra={"fields": {"verb": verb}})
        yield
        log.info("end")
    except BaseException as error:
        log.error("stopped", extra={"fields": {"error": f"{type(error).__name__}: {error}"}})  # noqa: TRY400
        raise
    finally:
        ours.setLevel(before)
        for handler in handlers:
            ours.removeHandler(handler)
            handler.close()
