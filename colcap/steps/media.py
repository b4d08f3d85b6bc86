"""Clips in, window rows out: facts, mp4, preview and sampled frames of every window, from one decode.

A step is a function from batch to batch. This one is called by the runners (one clip a batch, in worker
processes) and by the lazy verbs (many clips a batch, in this process); it never sees a run folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl

from colcap import media
from colcap.errors import RowError
from colcap.schema import MEDIA
from colcap.steps.media_rows import clip_facts, clip_failed, clip_window, window_failed, window_made


@dataclass(frozen=True, slots=True)
class MediaStep:
    """Turns clip rows into window rows.

    In: `clip_id`, `uri`, `part`, optionally `mp4` (the clip itself), `num_bytes` (what its size should be) and
    `max_tokens` (as in `SampleSpec`; null: as for all).
    Out: `schema.MEDIA`, one row per window in order; a clip without windows is one row with a null `window`.
    """

    wanted: media.Wanted
    """Which products, and how."""
    limits: media.Limits
    """What a clip may cost."""
    read: Callable[[str], bytes]
    """Reads a clip's bytes by uri; raises RowError."""

    def __call__(self, clips: pl.DataFrame) -> pl.DataFrame:
        rows = [row for clip in clips.iter_rows(named=True) for row in self._rows(clip)]
        return pl.DataFrame(rows, schema=MEDIA, orient="row")

    def failed(self, clips: pl.DataFrame, error: RowError) -> pl.DataFrame:
        """The rows of clips whose worker crashed, hung or grew too large."""
        rows = [clip_failed(clip, error) for clip in clips.iter_rows(named=True)]
        return pl.DataFrame(rows, schema=MEDIA, orient="row")

    def _rows(self, clip: dict[str, Any]) -> list[dict[str, Any]]:
        num_bytes = None
        try:
            data = self.read(clip["uri"]) if clip.get("mp4") is None else clip["mp4"]
            num_bytes = len(data)
            _require_unchanged(clip, num_bytes)
            made = media.process_clip(data, _own(self.wanted, clip), self.limits)
        except RowError as error:
            return [clip_failed(clip, error, num_bytes)]
        facts = clip_facts(clip, made)
        return [clip_window(facts, index, window, made.probe) for index, window in enumerate(made.windows)]


@dataclass(frozen=True, slots=True)
class WindowStep:
    """Makes previews and samples of windows that are stored already; the source is not read again.

    In: `window_id`, `fps`, `start_s`, `end_s` and `mp4`, as in the windows tables; a null mp4 is a window whose
    cut failed; optionally `max_tokens` (as in `SampleSpec`; null: as for all). Out: `schema.MEDIA` with a null `clip`,
    and `window` reduced to its id.
    """

    wanted: media.Wanted
    limits: media.Limits

    def __call__(self, windows: pl.DataFrame) -> pl.DataFrame:
        rows = [self._row(window) for window in windows.iter_rows(named=True)]
        return pl.DataFrame(rows, schema=MEDIA, orient="row")

    def failed(self, windows: pl.DataFrame, error: RowError) -> pl.DataFrame:
        """The rows of windows whose worker crashed, hung or grew too large."""
        rows = [window_failed(window["window_id"], error, self.wanted) for window in windows.iter_rows(named=True)]
        return pl.DataFrame(rows, schema=MEDIA, orient="row")

    def _row(self, window: dict[str, Any]) -> dict[str, Any]:
        if window["mp4"] is None:
            kind, text = window.get("error_kind") or "encode_failed", window.get("error") or "the window has no bytes"
            return window_failed(window["window_id"], RowError(kind, text), self.wanted)
        seconds = window["end_s"] - window["start_s"]
        try:
            made = media.process_window(
                window["mp4"], _own(self.wanted, window), fps=window["fps"], duration_s=seconds, limits=self.limits
            )
        except RowError as error:
            return window_failed(window["window_id"], error, self.wanted)
        return window_made(window["window_id"], made)


@dataclass(frozen=True, slots=True)
class SourceWindowStep:
    """Makes previews and samples of windows whose bytes were not stored: their source is decoded again.

    In: `clip_id`, `uri`, `num_bytes`, optionally `mp4` and `max_tokens` as for `MediaStep`, and `windows`: a list of
    structs with `window_id`, `window_index`, `start_frame`, `end_frame`.
    Out: `schema.MEDIA` with a null `clip` and `window` reduced to its id, a row for each of `windows`; a source that is
    not what it was gives `source_changed`.
    """

    wanted: media.Wanted
    limits: media.Limits
    read: Callable[[str], bytes]

    def __call__(self, clips: pl.DataFrame) -> pl.DataFrame:
        rows = [row for clip in clips.iter_rows(named=True) for row in self._rows(clip)]
        return pl.DataFrame(rows, schema=MEDIA, orient="row")

    def failed(self, clips: pl.DataFrame, error: RowError) -> pl.DataFrame:
        """The rows of clips whose worker crashed, hung or grew too large."""
        rows = [row for clip in clips.iter_rows(named=True) for row in self._failed(clip, error)]
        return pl.DataFrame(rows, schema=MEDIA, orient="row")

    def _rows(self, clip: dict[str, Any]) -> list[dict[str, Any]]:
        try:
            data = self.read(clip["uri"]) if clip.get("mp4") is None else clip["mp4"]
            if len(data) != clip["num_bytes"]:
                raise RowError("source_changed", f"it has {len(data)} bytes, and had {clip['num_bytes']}")
            made = media.process_clip(data, _own(self.wanted, clip), self.limits).windows
            return [window_made(known["window_id"], _same_window(made, known)) for known in clip["windows"]]
        except RowError as error:
            return self._failed(clip, error)

    def _failed(self, clip: dict[str, Any], error: RowError) -> list[dict[str, Any]]:
        return [window_failed(known["window_id"], error, self.wanted) for known in clip["windows"]]


def _same_window(made: list[media.Window], known: dict[str, Any]) -> media.Window:
    index: int = known["window_index"]
    frames = (known["start_frame"], known["end_frame"])
    if index >= len(made) or (made[index].start_frame, made[index].end_frame) != frames:
        raise RowError("source_changed", f"it has no window {index} of frames {frames[0]} to {frames[1]} any more")
    return made[index]


def _own(wanted: media.Wanted, row: Mapping[str, Any]) -> media.Wanted:
    """The products wanted of a row whose own prompt leaves its frames more room than the others', or less."""
    room = row.get("max_tokens")
    if room is None or wanted.sample is None:
        return wanted
    return replace(wanted, sample=replace(wanted.sample, max_tokens=room))


def _require_unchanged(clip: dict[str, Any], num_bytes: int) -> None:
    wanted = clip.get("num_bytes")
    if wanted is not None and wanted != num_bytes:
        text = f"it has {num_bytes} bytes and had {wanted} when the manifest was made; list it anew in a new manifest"
        raise RowError("source_changed", text)


def clip_rows(made: pl.DataFrame) -> pl.DataFrame:
    """The clips table of media rows: one row a clip."""
    return made.select("clip").unnest("clip").unique("clip_id", keep="first", maintain_order=True)


def table_rows(made: pl.DataFrame, table: str) -> pl.DataFrame:
    """The windows, windows_mp4, previews, previews_webp or samples table of media rows."""
    column = _STRUCTS[table]
    # Expressions cost 0.3 ms each whatever the size, and this is called for every clip
    if made.get_column("window").null_count() or made.get_column(column).null_count():
        made = made.filter(pl.col("window").is_not_null() & pl.col(column).is_not_null())
    if table in ("windows", "previews"):
        return made.get_column(column).struct.unnest()
    if table == "samples":
        return made.get_column("sample").struct.unnest().hstack([made.get_column("frames")])
    return pl.DataFrame([made.get_column("window").struct.field("window_id"), made.get_column(column)])


_STRUCTS: Final = {
    "windows": "window",
    "windows_mp4": "mp4",
    "previews": "preview",
    "previews_webp": "webp",
    "samples": "sample",
}
