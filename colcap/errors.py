"""The two ways colcap fails: a row that says so, or a run that stops and says why."""

from __future__ import annotations

from typing import Final

ERROR_KINDS: Final = (
    "unreadable",
    "unsupported",
    "no_video",
    "no_frames",
    "too_short",
    "corrupt",
    "too_large",
    "timeout",
    "crashed",
    "encode_failed",
    "source_changed",
    "over_context",
    "rejected",
    "invalid_output",
    "engine_failed",
    "unknown",
)
"""Every value of an `error_kind` column; docs/troubleshooting.md says what to do about each."""

MAX_ERROR_CHARS: Final = 2000
"""Longer error texts are cut: a hostile file can make libav say megabytes."""


class RowError(Exception):
    """One clip, window or request failed; the row says so and the run goes on.

    Parameters
    ----------
    kind : one of ERROR_KINDS.
    text : what happened, for a person.
    skipped : the input is fine but gives nothing (no video, too short): `status` is `skipped`.

    Examples
    --------
    >>> RowError("too_short", "3 frames, at least 4 are needed", skipped=True).status
    'skipped'
    """

    def __init__(self, kind: str, text: str, *, skipped: bool = False) -> None:
        if kind not in ERROR_KINDS:
            raise ValueError(f"kind must be one of {ERROR_KINDS}, got {kind!r}")
        super().__init__(kind, text)
        self.kind = kind
        self.text = printable(text)[:MAX_ERROR_CHARS]
        self.skipped = skipped

    def __reduce__(self) -> tuple[object, ...]:
        return (_row_error, (self.kind, self.text, self.skipped))

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"

    @property
    def status(self) -> str:
        """`skipped` or `error`, as in the `status` columns."""
        return "skipped" if self.skipped else "error"


def _row_error(kind: str, text: str, skipped: bool) -> RowError:
    return RowError(kind, text, skipped=skipped)


def printable(text: str) -> str:
    """Replace control characters, which could drive a terminal, by spaces; keep newlines and tabs.

    >>> printable("a\\x1b[2Jb")
    'a [2Jb'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)


def counted(number: int, noun: str) -> str:
    """Say how many.

    >>> counted(2000, "window"), counted(1, "part")
    ('2,000 windows', '1 part')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def one_line(text: str) -> str:
    """Show control characters, line ends among them, as their escapes: nothing then looks like a line of ours.

    >>> one_line("a\\x1b[2Jb\\nc")
    'a\\\\x1b[2Jb\\\\nc'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class ColcapError(Exception):
    """The run cannot start or go on. The message says what to do; the CLI prints it and exits with `exit_code`."""

    exit_code = 1


class Refused(ColcapError):
    """What was asked cannot be done as it was asked: nothing was started."""

    exit_code = 2


class ConfigError(Refused):
    """A parameter is unknown, of the wrong type or out of range."""


class ManifestError(Refused):
    """The manifest is not one: unreadable, no `uri` or `mp4`, repeated ids, a uri that is not allowed."""


class RunError(Refused):
    """The run folder is in use, belongs to another manifest, or would mix two configurations."""


class QueryError(Refused):
    """A query was refused or is wrong."""


class WeightsError(Refused):
    """A model's weights are missing or incomplete."""


class EngineError(ColcapError):
    """The inference engine does not start, or died and could not be brought back."""
