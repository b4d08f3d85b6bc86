"""Rows as a notebook shows them: the preview of each window beside its text. Blobs are named by size, never printed.

`Run.show` gives a `View` of any rows. Where IPython runs, opening a run also makes its tables, and every DataFrame with
a `window_id`, show themselves so. A LazyFrame that was made of a table does not: looking at it must not run it.
"""

from __future__ import annotations

import base64
import sys
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined

from colcap.errors import ColcapError, printable
from colcap.qa.connect import connect
from colcap.qa.gallery import previews
from colcap.qa.queries import ask

LIMIT: Final = 20
"""Rows shown where nothing else is said."""

MAX_PREVIEW_BYTES: Final = 8 << 20
"""Previews of one output: a notebook keeps them as text, and it is opened whole."""

_MAX_TEXT: Final = 1000
"""Longer texts are cut: a table is to be looked at, and the frame still has them."""

FIRST: Final = """
select w.window_id, w.start_s, w.end_s, c.caption_set, c.caption, e.enhanced_caption, c.output_tokens, c.finish_reason
from windows as w
left join captions_latest as c using (window_id)
left join enhanced_latest as e on e.window_id = c.window_id and e.caption_set = c.caption_set
order by w.window_id, c.caption_set
limit $rows
"""
"""Windows and what is said of them: what `Run.show` shows by itself."""

_LINE: Final = 40
"""Longer texts are given room to be read in lines."""

_PARTS: Final = """
select p.window_id, clips.part, p.webp_bytes
from previews as p join windows using (window_id) join clips using (clip_id)
where p.status = 'ok' and p.window_id in (select unnest($ids))
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value of a row."""

    text: str
    """As it is read."""
    kind: str
    """text, long (a text that needs room), number or none; decides on how it is set."""


@dataclass(frozen=True, slots=True)
class View:
    """Rows to look at: HTML in a notebook, plain text elsewhere."""

    run: Path
    """Where previews are taken from."""
    rows: pl.DataFrame = field(repr=False)
    """What is shown, blobs left out."""
    total: int | None
    """Rows there are; None where they have not been counted."""

    def __repr__(self) -> str:
        return repr(self.rows)

    def _repr_html_(self) -> str:
        images, notes = _images(self.run, self.rows)
        more = self.total is not None and self.total > self.rows.height
        shown = f"{self.rows.height:,} of {self.total:,} rows" if more else f"{self.rows.height:,} rows"
        return str(
            _TEMPLATES.get_template("notebook.html.jinja").render(
                columns=[printable(name) for name in self.rows.columns],
                rows=[[_cell(value) for value in row] for row in self.rows.iter_rows()],
                images=[images.get(name) for name in self.rows["window_id"]] if images else None,
                notes=[shown, *notes],
            )
        )


_HAS: Final = "select 1 from windows where window_id in (select unnest($ids)) limit 1"

_TEMPLATES: Final = Environment(
    loader=PackageLoader("colcap", "."),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def view(run: Path, rows: pl.LazyFrame | pl.DataFrame, *, limit: int = LIMIT) -> View:
    """Look at the first rows of a frame.

    Parameters
    ----------
    run : where previews of its window ids are taken from; rows without a `window_id` have no picture.
    rows : what to show. Of a LazyFrame, only the first rows are read, and they are not counted further.
    limit : rows at most.

    Raises
    ------
    ValueError : `limit` is negative.
    """
    if limit < 0:
        raise ValueError(f"limit must be at least 0, got {limit}")
    lazy = rows.lazy()
    sizes = [
        pl.format("{} bytes", pl.col(name).bin.size()).alias(name)
        for name, kind in lazy.collect_schema().items()
        if kind == pl.Binary
    ]
    total = rows.height if isinstance(rows, pl.DataFrame) else None
    return View(run, lazy.head(limit).with_columns(sizes).collect(), total)


def _images(run: Path, rows: pl.DataFrame) -> tuple[dict[str, str], list[str]]:
    """Previews by window_id as data: URIs, and what is to be said of them."""
    if rows.schema.get("window_id") != pl.String or not rows.height:
        return {}, []
    try:
        there = _ask(run, _PARTS, rows["window_id"].drop_nulls().to_list()).unique(maintain_order=True)
        fitting = there.filter(pl.col("webp_bytes").cum_sum() <= MAX_PREVIEW_BYTES)
        read = previews.read(run, fitting.select("part", "window_id").iter_rows())
        images = {name: "data:image/webp;base64," + base64.b64encode(webp).decode() for name, webp in read}
    except ColcapError as error:
        return {}, [f"without previews: {error}"]
    notes = [f"previews of {printable(str(run))}"] if images else []
    if left := there.height - fitting.height:
        notes.append(f"{left} previews left out, {MAX_PREVIEW_BYTES >> 20} MiB are shown at most")
    return images, notes


def _ask(run: Path, query: str, ids: list[str]) -> pl.DataFrame:
    with closing(connect(run)) as connection:
        return ask(connection, query, params={"ids": ids})


def _cell(value: Any) -> Cell:
    if value is None:
        return Cell("null", "none")
    if isinstance(value, float):
        return Cell(f"{value:.6g}", "number")
    if isinstance(value, int) and not isinstance(value, bool):
        return Cell(str(value), "number")
    text = printable(str(value))
    kind = "text" if len(text) <= _LINE else "long"
    return Cell(text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…", kind)


_tables: WeakValueDictionary[int, pl.LazyFrame] = WeakValueDictionary()
"""LazyFrames that are a run's table as it is: reading their first rows costs nothing."""

_runs: dict[Path, None] = {}
"""Runs opened in this process, the latest last."""


def table(frame: pl.LazyFrame) -> None:
    """Let a run's table show itself where it stands at the end of a cell."""
    _tables[id(frame)] = frame


def register(run: Path) -> None:
    """Where IPython runs, let frames with a `window_id` show this run's previews; does nothing elsewhere."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is None:
        return
    _runs.pop(run, None)
    _runs[run] = None
    html = shell.display_formatter.formatters["text/html"]
    html.for_type(pl.DataFrame, frame_html)
    html.for_type(pl.LazyFrame, lazy_html)


def frame_html(frame: pl.DataFrame) -> str:
    """A DataFrame as a notebook shows it: as polars would, where no opened run has its windows."""
    run = _run_of(frame)
    return view(run, frame)._repr_html_() if run else str(frame._repr_html_())


def lazy_html(frame: pl.LazyFrame) -> str:
    """A LazyFrame as a notebook shows it: rows where it is a run's table, else polars' plan."""
    if _tables.get(id(frame)) is not frame:
        return str(frame._repr_html_())
    first = frame.head(LIMIT).collect()
    run = _run_of(first)
    return view(run, frame)._repr_html_() if run else str(first._repr_html_())


def _run_of(frame: pl.DataFrame) -> Path | None:
    """The run opened last that has one of the frame's windows."""
    if frame.schema.get("window_id") != pl.String:
        return None
    ids = frame["window_id"].drop_nulls().head(LIMIT).to_list()
    for run in reversed(_runs):
        with suppress(ColcapError):
            if _ask(run, _HAS, ids).height:
                return run
    return None
