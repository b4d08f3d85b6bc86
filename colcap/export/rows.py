"""What an export is made of: a part's rows by SQL, and its bytes a row group at a time."""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl

from colcap.blobs import Blobs
from colcap.errors import QueryError, printable
from colcap.qa.connect import connect
from colcap.qa.queries import ask
from colcap.qa.select import EVERYTHING, ask_where
from colcap.qa.views import caption_sets
from colcap.store import list_parts, part_name, table_dir

ROWS: Final = """
select
    clips.clip_id, clips.uri, clips.part, w.window_id, w.window_index, w.start_frame, w.end_frame, w.start_s, w.end_s,
    w.num_frames, w.fps, w.width, w.height, w.cut, w.mp4_bytes, w.mp4_sha256,
    clips.width as source_width, clips.height as source_height, clips.fps as source_fps,
    clips.num_frames as source_num_frames, clips.duration_s as source_duration_s, clips.codec as source_codec,
    clips.num_bytes as source_bytes,
    p.num_frames as preview_num_frames, p.webp_bytes, p.webp_sha256,
    c.caption_set, c.attempt, c.caption, c.caption_json, c.stage1_caption, e.enhanced_caption,
    c.prompt_tokens, c.output_tokens, c.finish_reason, c.model, c.model_revision, c.prompt_variant, c.prompt_sha256,
    c.fingerprint, e.model as enhanced_model,
    case
        when 'error' in (clips.status, w.status, p.status, c.status, e.status) then 'error'
        when 'skipped' in (clips.status, w.status, p.status, c.status, e.status) then 'skipped'
        else coalesce(w.status, clips.status)
    end as status,
    list_filter([
        {'step': 'clip', 'status': clips.status, 'error_kind': clips.error_kind, 'error': clips.error},
        {'step': 'window', 'status': w.status, 'error_kind': w.error_kind, 'error': w.error},
        {'step': 'preview', 'status': p.status, 'error_kind': p.error_kind, 'error': p.error},
        {'step': 'caption', 'status': c.status, 'error_kind': c.error_kind, 'error': c.error},
        {'step': 'enhanced', 'status': e.status, 'error_kind': e.error_kind, 'error': e.error}
    ], lambda x: x.status in ('error', 'skipped')) as errors,
    nullif(concat_ws(chr(10), nullif(clips.warning, ''), nullif(w.warning, ''), nullif(p.warning, ''),
        nullif(c.warning, '')), '') as warning,
    clips.* exclude (clip_id, uri, part, warning, width, height, fps, num_frames, duration_s, codec, rotation,
        has_audio, num_bytes, num_windows, status, error_kind, error)
from clips
left join windows as w on w.clip_id = clips.clip_id
left join previews as p on p.window_id = w.window_id
left join captions_latest as c on c.window_id = w.window_id and ($caption_set is null or c.caption_set = $caption_set)
left join enhanced_latest as e
    on e.window_id = c.window_id and e.caption_set = c.caption_set and e.caption_attempt = c.attempt
"""
"""One row a window and caption set; one row for a clip without windows. The manifest's own columns come last."""

_KEYS: Final = ["clip_id", "window_id", "caption_set"]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows are exported: those for which `where` holds, with the captions of one set or of all."""

    run: Path
    """The run folder."""
    where: str | None = None
    """An SQL condition over `qa.select.EVERYTHING`'s columns."""
    caption_set: str | None = None
    """Whose captions; None: of all sets, a row each."""

    def chosen(self) -> pl.DataFrame | None:
        """Keys of the rows for which the condition holds; None where there is no condition.

        It is asked of the whole run, since a condition may look at other rows.

        Raises
        ------
        QueryError : the condition is wrong, or would do more than read.
        """
        if self.where is None:
            return None
        query = "select distinct part, clip_id, window_id, caption_set from ({matching})"
        return ask_where(self.run, query, rows=EVERYTHING, where=self.where, params={"of_set": self.caption_set})


def check_set(run: Path, wanted: str | None) -> None:
    """Refuse a caption set that is not there.

    Raises
    ------
    QueryError : it has no captions.
    """
    there = caption_sets(run)
    if wanted is not None and wanted not in there:
        raise QueryError(f"{run}: has no captions in set {printable(wanted)!r}; it has {', '.join(there) or 'none'}")


@dataclass(frozen=True)
class PartRows:
    """One part of a run: its chosen rows in the manifest's order, and its bytes."""

    run: Path
    """The run folder."""
    part: int
    """Number of the manifest's slice."""
    rows: pl.DataFrame
    """As ROWS says."""

    @cached_property
    def digest(self) -> str:
        """Changes whenever a row does; the rows know the checksums of their bytes."""
        digest = hashlib.sha256(repr(self.rows.schema).encode())
        for row in self.rows.iter_rows():  # not as JSON: polars panics on a manifest's own column of bytes
            digest.update(repr(row).encode())
        return digest.hexdigest()

    def blobs(self, table: str, column: str) -> Blobs:
        """Bytes of one of its blob tables."""
        return Blobs(table_dir(self.run, table) / part_name(self.part), column)


def read_part(choice: Choice, part: int, chosen: pl.DataFrame | None) -> PartRows:
    """The rows of one part.

    Raises
    ------
    QueryError : the part cannot be read.
    """
    with closing(connect(choice.run, part=part)) as connection:
        rows = ask(connection, ROWS, params={"caption_set": choice.caption_set})
        places = ask(connection, "select clip_id from clips").with_row_index("place")
    if chosen is not None:
        rows = rows.join(chosen.filter(part=part), on=_KEYS, how="semi", nulls_equal=True)
    ordered = rows.join(places, on="clip_id").sort("place", "window_index", "caption_set", nulls_last=True)
    return PartRows(choice.run, part, ordered.drop("place"))


def parts(run: Path) -> list[int]:
    """Numbers of the parts that are there, in order."""
    return [file.part for file in list_parts(run / "clips")]
