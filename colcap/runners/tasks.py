"""The media work of a part, as batches for the workers: from the sources, or from windows that are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl
import pyarrow.parquet as pq

from colcap import store
from colcap.errors import RowError
from colcap.runners.plan import PartTodo, Plan

Step = Callable[[pl.DataFrame], pl.DataFrame]


class MediaStep(Protocol):
    """A media step as runners see it: batch to batch, and the rows of a batch whose worker died."""

    def __call__(self, batch: pl.DataFrame, /) -> pl.DataFrame: ...
    def failed(self, batch: pl.DataFrame, error: RowError, /) -> pl.DataFrame: ...


@dataclass(frozen=True, slots=True)
class Products:
    """What to make of each clip or window."""

    cut: bool = False
    """The window's own bytes."""
    preview: bool = False
    """Its preview."""
    sample: bool = False
    """The frames to caption."""


@dataclass(frozen=True, slots=True)
class MediaSteps:
    """The media steps of a run, by what they are to make."""

    clips: Callable[[Products], MediaStep]
    """From a clip's source to all its windows."""
    windows: Callable[[Products], MediaStep]
    """From windows that are stored."""
    source_windows: Callable[[Products], MediaStep]
    """From a clip's source to windows that are known but not stored."""


Task = tuple[MediaStep, pl.DataFrame]
"""A step and a batch for it."""


def needs_manifest(plan: Plan, todo: PartTodo) -> bool:
    """Whether a part's sources are read, so that its slice of the manifest is needed."""
    return todo.media or not plan.config.store_mp4 or bool(todo.redo and todo.redo.clips)


def part_tasks(plan: Plan, todo: PartTodo, rows: pl.DataFrame | None, steps: MediaSteps) -> Iterator[Task]:
    """Everything the workers have to do for a part, one clip or window a batch.

    Parameters
    ----------
    plan, todo : the run, and what the part lacks.
    rows : the part's slice of the manifest; None where `needs_manifest` says no.
    steps : the run's media steps.
    """
    if todo.media:
        assert rows is not None
        step = steps.clips(Products(cut=plan.config.store_mp4, preview=todo.previews, sample=bool(todo.captions)))
        return ((step, batch) for batch in _clip_batches(rows))
    return _redone(plan, todo, rows, steps)


def _redone(plan: Plan, todo: PartTodo, rows: pl.DataFrame | None, steps: MediaSteps) -> Iterator[Task]:
    again = todo.redo.clips if todo.redo else frozenset()
    if again:
        assert rows is not None
        has_previews = (store.table_dir(plan.run, "previews") / store.part_name(todo.part)).exists()
        products = Products(cut=plan.config.store_mp4, preview=has_previews, sample=bool(todo.captions))
        step = steps.clips(products)
        yield from ((step, batch) for batch in _clip_batches(rows.filter(pl.col("clip_id").is_in(list(again)))))
    windows = pl.read_parquet(store.table_dir(plan.run, "windows") / store.part_name(todo.part))
    windows = windows.filter(~pl.col("clip_id").is_in(list(again)))
    if plan.config.store_mp4:
        yield from _from_windows(plan, todo, windows, steps)
    else:
        assert rows is not None
        yield from _from_sources(plan, todo, windows, rows, steps)


def _products(todo: PartTodo, window_id: str) -> Products:
    preview = window_id in todo.redo.previews if todo.redo else todo.previews
    return Products(preview=preview, sample=bool(todo.sets_for(window_id)))


def _from_windows(plan: Plan, todo: PartTodo, windows: pl.DataFrame, steps: MediaSteps) -> Iterator[Task]:
    """Stored windows with their bytes, in order; one whose cut failed has null bytes."""
    wanted = {name: _products(todo, name) for name in windows["window_id"]}
    chosen = windows.filter(pl.Series([wanted[name] != Products() for name in windows["window_id"]], dtype=pl.Boolean))
    blobs = read_blobs(plan.run, "windows_mp4", todo.part)
    for row in chosen.iter_slices(1):
        name, mp4 = row["window_id"].item(), None
        if row["status"].item() == "ok":
            mp4 = next(blob for blob_of, blob in blobs if blob_of == name)
        yield steps.windows(wanted[name]), row.with_columns(pl.Series("mp4", [mp4], dtype=pl.Binary))


def _from_sources(
    plan: Plan, todo: PartTodo, windows: pl.DataFrame, rows: pl.DataFrame, steps: MediaSteps
) -> Iterator[Task]:
    """Clips whose windows are wanted again, with what is known of both: a source may have changed since."""
    facts = pl.read_parquet(
        store.table_dir(plan.run, "clips") / store.part_name(todo.part), columns=["clip_id", "num_bytes"]
    )
    sources = _source_columns(rows).join(facts, on="clip_id", maintain_order="left")
    for clip in sources.iter_slices(1):
        mine = windows.filter(pl.col("clip_id") == clip["clip_id"].item())
        names = [(name, _products(todo, name)) for name in mine["window_id"]]
        products = Products(preview=any(p.preview for _, p in names), sample=any(p.sample for _, p in names))
        if products != Products():
            known = mine.select("window_id", "window_index", "start_frame", "end_frame")
            batch = clip.with_columns(pl.Series("windows", [known.to_dicts()], dtype=pl.List(pl.Struct(known.schema))))
            yield steps.source_windows(products), batch


def read_blobs(run: Path, table: str, part: int) -> Iterator[tuple[str, bytes]]:
    """A blob table's ids and bytes, in order, a row group at a time."""
    file = pq.ParquetFile(store.source(store.table_dir(run, table) / store.part_name(part)))
    for group in range(file.num_row_groups):
        ids, blobs = file.read_row_group(group).columns
        yield from ((name.as_py(), blob.as_py()) for name, blob in zip(ids, blobs, strict=True))


def _clip_batches(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """A clip a batch: a crash or a timeout then costs one row."""
    return _source_columns(rows, "num_bytes").iter_slices(1)


def _source_columns(rows: pl.DataFrame, *more: str) -> pl.DataFrame:
    return rows.select(name for name in ("clip_id", "uri", "part", "mp4", *more) if name in rows.columns)
