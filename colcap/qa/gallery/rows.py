"""What a gallery shows: a card for each window, and for each clip that gave none, from SQL over the run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from colcap.errors import counted
from colcap.qa.answer import First
from colcap.qa.select import EVERYTHING, ask_where
from colcap.qa.views import caption_sets

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_SHOWN: Final = (
    "window_id, clip_id, uri, part, window_index, start_s, end_s, preview_width, preview_height, webp_bytes, "
    "preview_status, caption_set, attempt, caption, prompt_tokens, output_tokens, finish_reason, model, "
    "enhanced_caption, enhanced_tokens, status, error_kind, error, warning"
)

_ORDER: Final = ("clip_id", "window_index", "caption_set")
_FIRST: Final = f"select {_SHOWN} from ({{matching}}) order by {', '.join(_ORDER)} limit $rows"
_COUNT: Final = """
select count(distinct window_id) as windows, count(distinct clip_id) filter (window_id is null) as clips
from ({matching})
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What one caption set says of a window."""

    caption_set: str
    """Its name; empty where the window has no caption row."""
    caption: str
    """The caption that counts; empty where there is none."""
    enhanced: str
    """Its enhancement; empty where there is none."""
    prompt_tokens: int | None
    """Tokens the model read."""
    output_tokens: int | None
    """Tokens of the caption."""
    enhanced_tokens: int | None
    """Tokens of the enhancement."""
    finish_reason: str
    """`stop`, or `length` where the caption was cut off."""
    model: str
    """Who says it."""
    attempt: int | None
    """Which try at it this is."""
    status: str
    """ok, skipped or error: the worst of the window's steps."""
    error_kind: str
    """Its kind; empty where all is well."""
    error: str
    """What happened; empty where all is well."""


@dataclass(frozen=True, slots=True)
class Card:
    """A window, or a clip without windows."""

    window_id: str
    """Empty for a clip without windows."""
    clip_id: str
    """The clip it is of."""
    uri: str
    """Where the clip is."""
    part: int
    """The part that has it."""
    window_index: int | None
    """Its place among the clip's windows, from 0."""
    start_s: float | None
    """Seconds from the clip's start."""
    end_s: float | None
    """Where its last frame stops being shown, in seconds."""
    width: int
    """Of the preview, in pixels; 0 without one."""
    height: int
    """Of the preview, in pixels; 0 without one."""
    webp_bytes: int
    """Size of the preview; 0 without one."""
    warning: str
    """What colcap warned of, line by line."""
    said: tuple[Said, ...]
    """By caption set, in alphabetical order; at least one."""

    @property
    def file_name(self) -> str:
        """Of the clip, without its folders; empty where the manifest has its bytes."""
        return self.uri.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Count:
    """How many cards there are."""

    windows: int
    """Those of windows."""
    clips: int
    """Those of clips without windows."""

    def __str__(self) -> str:
        """In words.

        >>> print(Count(2000, 0), "|", Count(1, 2))
        2,000 windows | 1 window, 2 clips without windows
        """
        clips = f", {counted(self.clips, 'clip')} without windows" if self.clips else ""
        return counted(self.windows, "window") + clips


@dataclass(frozen=True, slots=True)
class Choice:
    """The cards of a page."""

    cards: tuple[Card, ...]
    """In the order of clips and time."""
    total: Count
    """Those that match, shown or not."""

    @property
    def shown(self) -> Count:
        """How many cards there are."""
        return count(self.cards)


def count(cards: Sequence[Card]) -> Count:
    """How many cards are of windows, and of clips without."""
    windows = sum(bool(card.window_id) for card in cards)
    return Count(windows, len(cards) - windows)


def choose(run: Path, *, where: str | None = None, limit: int = 2000) -> Choice:
    """Find the windows to show.

    Parameters
    ----------
    run : the run folder.
    where : an SQL condition over EVERYTHING's columns; all windows where None. Only caption sets that match are shown.
    limit : cards at most.

    Raises
    ------
    QueryError : the condition is wrong, or would do more than read.
    """
    most = limit * max(1, len(caption_sets(run)))  # no window has more rows than there are sets
    first = First(_ORDER, most)
    rows = ask_where(run, _FIRST, rows=EVERYTHING, where=where, params={"rows": most, "of_set": None}, first=first)
    windows = groupby(rows.iter_rows(named=True), key=lambda row: (row["clip_id"], row["window_id"]))
    cards = tuple(_card(tuple(same)) for _, same in windows)
    if rows.height < most:  # nothing was left out
        return Choice(cards[:limit], count(cards))
    total = ask_where(run, _COUNT, rows=EVERYTHING, where=where, params={"of_set": None}).sum()
    return Choice(cards[:limit], Count(*total.row(0)))


def _card(rows: tuple[dict[str, Any], ...]) -> Card:
    row = {name: _clean(value) for name, value in rows[0].items()}
    has_preview = row["preview_status"] == "ok"
    return Card(
        window_id=row["window_id"] or "",
        clip_id=row["clip_id"] or "",
        uri=row["uri"] or "",
        part=row["part"],
        window_index=row["window_index"],
        start_s=row["start_s"],
        end_s=row["end_s"],
        width=(row["preview_width"] or 0) if has_preview else 0,
        height=(row["preview_height"] or 0) if has_preview else 0,
        webp_bytes=(row["webp_bytes"] or 0) if has_preview else 0,
        warning=row["warning"] or "",
        said=tuple(_said(rows)),
    )


def _said(rows: Iterable[dict[str, Any]]) -> Iterable[Said]:
    for dirty in rows:
        row = {name: _clean(value) for name, value in dirty.items()}
        yield Said(
            caption_set=row["caption_set"] or "",
            caption=row["caption"] or "",
            enhanced=row["enhanced_caption"] or "",
            prompt_tokens=row["prompt_tokens"],
            output_tokens=row["output_tokens"],
            enhanced_tokens=row["enhanced_tokens"],
            finish_reason=row["finish_reason"] or "",
            model=row["model"] or "",
            attempt=row["attempt"],
            status=row["status"] or "",
            error_kind=row["error_kind"] or "",
            error=row["error"] or "",
        )


def _clean(value: Any) -> Any:
    """HTML has no control characters, not even escaped."""
    return _CONTROL.sub("�", value) if isinstance(value, str) else value
