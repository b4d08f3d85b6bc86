"""What `explain` answers: numbers, and the words to read them by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

BAR: Final = 40
"""Width of the longest bar of a histogram, in characters."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Windows whose frames are this many tokens."""

    low: int
    """Least tokens, inclusive."""
    high: int
    """Most tokens, inclusive."""
    windows: int
    """How many windows."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a few clips took on this machine."""

    clips: int
    """Clips whose media work was timed."""
    windows: int
    """Windows that were captioned; 0 where there was no engine."""
    media_s_per_window: float
    """Seconds of one media worker for a window: cut, preview and frames."""
    captions_per_s: float | None
    """Captions a second of the engine; None where there was none."""
    engine_start_s: float | None
    """Seconds until the engine was ready."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a run would make, write and take; printing it shows all of that.

    Where not every clip was looked at, counts, bytes and hours are extrapolated from those that were.
    """

    clips: int
    """Clips of the manifest."""
    clips_probed: int
    """Clips that were looked at."""
    clips_failed: dict[str, int]
    """Of those, the ones that give no windows, by error kind."""
    examples: dict[str, str]
    """One clip and its error for each kind, windows included."""
    windows: int
    """Windows of all clips."""
    source_frames: int
    """Displayed frames of all windows."""
    source_hours: float
    """Their length, in hours."""
    sampled_frames: int | None
    """Frames the model would see; None where captions are off or the model is not known."""
    vision_tokens: int | None
    """Tokens of them all."""
    vision_histogram: tuple[Bin, ...]
    """Windows by the tokens of their frames."""
    prompt_tokens: int | None
    """Tokens of all prompts, frames included, first pass only."""
    windows_shrunk: int
    """Windows whose frames are shrunk to fit into the context."""
    windows_over_context: int
    """Windows that do not fit even so: error rows."""
    bytes_mp4: int
    """Bytes of the windows."""
    bytes_previews: int
    """Bytes of the previews."""
    bytes_tables: int
    """Bytes of the tables of facts and texts."""
    calibration: Calibration | None
    """What the estimate of hours is from; None where nothing was timed."""
    media_workers: int
    """Worker processes of the run on this machine."""
    media_hours: float | None
    """Hours of all media workers side by side."""
    caption_hours: float | None
    """Hours of the engine."""
    notes: tuple[str, ...]
    """What is missing, estimated or left out."""

    @property
    def hours(self) -> float | None:
        """Estimated hours: the slower of media work and captions, which overlap; None where one is not known."""
        if self.media_hours is None or (self.sampled_frames is not None and self.caption_hours is None):
            return None
        return max(self.media_hours, self.caption_hours or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {**asdict(self), "hours": self.hours}

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """The same for a person."""
        looked = "" if self.clips_probed == self.clips else f" ({self.clips_probed:,} looked at, the rest extrapolated)"
        yield f"{'clips':<16}{self.clips:>14,}{looked}"
        for kind, count in self.clips_failed.items():
            yield f"{'':<16}{count:>14,}  {kind}, e.g. {self.examples[kind]}"
        yield f"{'windows':<16}{self.windows:>14,}  {self.source_frames:,} source frames, {self.source_hours:,.2f} h"
        if self.sampled_frames is not None:
            yield from self._token_lines()
        yield from self._byte_lines()
        yield from self._time_lines()
        yield from (f"note: {note}" for note in self.notes)

    def _token_lines(self) -> Iterator[str]:
        yield f"{'sampled frames':<16}{self.sampled_frames:>14,}"
        yield f"{'vision tokens':<16}{self.vision_tokens:>14,}  by window:"
        yield from _bars(self.vision_histogram)
        yield f"{'prompt tokens':<16}{self.prompt_tokens:>14,}  frames included"
        yield f"{'shrunk':<16}{self.windows_shrunk:>14,}  windows whose frames are made smaller to fit the context"
        yield f"{'over context':<16}{self.windows_over_context:>14,}  windows that do not fit even so: error rows"
        if "over_context" in self.examples:
            yield f"{'':<32}e.g. {self.examples['over_context']}"

    def _byte_lines(self) -> Iterator[str]:
        total = self.bytes_mp4 + self.bytes_previews + self.bytes_tables
        parts = f"windows {_size(self.bytes_mp4)}, previews {_size(self.bytes_previews)}"
        yield f"{'to write':<16}{_size(total):>14}  about: {parts}, tables {_size(self.bytes_tables)}"

    def _time_lines(self) -> Iterator[str]:
        if self.media_hours is not None:
            workers = "1 worker" if self.media_workers == 1 else f"{self.media_workers} workers"
            yield f"{'media work':<16}{_clock(self.media_hours):>14}  on {workers}"
        if self.caption_hours is not None and self.calibration is not None:
            yield f"{'captions':<16}{_clock(self.caption_hours):>14}  at {self.calibration.captions_per_s:.2f} a second"
        if self.calibration is not None and self.calibration.engine_start_s is not None:
            yield f"{'engine start':<16}{_clock(self.calibration.engine_start_s / 3600):>14}  once"
        if self.hours is not None:
            yield f"{'estimated time':<16}{_clock(self.hours):>14}  on this machine: both overlap, the slower counts"


def _bars(bins: Sequence[Bin]) -> Iterator[str]:
    most = max((b.windows for b in bins), default=0)
    for b in bins:
        tokens = f"{b.low:,}" if b.low == b.high else f"{b.low:,} to {b.high:,}"
        yield f"  {tokens:>28}  {'█' * max(1 if b.windows else 0, round(BAR * b.windows / most))} {b.windows:,}"


def _size(num_bytes: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{num_bytes / size:,.1f} {unit}"
    return f"{num_bytes / 1e3:,.1f} kB"


def _clock(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} h"
    return f"{60 * hours:.1f} min" if hours >= 1 / 60 else f"{3600 * hours:.1f} s"
