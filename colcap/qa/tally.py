"""How many rows a run has, by table, status and kind: from what part files say of themselves, so that no row is read.

Rows are read only of parts with several attempts, where the newest counts, of parts written before they said it, and of
one file for each kind of failure, for an example.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from colcap import store
from colcap.footers import Part, read_footers
from colcap.schema import SET_TABLES, STATUS

COUNTED: Final = ("clips", "windows", "previews", "captions", "enhanced")
FILES_AT_ONCE: Final = 256


@dataclass(slots=True)
class Tally:
    """What one table holds."""

    table: str
    """Its name."""
    counts: Counter[str] = field(default_factory=Counter)
    """Rows by `status`, or `status:error_kind` where they are not ok; of captions, one a window and set."""
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)
    """For each of those that is not ok: a row's id, and its error."""
    damaged: list[Path] = field(default_factory=list)
    """Files that cannot be read; their rows are not counted."""

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(self.counts.values())

    def of(self, status: str) -> int:
        """Rows of one status, whatever their kind."""
        return sum(rows for name, rows in self.counts.items() if name.partition(":")[0] == status)


def tally(run: Path) -> list[Tally]:
    """Count a run's rows; tables of steps that have not run are empty."""
    folders = {table: _folders(run, table) for table in COUNTED}
    found = read_footers(run, [folder for some in folders.values() for folder in some])
    return [_count(table, [found[folder] for folder in folders[table]]) for table in COUNTED]


def _folders(run: Path, table: str) -> list[Path]:
    return sorted((run / table).glob("set=*")) if table in SET_TABLES else [run / table]


def _count(table: str, folders: Sequence[Sequence[Part]]) -> Tally:
    said = Tally(table)
    places: dict[str, Path] = {}
    to_read: list[Path] = []
    for parts in folders:
        said.damaged += [one.file.path for one in parts if one.footer is None]
        sound = [one for one in parts if one.footer]
        attempts = Counter(one.file.part for one in sound)
        for one in sound:
            if attempts[one.file.part] > 1 or one.footer is None or one.footer.counts is None:
                to_read.append(one.file.path)
                continue
            said.counts.update(one.footer.counts)
            for name in one.footer.counts:
                places.setdefault(name, one.file.path)
    for rows in _rows(table, to_read):
        said.counts += store.count_rows(rows)
        _add_examples(said, rows)
    for name in places.keys() - said.examples.keys() - {"ok"}:
        for rows in _rows(table, [places[name]]):
            _add_examples(said, rows)
    return said


def _rows(table: str, paths: Sequence[Path]) -> Iterator[pl.DataFrame]:
    """Status and error of each row that counts, some parts at a time; a part's attempts stay together."""
    key = ["clip_id"] if table == "clips" else ["window_id"]
    schema = {name: pl.String() for name in [*key, *STATUS]}
    if table in SET_TABLES:
        schema |= {"caption_set": pl.String(), "attempt": pl.Int32()}  # type: ignore[dict-item]
    by_part: dict[tuple[Path, str], list[Path]] = {}
    for path in paths:
        by_part.setdefault((path.parent, path.name.partition(".")[0]), []).append(path)
    together = list(by_part.values())
    for start in range(0, len(together), FILES_AT_ONCE):
        files = [path for attempts in together[start : start + FILES_AT_ONCE] for path in attempts]
        scan = pl.scan_parquet(files, schema=schema, extra_columns="ignore", hive_partitioning=False, glob=False)
        yield (_newest(scan) if table in SET_TABLES else scan).rename({key[0]: "id"}).collect()


def _newest(rows: pl.LazyFrame) -> pl.LazyFrame:
    """As in SQL's `captions_latest`: per window and set the newest that is ok, else the newest."""
    best_first = rows.sort(pl.col("status") == "ok", "attempt", descending=True)
    return best_first.unique(["window_id", "caption_set"], keep="first", maintain_order=True)


def _add_examples(said: Tally, rows: pl.DataFrame) -> None:
    for name, kind, row_id, error in (
        rows.filter(pl.col("status") != "ok")
        .sort("id")
        .unique(["status", "error_kind"], keep="first", maintain_order=True)
        .select("status", "error_kind", "id", "error")
        .iter_rows()
    ):
        said.examples.setdefault(name if kind is None else f"{name}:{kind}", (row_id, error or ""))
