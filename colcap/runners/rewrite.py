"""A committed part written anew, with some of its rows made again and all others unchanged."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from colcap import store
from colcap.runners.plan import PREVIEW_TABLES, Plan, Redo
from colcap.runners.tasks import read_blobs
from colcap.schema import BLOB_TABLES, FACTS_OF, TABLES


class Rewrite:
    """Takes the new rows of a part; `commit` writes them and the old ones, in the manifest's order, in one step.

    Parameters
    ----------
    plan : the run's plan.
    part : which part.
    redo : the rows that are made again; new rows of others are ignored.
    commit : the files to write.
    """

    def __init__(self, plan: Plan, part: int, redo: Redo, commit: store.PartCommit) -> None:
        self._run, self._part, self._redo, self._commit = plan.run, part, redo, commit
        self._new: dict[str, list[pl.DataFrame]] = {table: [] for table in commit.tables}

    @property
    def tables(self) -> list[str]:
        """Names of the tables being written."""
        return self._commit.tables

    def append(self, table: str, frame: pl.DataFrame) -> None:
        """Take new rows of a table."""
        self._new[table].append(frame.filter(self._is_redone(table)))

    def commit(self) -> dict[str, int]:
        """Write old and new rows; see `store.PartCommit.commit`."""
        facts = {table: self._facts(table) for table in self.tables if table not in BLOB_TABLES}
        for table, rows in facts.items():
            self._commit.append(table, rows)
        for table, owner in FACTS_OF.items():
            if table in self.tables:
                self._copy_blobs(table, facts[owner])
        return self._commit.commit()

    def abort(self) -> None:
        """Leave the part as it was."""
        self._commit.abort()

    def _is_redone(self, table: str) -> pl.Expr:
        if table == "clips":
            return pl.col("clip_id").is_in(list(self._redo.clips))
        of_clip = pl.col("window_id").str.replace(r":\d+$", "").is_in(list(self._redo.clips))
        chosen = pl.col("window_id").is_in(list(self._redo.previews))
        return of_clip | chosen if table in PREVIEW_TABLES else of_clip

    def _facts(self, table: str) -> pl.DataFrame:
        """Old and new rows in the manifest's order."""
        old = pl.read_parquet(store.table_dir(self._run, table) / store.part_name(self._part))
        later = {name: kind for name, kind in TABLES[table].items() if name not in old.columns}
        old = old.with_columns(pl.lit(None, kind).alias(name) for name, kind in later.items())
        kept = old.filter(~self._is_redone(table))
        new = [frame.select(old.columns).cast(dict(old.schema)) for frame in self._new[table]]  # type: ignore[arg-type]
        rows = pl.concat([kept, *new])
        clip = pl.col("clip_id") if table == "clips" else pl.col("window_id").str.replace(r":\d+$", "")
        return rows.sort(clip.replace_strict(self._places(), return_dtype=pl.Int64), pl.first(), maintain_order=True)

    def _places(self) -> dict[str, int]:
        clips = pl.read_parquet(store.table_dir(self._run, "clips") / store.part_name(self._part), columns=["clip_id"])[
            "clip_id"
        ]
        return {name: place for place, name in enumerate(clips)}

    def _copy_blobs(self, table: str, facts: pl.DataFrame) -> None:
        """The bytes of every ok row, the old ones a row group at a time: both files are in the same order."""
        column = BLOB_TABLES[table]
        new = {name: blob for frame in self._new[table] for name, blob in frame.select("window_id", column).iter_rows()}
        old = read_blobs(self._run, table, self._part)
        for name in facts.filter(pl.col("status") == "ok")["window_id"]:
            blob = new[name] if name in new else _find(old, name)
            self._commit.append(table, pl.DataFrame({"window_id": [name], column: [blob]}))


def _find(blobs: Iterator[tuple[str, bytes]], wanted: str) -> bytes:
    return next(blob for name, blob in blobs if name == wanted)
