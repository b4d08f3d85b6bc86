"""A run folder, opened: its tables as LazyFrames, and SQL, search, pages and exports over them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from colcap.objects.url import Place, Url, place
from colcap.schema import SET_TABLES, TABLES

if TYPE_CHECKING:
    import duckdb

    from colcap.export import Exported
    from colcap.notebook import View


def open(run: Place) -> Run:
    """Open a run folder, here or on an object store.

    Raises
    ------
    RunError : there is no run there.

    Examples
    --------
    >>> open("no-such-run")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    colcap.errors.RunError: no-such-run: is not a run folder, there is no such folder; ...
    """
    from colcap.runners.runfile import read_run_file

    opened = Run(place(run))
    read_run_file(opened.path)
    return opened


class Run:
    """A run folder: its tables as LazyFrames, and SQL over them."""

    def __init__(self, where: Path | Url) -> None:
        self._where = where
        if _in_notebook():
            from colcap import notebook

            notebook.register(self.path)

    @property
    def path(self) -> Path:
        """Its folder; of a run on an object store, the local copy of its facts, brought up to date.

        Raises
        ------
        RunError : the object store cannot be asked.
        """
        from colcap import store

        return store.readable(self._where)

    def __repr__(self) -> str:
        return f"Run({str(self._where)!r})"

    def _repr_html_(self) -> str:
        return self.show("@coverage")._repr_html_()

    def table(self, name: str) -> pl.LazyFrame:
        """One of the seven tables; empty, with its columns, where the step has not run.

        Raises
        ------
        ValueError : there is no table of that name.
        """
        from colcap import store

        if name not in TABLES:
            raise ValueError(f"table must be one of {', '.join(TABLES)}, got {name!r}")
        path = self.path
        folders = sorted((path / name).glob("set=*")) if name in SET_TABLES else [path / name]
        files = [file.path for folder in folders for file in store.list_parts(folder)]
        if not files:
            return _shown(pl.LazyFrame(schema=TABLES[name]))
        if mirror := store.mirror_of(path):
            mirror.fetch_whole(files)
        # the manifest's own columns besides; a part of an older run may lack columns that came later
        schema = {**pl.read_parquet_schema(files[0]), **dict(TABLES[name])}
        scan = pl.scan_parquet(files, schema=schema, missing_columns="insert", hive_partitioning=False, glob=False)
        return _shown(scan)

    @property
    def clips(self) -> pl.LazyFrame:
        """One row a clip."""
        return self.table("clips")

    @property
    def windows(self) -> pl.LazyFrame:
        """One row a window."""
        return self.table("windows")

    @property
    def previews(self) -> pl.LazyFrame:
        """One row a window, where previews were made."""
        return self.table("previews")

    @property
    def captions(self) -> pl.LazyFrame:
        """One row a window and attempt."""
        return self.table("captions")

    @property
    def enhanced(self) -> pl.LazyFrame:
        """One row a window and attempt, where captions were enhanced."""
        return self.table("enhanced")

    def connect(self, *, blobs: bool = False) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection that sees the tables as views and reads nothing outside the run.

        For your own SQL: a COPY into the run folder is possible. Give strangers' SQL to `Run.sql`, which refuses it.
        """
        from colcap.qa.connect import connect

        return connect(self.path, blobs=blobs)

    def sql(self, query: str, *, params: Mapping[str, object] | None = None, blobs: bool = False) -> pl.DataFrame:
        """Rows of one SELECT, or of a named query (`@truncated`).

        Raises
        ------
        QueryError : the query is wrong, or not a single SELECT.
        """
        from colcap.qa.queries import ask

        return ask(self.path, query, params=dict(params or {}), blobs=blobs)

    def search(self, words: str, *, limit: int = 20) -> pl.DataFrame:
        """Captions that have all the words, the best first; see `qa.search.search`.

        Raises
        ------
        QueryError : there is no word to look for.
        """
        from colcap.qa.search import search

        return search(self.path, words, limit=limit).rows

    def show(self, rows: pl.LazyFrame | pl.DataFrame | str | None = None, *, limit: int = 20) -> View:
        """Rows to look at in a notebook: the preview of each window beside its columns; blobs are never shown.

        Parameters
        ----------
        rows : a frame, or SQL, or a named query (`@truncated`); without it, the captions.
        limit : rows at most. Of a LazyFrame no more are read.

        Raises
        ------
        QueryError : the query is wrong, or not a single SELECT.
        """
        from colcap.notebook import FIRST, view

        if rows is None:
            rows = self.sql(FIRST, params={"rows": limit})
            rows = rows.drop("enhanced_caption") if rows["enhanced_caption"].is_null().all() else rows
        return view(self.path, self.sql(rows) if isinstance(rows, str) else rows, limit=limit)

    def gallery(self, output: Place, *, where: str | None = None, limit: int = 2000) -> Path | Url:
        """Write an HTML page of previews beside captions and return where it is; see `qa.gallery.gallery`.

        Raises
        ------
        QueryError : the condition is wrong, or would do more than read.
        """
        from colcap.qa.gallery import gallery
        from colcap.store import outgoing

        with outgoing(output) as path:
            gallery(self.path, path, where=where, limit=limit)
        return place(output)

    def export(
        self,
        folder: Place,
        *,
        format: str,
        where: str | None = None,
        caption_set: str | None = None,
        media: str | None = None,
        clips: bool = False,
        root: Place | None = None,
    ) -> Exported:
        """Write rows as `curator`, `webdataset`, `jsonl` or `parquet`; see `colcap.export.export`.

        Raises
        ------
        ColcapError : the folder holds something else, the condition is wrong, the disk is full.
        """
        from colcap.export import export
        from colcap.store import outgoing

        with outgoing(folder, fresh=True) as path:
            done = export(
                self.path,
                path,
                form=format,
                where=where,
                caption_set=caption_set,
                media=media,
                clips=clips,
                root=None if root is None else place(root),
            )
        return replace(done, path=place(folder))

    def qa(self, *, thresholds: Mapping[str, int] | None = None) -> pl.DataFrame:
        """What every check of the captions finds, against its threshold; see `qa.quality.quality`.

        Raises
        ------
        QueryError : a threshold for something that is not a check.
        """
        from colcap.qa.quality import quality

        return quality(self.path, thresholds=thresholds)


def _in_notebook() -> bool:
    return "IPython" in sys.modules


def _shown(table: pl.LazyFrame) -> pl.LazyFrame:
    """The same frame, which shows its first rows in a notebook."""
    if _in_notebook():
        from colcap import notebook

        notebook.table(table)
    return table
