"""Part files and their commit: all tables of one step of one part appear together, or none does.

A part is written to hidden temp files, closed and synced. Then a journal that names every temp file and
its final name is put in place atomically, and only then are the files renamed. Whatever is killed when:
without the journal the temp files are swept away at the next start, with it the renames are finished.

On an object store the files of a part are uploaded instead, see mirror.py.

Two attempts at one part may be under way on two machines, where one is taken for dead and is not: their files have
names of their own, and whichever commits last wins, with the same rows.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from colcap.errors import RunError
from colcap.schema import TABLES
from colcap.store.disk import disk_error, sync, write_atomically
from colcap.store.footer import versions
from colcap.store.mirrors import mirror_of
from colcap.store.names import JOURNAL_PREFIX, own_suffix
from colcap.store.writer import TableWriter

WRITER_PREFIX: Final = ".writer-"
"""A file of this prefix says that its writer is the run's latest: machines that work for an earlier one stop."""


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
        self._lock = threading.Lock()
        self._is_decided = self._is_dropped = False
        self._journal = run / f"{JOURNAL_PREFIX}{part:06d}-{next(iter(files))}.{own_suffix()}.json"
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
        ColcapError : the disk is full or not writable; nothing of the part became visible, or, where it fails between
            the journal and the last rename, the next start finishes it.
        RunError : another process is the run's writer by now, and has swept the part away; or it was dropped.
        """
        with self._lock:
            if self._is_dropped:
                raise RunError(f"{self.run}: part {self.part} was dropped before its commit")
            try:
                for name, writer in self._writers.items():
                    writer.close(self._footer(self._files[name]))
                self._put_in_place()
            except OSError as error:
                self._drop()
                raise disk_error(self.run, error) from error
        return {table: writer.rows for table, writer in self._writers.items()}

    def _put_in_place(self) -> None:
        if mirror := mirror_of(self.run):
            mirror.publish([(writer.temp, writer.final) for writer in self._writers.values()])
            return
        renames = [(_inside(self.run, w.temp), _inside(self.run, w.final)) for w in self._writers.values()]
        try:
            write_atomically(self._journal, json.dumps(renames).encode())
        finally:
            self._is_decided = self._journal.exists()
        try:
            _rename(self.run, renames)
        except FileNotFoundError:
            self._journal.unlink(missing_ok=True)
            raise RunError(f"{self.run}: another colcap process writes this run now; stop one of the two") from None
        self._journal.unlink(missing_ok=True)

    def abort(self) -> None:
        """Drop the part: nothing of it becomes visible. One whose commit has begun, in any thread, is left to it."""
        if self._lock.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._lock.release()

    def _drop(self) -> None:
        """A journal is a promise: what it names is renamed by the next start, and is not dropped any more."""
        if not self._is_decided:
            self._is_dropped = True
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
            _rename(run, json.loads(journal.read_bytes()), begun=True)
        journal.unlink(missing_ok=True)
    for pattern in (".*.tmp", "*/.*.tmp", "*/set=*/.*.tmp", f"{WRITER_PREFIX}*"):
        for leftover in run.glob(pattern):
            leftover.unlink(missing_ok=True)
            swept += not leftover.name.startswith(WRITER_PREFIX)
    return swept


def _rename(run: Path, renames: Sequence[Sequence[str]], *, begun: bool = False) -> None:
    """Finish a commit whose journal is in place; where it was `begun` and cut off, some may be renamed already."""
    for temp, final in renames:
        with suppress(*([FileNotFoundError] if begun else [])):
            os.replace(run / temp, run / final)
    for folder in {(run / final).parent for _, final in renames}:
        sync(folder)


def _inside(run: Path, path: Path) -> str:
    return path.relative_to(run).as_posix()
