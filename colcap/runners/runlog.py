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

from colcap.secrets import without_secrets

LOG_NAME: Final = "run.log"
MAX_LOG_BYTES: Final = 16 << 20
"""A full file becomes run.log.1, and the one before it goes."""

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


@contextmanager
def logged(run: Path, verb: str, *, verbose: bool = False) -> Iterator[None]:
    """Keep a log of what colcap does while the block runs.

    Parameters
    ----------
    run : the run folder, held by this process.
    verb : what is done, told in the first line.
    verbose : what the engine says as well.
    """
    ours = logging.getLogger("colcap")
    handlers: list[logging.Handler] = [_File(run / LOG_NAME, maxBytes=MAX_LOG_BYTES, backupCount=1, encoding="utf-8")]
    handlers[0].setFormatter(JsonLine())
    if not ours.hasHandlers():  # with a handler of our own, Python would no longer show warnings by itself
        handlers.append(logging.StreamHandler())
        handlers[1].setLevel(logging.WARNING)
        handlers[1].addFilter(lambda record: record.name != __name__)  # why a run stopped is told by whoever ran it
    before = ours.level
    ours.setLevel(logging.DEBUG if verbose else logging.INFO)
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
