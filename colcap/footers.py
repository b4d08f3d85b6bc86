"""What a run's part files say about themselves, remembered in one small file so that a long run is looked over quickly.

Parsing the footers of 94,000 files takes 10 to 20 s. What was parsed once is kept in RUN/.footers.parquet, under each
file's name, size and times, and is believed only while all of them are the same. A file with other times, as all have
in a copied run, is read again, which takes a tenth of parsing it: it is believed where its footer has the same hash.
Times do not show a bit that flips by itself; `colcap run --verify` reads every byte. The file may be deleted at any
time, and a damaged one is ignored.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from colcap import store
from colcap.schema import SET_TABLES, TABLES

log = logging.getLogger(__name__)

INDEX: Final = ".footers.parquet"
WORTH_KEEPING: Final = 256
"""New footers that make the index worth writing; fewer are read again in 0.05 s."""

REMEMBER_EVERY: Final = 1000
"""Parts that are made between two times that a run remembers: it takes 2 s, and a stopped run is soon looked over."""

SETTLED_S: Final = 2.0
"""A file younger than this is not remembered: it could change once more without its times showing it."""

_SCHEMA: Final = pa.schema(
    {
        "name": pa.string(),
        "size": pa.int64(),
        "mtime_ns": pa.int64(),
        "ctime_ns": pa.int64(),
        "hash": pa.binary(),
        "part": pa.int64(),
        "rows": pa.int64(),
        "fingerprint": pa.string(),
        "scope": pa.string(),
        "basis": pa.string(),
        "counts": pa.string(),
    }
)

_Key: TypeAlias = tuple[int, int, int]
"""A file's size and both times."""


@dataclass(frozen=True, slots=True)
class _Memory:
    """What is remembered of a file."""

    key: _Key
    hash: bytes
    """Of its footer, as it is written."""
    footer: store.Footer


_Known: TypeAlias = dict[str, _Memory]


@dataclass(frozen=True, slots=True)
class Part:
    """A part file, and what it says."""

    file: store.PartFile
    """Which file."""
    footer: store.Footer | None
    """None where the file is damaged, short or not one of ours."""

    @property
    def is_its_own(self) -> bool:
        """It is of the part that its name says."""
        return self.footer is not None and self.footer.part == self.file.part


def read_footers(run: Path, folders: Iterable[Path]) -> dict[Path, list[Part]]:
    """The committed files of some table folders of a run, by part and attempt, each with its footer.

    Footers that were not remembered are read, and remembered where the run folder can be written.
    """
    known = _load(run)
    fresh: _Known = {}
    found = {folder: _read_folder(run, folder, known, fresh) for folder in folders}
    if len(fresh) >= WORTH_KEEPING:
        _save(run, {**known, **fresh})
    return found


def remember(run: Path) -> None:
    """Read the footers of a run's new files while it is being made, so that whoever looks at it need not."""
    plain = [run / table for table in TABLES if table not in SET_TABLES]
    read_footers(run, [*plain, *(folder for table in SET_TABLES for folder in (run / table).glob("set=*"))])


def _read_folder(run: Path, folder: Path, known: _Known, fresh: _Known) -> list[Part]:
    place, now, parts = folder.relative_to(run).as_posix(), time.time(), []
    for file in store.list_parts(folder):
        name = f"{place}/{file.path.name}"
        try:
            stat = file.path.stat()
        except OSError:
            parts.append(Part(file, None))
            continue
        key = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        memory = known.get(name)
        if memory is None or memory.key != key:
            memory = _read(file.path, key, memory)
            if memory and abs(now - stat.st_ctime) > SETTLED_S:
                fresh[name] = memory
        parts.append(Part(file, memory.footer if memory else None))
    return parts


def _read(path: Path, key: _Key, before: _Memory | None) -> _Memory | None:
    """Read a file's footer, and parse it unless it was `before`; None where it is damaged."""
    ending = store.read_ending(path)
    if ending is None:
        return None
    hashed = hashlib.blake2b(ending, digest_size=16).digest()
    same = before is not None and before.key[0] == key[0] and before.hash == hashed
    footer = before.footer if before and same else store.parse_ending(ending)
    return _Memory(key, hashed, footer) if footer else None


def _load(run: Path) -> _Known:
    try:
        with pq.ParquetFile(run / INDEX, page_checksum_verification=True) as file:
            if file.schema_arrow != _SCHEMA:
                return {}
            columns = [column.to_pylist() for column in file.read().columns]
    except (OSError, pa.ArrowException, ValueError):
        return {}
    return {
        name: _Memory(tuple(key), hashed, store.Footer(part, rows, made_by, scope, basis, store.parse_counts(counts)))
        for name, *key, hashed, part, rows, made_by, scope, basis, counts in zip(*columns, strict=True)
    }


def _save(run: Path, known: Mapping[str, _Memory]) -> None:
    rows = [(name, *memory.key, memory.hash, *_said(memory.footer)) for name, memory in known.items()]
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), _SCHEMA.types, strict=True)]
    data = io.BytesIO()
    pq.write_table(pa.table(columns, schema=_SCHEMA), data, compression="zstd", write_page_checksum=True)
    try:
        store.write_atomically(run / INDEX, data.getvalue())
    except OSError as error:  # not ours to write, or no room: it is a convenience
        log.debug("footers are not remembered: %s", error)


def _said(footer: store.Footer) -> tuple[object, ...]:
    counts = None if footer.counts is None else json.dumps(dict(footer.counts))
    return (footer.part, footer.rows, footer.fingerprint, footer.scope, footer.basis, counts)
