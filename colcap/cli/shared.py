"""What the verbs share: the consoles, common arguments, Ctrl-C, and the summary of a run."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import click
from rich.console import Console
from rich.markup import escape

from colcap.errors import ConfigError
from colcap.objects.url import Url, place

LINE_EVERY_S: Final = 10.0
"""Without a terminal, one line of progress this often, in seconds."""


class _PlaceType(click.ParamType):  # type: ignore[type-arg]
    """A path, or the URL of an object store, which a path would mend to `s3:/…`."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | Url:
        try:
            return place(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


PLACE: Final = _PlaceType()
EXISTING_RUN = click.argument("run", type=PLACE)
FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="How to print the rows; parquet goes to standard output as bytes.",
)

out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def print_summary(run: Any) -> int:
    """Print what a run holds; returns the number of rows that ended in an error."""
    from colcap.printing import summary_lines

    lines, failed = summary_lines(run)
    for line in lines:
        out.print(escape(line))
    return failed


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """Takes lines of progress: shown live on a terminal, else one now and then."""
    if err.is_terminal:
        with err.status("") as status:
            yield lambda line: status.update(escape(line))
        return
    last = time.monotonic()

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            err.print(escape(line))

    yield tell


class ctrl_c:
    """The first Ctrl-C stops a run cleanly, the second at once."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._first)

    def __exit__(self, *exc: object) -> None:
        if signal.getsignal(signal.SIGINT) == self._first:  # else we are leaving because of it
            signal.signal(signal.SIGINT, self._before)

    def _first(self, number: int, frame: FrameType | None) -> None:
        from colcap.runners.local import Interrupted

        signal.signal(signal.SIGINT, self._second)
        err.print("stopping; Ctrl-C again stops at once")
        raise Interrupted("stopped. Committed parts are kept; the same command goes on from there.")

    def _second(self, number: int, frame: FrameType | None) -> None:
        os._exit(130)
