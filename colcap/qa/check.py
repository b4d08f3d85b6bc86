"""Checks a run: every promise the tables make to whoever reads them, part by part."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from colcap.errors import printable
from colcap.manifests import FROZEN
from colcap.qa import invariants
from colcap.qa.views import part_files
from colcap.schema import BLOB_TABLES, FACTS_OF, SET_TABLES, TABLES
from colcap.soundness import pages_are_whole
from colcap.store import JOURNAL_PREFIX, LOCK_NAME, Footer, PartFile, count_rows, read_footer, source

_TOGETHER: Final = (("clips", "windows", "windows_mp4"), ("previews", "previews_webp"))
"""Tables that are committed together, with one fingerprint over all parts of a run."""

_UNREADABLE: Final = (OSError, pa.ArrowException, pl.exceptions.PolarsError)


@dataclass(frozen=True, slots=True)
class Problem:
    """A promise that does not hold."""

    invariant: str
    """Which: readable, footer, schema, manifest, num_windows, frame_ranges, one_row_each, status, blobs, leftovers."""
    table: str
    """The table, or the file where it is none."""
    part: int | None
    """The part; None where it is about the whole run."""
    text: str
    """What is wrong, with examples."""

    def __str__(self) -> str:
        where = self.table if self.part is None else f"{self.table} part {self.part}"
        return f"{where}: {self.text} ({self.invariant})"


def check(run: Path, *, verify: bool = False) -> list[Problem]:
    """Check every invariant of a run's tables; nothing is changed, and what cannot be read is a problem too.

    A part that a step has not reached is no problem. A run that is being written can look broken for a moment.

    Parameters
    ----------
    run : the run folder.
    verify : compare every blob with its hash, too; every page is always compared with its checksum.

    Returns
    -------
    What is wrong, by part; empty for a sound run.
    """
    files = _Files.of(run)
    problems = [Problem("leftovers", path, None, "left by a run that was cut off") for path in _leftovers(run)]
    problems += files.mixtures()
    try:
        for part, wanted in _manifest_slices(run):
            problems += _Part(part, files.take(part), verify).check(wanted)
    except _UNREADABLE as error:
        return [*problems, Problem("readable", FROZEN, None, _first_line(error))]
    return problems + [Problem("manifest", "clips", part, "the manifest has no such part") for part in files.parts()]


def _first_line(error: BaseException) -> str:
    return printable(str(error)).partition("\n")[0][:300]


def _manifest_slices(run: Path) -> Iterator[tuple[int, pl.Series]]:
    """The clip ids of each part, in order; memory is bounded by a part and a batch."""
    schema = pl.Schema({"clip_id": pl.String, "part": pl.Int32})
    rest = schema.to_frame()
    for batch in pq.ParquetFile(run / FROZEN).iter_batches(columns=["clip_id", "part"]):
        frame = pl.from_arrow(pa.Table.from_batches([batch]))
        assert isinstance(frame, pl.DataFrame)
        *whole, rest = pl.concat([rest, frame.cast(schema)]).partition_by("part", maintain_order=True)
        yield from ((piece["part"][0], piece["clip_id"]) for piece in whole)
    if rest.height:
        yield rest["part"][0], rest["clip_id"]


def _leftovers(run: Path) -> list[str]:
    """Temp files and journals; none are reported while a writer holds the run, since they are its own."""
    if _is_being_written(run):
        return []
    patterns = (".*.tmp", "*/.*.tmp", "*/set=*/.*.tmp", f"{JOURNAL_PREFIX}*.json")
    return sorted(path.relative_to(run).as_posix() for pattern in patterns for path in run.glob(pattern))


def _is_being_written(run: Path) -> bool:
    path = run / LOCK_NAME
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False  # not ours to lock: say what is there


@dataclass(frozen=True, slots=True)
class _File:
    """A part file and what it says about itself."""

    table: str
    file: PartFile
    footer: Footer | None

    @property
    def caption_set(self) -> str:
        return self.file.path.parent.name.removeprefix("set=")

    def is_later_than(self, other: _File) -> bool:
        """A further attempt in the same set."""
        return self.file.path.parent == other.file.path.parent and self.file.attempt > other.file.attempt


@dataclass(slots=True)
class _Files:
    """A run's part files, by part."""

    by_part: dict[int, list[_File]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, run: Path) -> _Files:
        files = cls()
        for table in TABLES:
            for file in part_files(run, table):
                files.by_part[file.part].append(_File(table, file, read_footer(file.path)))
        return files

    def mixtures(self) -> Iterator[Problem]:
        """Parts made with other choices than the rest; captions may differ, windows and previews may not."""
        for tables in _TOGETHER:
            first: str | None = None
            for part, files in sorted(self.by_part.items()):
                for file in files:
                    if file.table in tables and file.footer:
                        first = first or file.footer.fingerprint
                        if file.footer.fingerprint != first:
                            text = f"fingerprint {file.footer.fingerprint}, elsewhere {first}"
                            yield Problem("footer", file.table, part, text)

    def take(self, part: int) -> list[_File]:
        return self.by_part.pop(part, [])

    def parts(self) -> list[int]:
        return sorted(self.by_part)


@dataclass(slots=True)
class _Part:
    """One part while it is checked."""

    number: int
    files: list[_File]
    verify: bool
    problems: list[Problem] = field(default_factory=list)

    def check(self, clip_ids: pl.Series) -> list[Problem]:
        facts = {file: self._read(file, self._facts) for file in self.files if file.table not in BLOB_TABLES}
        by_table = {file.table: frame for file, frame in facts.items() if frame is not None}
        clips, windows = by_table.get("clips"), by_table.get("windows")
        self._check_together(windows)
        for file in self.files:
            self._check_footer(file)
        for file, rows in facts.items():
            if rows is not None:
                if file.footer and not pages_are_whole(file.file.path):
                    self._add("readable", file.table, [f"{file.file.path.name}: a page is not what was written"])
                self._check_rows(file, rows, windows)
        if windows is not None:
            self._check_sets(facts, windows)
        if clips is not None:
            self._add("manifest", "clips", invariants.clips_are_the_manifests(clip_ids, clips, self.number))
        if clips is not None and windows is not None:
            self._add("num_windows", "windows", invariants.window_counts(clips, windows))
            self._add("frame_ranges", "windows", invariants.frame_ranges(clips, windows))
        self._check_blobs(by_table)
        return self.problems

    def _add(self, invariant: str, table: str, texts: Iterable[str]) -> None:
        self.problems += [Problem(invariant, table, self.number, text) for text in texts]

    def _read(self, file: _File, read: Callable[[_File], pl.DataFrame | None]) -> pl.DataFrame | None:
        try:
            return read(file)
        except _UNREADABLE as error:
            self._add("readable", file.table, [f"{file.file.path.name}: {_first_line(error)}"])
            return None

    def _facts(self, file: _File) -> pl.DataFrame | None:
        """The rows, or None, with a problem, where columns are wrong."""
        there = pl.read_parquet_schema(file.file.path)
        wrong = list(invariants.columns(file.table, there))
        self._add("schema", file.table, wrong)
        columns = [name for name in TABLES[file.table] if name in there]
        return None if wrong else pl.read_parquet(file.file.path, columns=columns, glob=False, hive_partitioning=False)

    def _check_together(self, windows: pl.DataFrame | None) -> None:
        there = {file.table for file in self.files}
        if windows is not None and windows["mp4_sha256"].is_null().all():
            there.add("windows_mp4")  # made with --no-store-mp4: there are no bytes to store
        needed = [(tables, tables) for tables in _TOGETHER] + [((t,), ("windows",)) for t in ("previews", *SET_TABLES)]
        for some, wanted in needed:
            if there & set(some):
                for table in sorted(set(wanted) - there):
                    self._add(
                        "one_row_each", table, [f"there is no file, but one of {', '.join(sorted(there & set(some)))}"]
                    )

    def _check_footer(self, file: _File) -> None:
        if file.footer is None:
            self._add("footer", file.table, [f"{file.file.path.name}: no footer of ours, or its row count is wrong"])
        elif file.footer.part != self.number or not file.footer.fingerprint:
            said = f"part {file.footer.part}, fingerprint {printable(file.footer.fingerprint)!r}"
            self._add("footer", file.table, [f"{file.file.path.name}: the footer says {said}"])

    def _check_rows(self, file: _File, rows: pl.DataFrame, windows: pl.DataFrame | None) -> None:
        footer = file.footer
        self._add("status", file.table, invariants.statuses(file.table, rows))
        if footer and footer.counts is not None and count_rows(rows) != footer.counts:
            said = f"{dict(count_rows(rows))}, its footer says {dict(footer.counts)}"
            self._add("footer", file.table, [f"{file.file.path.name}: has rows {printable(said)}"])
        if windows is not None and file.table != "clips":
            some = file.table in SET_TABLES  # all attempts of a set together have every window
            ids = invariants.one_row_each(windows["window_id"], rows["window_id"], "windows", some=some)
            self._add("one_row_each", file.table, ids)
        if file.table in SET_TABLES and footer:
            labels = invariants.labels(rows, file.caption_set, file.file.attempt, footer.fingerprint)
            self._add("footer", file.table, labels)

    def _check_sets(self, facts: dict[_File, pl.DataFrame | None], windows: pl.DataFrame) -> None:
        """An attempt at the whole part has every window; those of clips that were retried since are in later ones."""
        of_sets = [file for file in facts if file.table in SET_TABLES]
        for file in of_sets:
            if file.footer and file.footer.scope == "part":
                later = [other for other in of_sets if other.is_later_than(file)]
                rows = [frame["window_id"] for one in (file, *later) if (frame := facts[one]) is not None]
                lost = invariants.every_id(windows["window_id"], pl.concat([_NO_IDS, *rows]), "windows without a row")
                self._add("one_row_each", file.table, lost)

    def _check_blobs(self, facts: dict[str, pl.DataFrame]) -> None:
        for file in self.files:
            if file.table in BLOB_TABLES:
                there = self._read(file, self._blob_facts)
                owner = FACTS_OF[file.table]
                if there is not None and owner in facts:
                    texts = invariants.blobs(facts[owner], there, BLOB_TABLES[file.table])
                    self._add("blobs", file.table, texts)

    def _blob_facts(self, file: _File) -> pl.DataFrame:
        with pq.ParquetFile(source(file.file.path), page_checksum_verification=True) as opened:
            groups = (_row_group(opened, group, BLOB_TABLES[file.table]) for group in range(opened.num_row_groups))
            return pl.concat([_BLOB_FACTS.to_frame(), *(_sized(group, hashed=self.verify) for group in groups)])


_NO_IDS: Final = pl.Series("window_id", [], dtype=pl.String)
_BLOB_FACTS: Final = pl.Schema({"window_id": pl.String, "size": pl.Int64, "sha256": pl.String})


def _row_group(opened: pq.ParquetFile, group: int, column: str) -> pl.DataFrame:
    frame = pl.from_arrow(opened.read_row_group(group, columns=["window_id", column]))
    assert isinstance(frame, pl.DataFrame)
    return frame.rename({column: "blob"})


def _sized(group: pl.DataFrame, *, hashed: bool) -> pl.DataFrame:
    """Size and, where wanted, hash of every blob of a row group, which is all that is held of it."""
    hashes = [hashlib.sha256(blob or b"").hexdigest() for blob in group["blob"]] if hashed else [None] * group.height
    sizes = group.select("window_id", pl.col("blob").bin.size().cast(pl.Int64).alias("size"))
    return sizes.with_columns(pl.Series("sha256", hashes, pl.String))
