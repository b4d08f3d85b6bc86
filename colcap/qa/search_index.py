"""The full-text index of a run's captions: an SQLite FTS5 file beside the run, kept up to date part by part.

It is a cache: whatever is wrong with it, it is thrown away and built again. Where the run folder cannot be written, it
lies in a private folder below the system's temp folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

import polars as pl
from filelock import FileLock

from colcap.errors import RunError, printable
from colcap.schema import CAPTIONS, ENHANCED
from colcap.store import PartFile, list_parts

FOLDER: Final = ".search"
FILE: Final = "captions.sqlite"

Slice: TypeAlias = tuple[str, int]
"""A caption set and a part: what is indexed together."""

_VERSION: Final = 2
"""Goes up when the tables below change; an index of another version is built again."""

_TABLES: Final = {
    "captions": "CREATE VIRTUAL TABLE captions USING fts5(window_id UNINDEXED, caption_set UNINDEXED, caption, "
    "enhanced_caption, tokenize = 'porter unicode61 remove_diacritics 2')",
    "slices": "CREATE TABLE slices (caption_set TEXT, part INTEGER, files TEXT, first INTEGER, last INTEGER, "
    "PRIMARY KEY (caption_set, part)) WITHOUT ROWID",
}
_BATCH: Final = 256
"""Slices per transaction: one by one, FTS5 merges its b-trees all the time; all in one, Ctrl-C loses everything."""

_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_OUT_OF_REACH: Final = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
)


@contextmanager
def opened(run: Path) -> Iterator[sqlite3.Connection]:
    """Open the index of a run, with every caption that counts in it.

    Raises
    ------
    RunError : a part of the run cannot be read, or no folder can be written.
    sqlite3.Error : the index is damaged in a way that does not show at once: `remove` it.
    """
    try:
        connection = _open(run)
    except OSError as error:
        raise RunError(f"{run}: cannot be indexed: {error}") from None
    with closing(connection):
        yield connection


def remove(run: Path) -> None:
    """Throw the index of a run away."""
    for folder in (run / FOLDER, _private_folder(run)):
        if folder.is_dir() and not folder.is_symlink():
            with suppress(OSError), _locked(folder):
                _remove(folder / FILE)


def _open(run: Path) -> sqlite3.Connection:
    try:
        return _up_to_date(run / FOLDER, run)
    except OSError:
        return _up_to_date(_private_folder(run), run)
    except sqlite3.Error as error:
        if _primary_code(error) not in _OUT_OF_REACH:
            raise
        return _up_to_date(_private_folder(run), run)


def _up_to_date(folder: Path, run: Path) -> sqlite3.Connection:
    """As it is where it is current, since it may lie in a folder that cannot be written; else refreshed."""
    if folder.is_symlink():
        raise NotADirectoryError(f"{folder} is a link")
    path = folder / FILE
    if path.is_file() and _holds(path, _slices(run)):
        return _sqlite(path, "ro")
    folder.mkdir(exist_ok=True)
    with _locked(folder):
        if path.is_file() and not _holds(path):
            _remove(path)
        with closing(_sqlite(path, "rwc")) as connection:
            _refresh(connection, run)
    return _sqlite(path, "ro")


def _locked(folder: Path) -> FileLock:
    """Two searches may find the index out of date at once."""
    return FileLock(folder / ".lock")


def _holds(path: Path, wanted: Mapping[Slice, str] | None = None) -> bool:
    """Whether the file is an index of ours, and, where `wanted` is given, holds just that."""
    try:
        with closing(_sqlite(path, "ro")) as connection:
            return _is_ours(connection) and (wanted is None or not _stale(connection, wanted))
    except sqlite3.Error as error:
        if _primary_code(error) in _DAMAGED:
            return False
        raise


def _sqlite(path: Path, mode: str) -> sqlite3.Connection:
    """A hostile file's schema must not call functions, and a killed machine may cost us the cache, not time.

    No mmap_size: with the size check every page is then checked at each use, and ranking 30,000 hits takes 3x as long.
    """
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=600, isolation_level=None)
    for setting in ("trusted_schema = off", "cell_size_check = on", "synchronous = off"):
        connection.execute(f"PRAGMA {setting}")
    return connection


def _is_ours(connection: sqlite3.Connection) -> bool:
    ((version,),) = connection.execute("PRAGMA user_version")
    names = ", ".join(f"'{name}'" for name in _TABLES)
    made = dict(connection.execute(f"SELECT name, sql FROM sqlite_master WHERE name IN ({names})"))
    triggers = connection.execute("SELECT count(*) FROM sqlite_master WHERE type IN ('trigger', 'view')").fetchone()[0]
    return bool(version == _VERSION and made == _TABLES and not triggers)


def _refresh(connection: sqlite3.Connection, run: Path) -> None:
    """Bring the index up to date, some slices at a time."""
    if not _is_ours(connection):
        _create(connection)
    wanted = _slices(run)
    stale = _stale(connection, wanted)
    for start in range(0, len(stale), _BATCH):
        with _transaction(connection):
            for key in stale[start : start + _BATCH]:
                _replace(connection, run, key, wanted.get(key))


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _create(connection: sqlite3.Connection) -> None:
    with _transaction(connection):
        for sql in _TABLES.values():
            connection.execute(sql)
        connection.execute(f"PRAGMA user_version = {_VERSION}")


def _slices(run: Path) -> dict[Slice, str]:
    """Every slice of the run, and its files with size and time, as text."""
    files: dict[Slice, list[PartFile]] = {}
    for table in ("captions", "enhanced"):
        for folder in (run / table).glob("set=*"):
            for file in list_parts(folder):
                files.setdefault((folder.name.removeprefix("set="), file.part), []).append(file)
    return {key: json.dumps([_signature(file.path) for file in some]) for key, some in files.items()}


def _signature(path: Path) -> list[object]:
    facts = os.stat(path)
    return [path.parent.parent.name, path.name, facts.st_size, facts.st_mtime_ns]


def _stale(connection: sqlite3.Connection, wanted: Mapping[Slice, str]) -> list[Slice]:
    known = {
        (name, part): files for name, part, files in connection.execute("SELECT caption_set, part, files FROM slices")
    }
    return sorted(key for key in wanted.keys() | known.keys() if wanted.get(key) != known.get(key))


def _replace(connection: sqlite3.Connection, run: Path, key: Slice, files: str | None) -> None:
    """Index a slice again; `files` is None where it is gone."""
    for first, last in connection.execute("SELECT first, last FROM slices WHERE caption_set = ? AND part = ?", key):
        connection.execute("DELETE FROM captions WHERE rowid BETWEEN ? AND ?", (first, last))
    connection.execute("DELETE FROM slices WHERE caption_set = ? AND part = ?", key)
    if files is None:
        return
    rows = _rows(run, *key)
    ((first,),) = connection.execute("SELECT coalesce(max(last), 0) + 1 FROM slices")
    numbered = ((first + offset, *row) for offset, row in enumerate(rows.iter_rows()))
    connection.executemany(
        "INSERT INTO captions (rowid, window_id, caption_set, caption, enhanced_caption) VALUES (?, ?, ?, ?, ?)",
        numbered,
    )
    connection.execute("INSERT INTO slices VALUES (?, ?, ?, ?, ?)", (*key, files, first, first + rows.height - 1))


def _rows(run: Path, caption_set: str, part: int) -> pl.DataFrame:
    """The captions of a slice that count, with their enhancements."""
    try:
        captions = _winners(run / "captions" / f"set={caption_set}", part, ["caption"], CAPTIONS)
        grown = ["enhanced_caption", "caption_attempt"]
        enhanced = _winners(run / "enhanced" / f"set={caption_set}", part, grown, ENHANCED)
    except (OSError, pl.exceptions.PolarsError) as error:
        said = printable(str(error)).partition("\n")[0]
        raise RunError(f"{run}: captions of part {part} cannot be read ({said}); `colcap check` says more") from None
    of = enhanced.select("window_id", "enhanced_caption", attempt="caption_attempt")
    both = captions.join(of, on=["window_id", "attempt"], how="left", maintain_order="left")
    return both.select("window_id", pl.lit(caption_set).alias("caption_set"), "caption", "enhanced_caption")


def _winners(folder: Path, part: int, wanted: Sequence[str], schema: pl.Schema) -> pl.DataFrame:
    """As in `captions_latest`: per window the newest attempt that is ok."""
    columns = ["window_id", "attempt", "status", *wanted]
    files = [file.path for file in list_parts(folder) if file.part == part]
    frames = [pl.read_parquet(file, columns=columns, glob=False, hive_partitioning=False) for file in files]
    every = pl.concat([pl.DataFrame(schema={name: schema[name] for name in columns}), *frames])
    newest_first = every.filter(status="ok").sort("attempt", descending=True, maintain_order=True)
    winners = newest_first.unique("window_id", keep="first", maintain_order=True)
    return winners.sort("window_id").select("window_id", "attempt", *wanted)


def _private_folder(run: Path) -> Path:
    """A folder for this run that only we can enter: others may write to the system's temp folder."""
    mine = Path(tempfile.gettempdir()) / f"colcap-search-{os.getuid()}"
    mine.mkdir(mode=0o700, exist_ok=True)
    facts = mine.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise RunError(f"{mine}: is not a private folder of yours; remove it")
    return mine / hashlib.sha256(os.path.realpath(run).encode()).hexdigest()[:16]


def _remove(path: Path) -> None:
    for suffix in ("", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _primary_code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
