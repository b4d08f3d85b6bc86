"""What must hold between the tables of one part: pure functions from frames to what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import polars as pl

from colcap.errors import ERROR_KINDS, printable
from colcap.schema import LATER_COLUMNS, TABLES

STATUSES: Final = ("ok", "skipped", "error")
CUTS: Final = ("whole", "copy", "encode")
TEXTS: Final = {"captions": "caption", "enhanced": "enhanced_caption"}
"""Tables whose ok rows have a text, and its column."""

_EXAMPLES: Final = 3


def columns(table: str, schema: Mapping[str, pl.DataType]) -> Iterator[str]:
    """Every column of the table's schema is there, with its type; parts of older runs may lack the later ones."""
    for name, kind in TABLES[table].items():
        if name not in schema and name in LATER_COLUMNS.get(table, ()):
            continue
        if name not in schema:
            yield f"column {name} is missing"
        elif schema[name] != kind:
            yield f"column {name} is {schema[name]}, not {kind}"


def clips_are_the_manifests(wanted: pl.Series, clips: pl.DataFrame, part: int) -> Iterator[str]:
    """Every clip of the manifest's slice has exactly one row, which says the right part."""
    yield from one_row_each(wanted, clips["clip_id"], "clips")
    elsewhere = clips.filter(pl.col("part").ne_missing(part))
    yield from _told("clips that say another part", elsewhere["clip_id"])


def one_row_each(wanted: pl.Series, there: pl.Series, what: str, *, some: bool = False) -> Iterator[str]:
    """Each id has one row; with `some`, not all need to have one."""
    if not some:
        yield from every_id(wanted, there, f"{what} without a row")
    yield from _told(f"rows of unknown {what}", there.filter(~there.is_in(wanted.implode(), nulls_equal=True)))
    yield from _told(f"{what} with several rows", there.filter(there.is_duplicated()).unique(maintain_order=True))


def every_id(wanted: pl.Series, there: pl.Series, lost: str) -> Iterator[str]:
    """Each id is there."""
    yield from _told(lost, wanted.filter(~wanted.is_in(there.implode())))


def window_counts(clips: pl.DataFrame, windows: pl.DataFrame) -> Iterator[str]:
    """Every clip has as many windows as it says, and every window has a clip."""
    counts = windows.group_by("clip_id").len("there")
    both = clips.join(counts, on="clip_id", how="left")
    wrong = both.filter(pl.col("num_windows").fill_null(0) != pl.col("there").fill_null(0))
    yield from _told("clips whose num_windows is not the number of their windows", wrong["clip_id"])
    yield from _told("windows of no clip", windows.join(clips, on="clip_id", how="anti")["window_id"])


def frame_ranges(clips: pl.DataFrame, windows: pl.DataFrame) -> Iterator[str]:
    """The windows of an ok clip cover its frames 0 to num_frames - 1 without gap or overlap, in order."""
    ok = clips.filter(pl.col("status") == "ok").select("clip_id", clip_frames="num_frames")
    placed = (
        windows.join(ok, on="clip_id")
        .sort("clip_id", "window_index", "window_id")
        .with_columns(
            wanted_start=(pl.col("end_frame").shift(1).over("clip_id") + 1).fill_null(0),
            wanted_index=pl.int_range(pl.len()).over("clip_id"),
            is_last=pl.int_range(pl.len()).over("clip_id") == pl.len().over("clip_id") - 1,
        )
    )
    gap = pl.col("start_frame").ne_missing(pl.col("wanted_start"))
    index = pl.col("window_index").cast(pl.Int64).ne_missing(pl.col("wanted_index"))
    length = pl.col("num_frames").ne_missing(pl.col("end_frame") - pl.col("start_frame") + 1) | (
        pl.col("num_frames") < 1
    )
    short = pl.col("is_last") & pl.col("end_frame").ne_missing(pl.col("clip_frames") - 1)
    empty = ok.join(windows, on="clip_id", how="anti")["clip_id"]
    yield from _told("ok clips without windows", empty)
    yield from _told("windows that do not start where the one before ends", placed.filter(gap)["window_id"])
    yield from _told("windows that are not numbered 0, 1, 2 …", placed.filter(index)["window_id"])
    yield from _told("windows whose num_frames is not their range", placed.filter(length)["window_id"])
    yield from _told("last windows that do not end with their clip", placed.filter(short)["window_id"])


def statuses(table: str, rows: pl.DataFrame) -> Iterator[str]:
    """`status` and `error_kind` are from the closed lists, and say the same."""
    names = rows.to_series(0)
    ok = pl.col("status") == "ok"
    failed = pl.col("status").is_in(STATUSES) & ~ok
    silent = failed & (pl.col("error").fill_null("") == "")
    rules = {
        "rows with an unknown status": ~pl.col("status").is_in(STATUSES).fill_null(False),
        "ok rows with an error": ok & (pl.col("error_kind").is_not_null() | pl.col("error").is_not_null()),
        "failed rows with an unknown error_kind": failed & ~pl.col("error_kind").is_in(ERROR_KINDS).fill_null(False),
        "failed rows that do not say why": silent,
    }
    if table in TEXTS:
        rules["ok rows without a text"] = ok & (pl.col(TEXTS[table]).fill_null("").str.strip_chars() == "")
    if table == "windows":
        cut = pl.col("cut").is_in(CUTS).fill_null(False)
        rules["ok rows with an unknown cut"] = ok & ~cut & pl.col("mp4_sha256").is_not_null()
    for text, rule in rules.items():
        yield from _told(text, names.filter(rows.select(rule.alias("broken"))["broken"]))


def labels(rows: pl.DataFrame, caption_set: str, attempt: int, fingerprint: str) -> Iterator[str]:
    """Caption rows say the set, the attempt and the fingerprint of the file they are in."""
    for name, value in (("caption_set", caption_set), ("attempt", attempt), ("fingerprint", fingerprint)):
        other = rows.filter(pl.col(name).ne_missing(pl.lit(value, rows.schema[name])))
        yield from _told(f"rows with another {name} than their file ({value})", other["window_id"])


def blobs(facts: pl.DataFrame, there: pl.DataFrame, product: str) -> Iterator[str]:
    """Exactly the ok rows have bytes, as many as the facts say, with the hash they say where it was computed.

    `facts` has `{product}_bytes` and `{product}_sha256`; `there` has `window_id`, `size` and `sha256` (or null).
    """
    ok = facts.filter(pl.col("status") == "ok")
    yield from one_row_each(ok["window_id"], there["window_id"], "ok windows")
    both = ok.join(there, on="window_id")
    sizes = both.filter(pl.col(f"{product}_bytes").ne_missing(pl.col("size")))
    yield from _told(f"rows whose {product}_bytes is not the size of their bytes", sizes["window_id"])
    hashes = both.filter(pl.col("sha256").is_not_null() & pl.col(f"{product}_sha256").ne_missing(pl.col("sha256")))
    yield from _told(f"rows whose {product}_sha256 is not the hash of their bytes", hashes["window_id"])


def _told(what: str, ids: pl.Series) -> Iterator[str]:
    if ids.is_empty():
        return
    examples = ", ".join(printable(str(name))[:100] for name in ids.head(_EXAMPLES))
    yield f"{what}: {ids.len()} ({examples}{', …' if ids.len() > _EXAMPLES else ''})"
