"""A run folder on an object store, and the local folder that stands for it.

The local folder has the tables of facts as they are there, fetched again only where their etag is another one. Of a
table of bytes it has files of the right size that hold the footer alone, the rest being holes: planning and checking
need no more, and who needs the bytes reads them from the store, a row group at a time (`source`).

A part is committed by uploads, each of which appears whole or not at all: bytes first, then facts, last the table that
says that the part is there, and that one only if nobody has written it meanwhile. A part that is there already is
replaced in three steps, so that it is never half old: all its files are uploaded under other names, then a journal
appears, and from then on the files are copied into place, by whoever comes next if need be.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final

from colcap import objects
from colcap.errors import RunError
from colcap.objects import NEW, Changed, Meta, Url
from colcap.schema import BLOB_TABLES, SET_TABLES, SIDE_TABLES, TABLES
from colcap.store.known import Known
from colcap.store.lease import BorrowedLease, Lease
from colcap.store.names import JOURNAL_PREFIX, PART_NAME, own_suffix
from colcap.store.stubs import make_stub, read_footer_bytes, write_stub

REQUESTS_AT_ONCE: Final = 32
"""Small requests wait for the network, not for the machine."""

UPLOADS_AT_ONCE: Final = 4
FRESH_S: Final = 1.0
"""A reader that has looked within the last second does not look again."""

ABANDONED_S: Final = 24 * 3600.0
"""A file that is fetched for longer than this, in seconds, is not any more."""

LOG_EVERY_S: Final = 30.0
"""How often a run's log is uploaded while it is written, in seconds."""

STAGE_PREFIX: Final = ".stage-"
LOGS: Final = ("run.log", "run.log.1")
_FILES: Final = ("run.toml", "manifest.parquet", *LOGS)
_SET: Final = re.compile(r"set=[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class Taken(RunError):
    """What makes a part be there was written by somebody else meanwhile."""


class Mirror:
    """A remote run folder and its local stand-in.

    Parameters
    ----------
    url : the run folder.
    home : a local folder of its own, whose lock the caller holds while it looks or writes.
    lease : where this process writes the run.
    """

    stubs: ClassVar[frozenset[str]] = frozenset(BLOB_TABLES)
    """Tables and files of which only the footer is kept here."""

    def __init__(self, url: Url, home: Path, lease: Lease | BorrowedLease | None = None) -> None:
        self.url, self.folder, self.lease = url, home / "run" / (url.key.rpartition("/")[2][-100:] or url.bucket), lease
        self._incoming = home / "incoming"
        self._known = Known(home / "objects.sqlite")
        self._looked = self._logged = 0.0
        self._log_lock = threading.Lock()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(exist_ok=True)

    def look_again(self) -> None:
        """Look at the next `sync`, however soon that is."""
        self._looked = 0.0

    # ---- from there to here

    def sync(self, *, trust: bool = True) -> None:
        """Bring the local folder up to date.

        Parameters
        ----------
        trust : believe local copies whose etag is still the same; otherwise all is fetched again.

        Raises
        ------
        OSError : the store cannot be asked, or the local disk is full.
        """
        if trust and self.lease is None and time.monotonic() - self._looked < FRESH_S:
            return
        self._known.reload()
        self._sweep()
        there = {name: meta for meta in objects.list_under(self.url) if (name := self._name(meta.url))}
        for name in self._here() - there.keys():
            (self.folder / name).unlink(missing_ok=True)
        self._known.keep(there)
        stale = [name for name, meta in there.items() if not (trust and self._is_here(name, meta))]
        objects.together(REQUESTS_AT_ONCE, lambda name: self._fetch(name, there[name]), stale)
        self._looked = time.monotonic()

    def _sweep(self) -> None:
        """What processes that were killed had begun to fetch."""
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink()

    def _name(self, url: Url) -> str | None:
        """An object's place in the run folder; None where a run has none of that name."""
        name = url.key[len(self.url.key) :].lstrip("/")
        folder, _, file = name.rpartition("/")
        if not folder:
            return name if name in _FILES or name.startswith(JOURNAL_PREFIX) else None
        table, _, own = folder.partition("/")
        known = table in TABLES or table in SIDE_TABLES
        right = bool(_SET.fullmatch(own)) if table in SET_TABLES else not own
        return name if known and right and PART_NAME.fullmatch(file) else None

    def _here(self) -> set[str]:
        found = (path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        return {name for name in found if self._name(self.url / name)}

    def _is_here(self, name: str, meta: Meta) -> bool:
        return self._known.etag(name) == meta.etag and (self.folder / name).exists()

    def _fetch(self, name: str, meta: Meta) -> None:
        final = self.folder / name
        final.parent.mkdir(parents=True, exist_ok=True)
        temp = self._incoming / own_suffix()
        try:
            if self._is_stub(name):
                write_stub(temp, meta.size, read_footer_bytes(partial(objects.read_tail, meta.url), meta.size))
            else:
                with temp.open("wb") as file:
                    file.writelines(objects.pieces(meta.url))
            os.replace(temp, final)
        except FileNotFoundError:
            return  # it went while we looked
        finally:
            temp.unlink(missing_ok=True)
        self._known.note(name, meta.etag)

    def source(self, path: Path) -> Any:
        """What pyarrow opens to read a part: the local file, or of a stub the object itself."""
        name = path.relative_to(self.folder).as_posix()
        if not self._is_stub(name) or self._known.is_whole(name):
            return path
        return objects.open_input(self.url / name, size=path.stat().st_size)

    def fetch_whole(self, paths: Iterable[Path]) -> None:
        """Fetch the bytes of stubs, for readers that need files."""
        names = [path.relative_to(self.folder).as_posix() for path in paths]
        stubs = [name for name in names if _is_blob(name) and not self._known.is_whole(name)]
        objects.together(UPLOADS_AT_ONCE, self._fetch_blob, stubs)

    def _fetch_blob(self, name: str) -> None:
        temp = self._incoming / own_suffix()
        try:
            with temp.open("wb") as file:
                file.writelines(objects.pieces(self.url / name))
            os.replace(temp, self.folder / name)
        finally:
            temp.unlink(missing_ok=True)
        self._known.note(name, self._known.etag(name) or "", whole=True)

    # ---- from here to there

    def publish(self, files: Sequence[tuple[Path, Path]]) -> bool:
        """Commit local temp files under their final paths; True, since this is the only writer.

        Raises
        ------
        RunError : another process writes the run.
        OSError : the store or the disk cannot be written.
        """
        self._check_lease()
        ordered = sorted(((temp, self._named(final)) for temp, final in files), key=lambda pair: _rank(pair[1]))
        decides = ordered[-1][1]
        once = len(ordered) == 1 or (self._known.etag(decides) is None and not decides.startswith(tuple(SET_TABLES)))
        etags = self._upload(ordered) if once else self._replace(ordered)
        for temp, name in ordered:
            self._keep(temp, name, etags[name])
        self.share_logs(every_s=LOG_EVERY_S)
        return True

    def _upload(self, files: Sequence[tuple[Path, str]]) -> dict[str, str]:
        *before, (temp, name) = files
        done = objects.together(UPLOADS_AT_ONCE, lambda pair: objects.put(self.url / pair[1], pair[0]), before)
        return {**{each: etag for (_, each), etag in zip(before, done, strict=True)}, name: self._put_last(temp, name)}

    def _put_last(self, data: Path | bytes, name: str) -> str:
        """What makes a part be there: refused where another process has written it."""
        self._check_lease()
        try:
            return objects.put(self.url / name, data, only_if=self._known.etag(name) or NEW)
        except Changed:
            raise Taken(f"{self.url / name}: was written by another colcap process; stop one of the two") from None

    def _replace(self, files: Sequence[tuple[Path, str]]) -> dict[str, str]:
        stage = f"{STAGE_PREFIX}{own_suffix()}"
        moves = [(f"{stage}/{number}", name) for number, (_, name) in enumerate(files)]
        uploads = [(self.url / staged, temp) for (staged, _), (temp, _) in zip(moves, files, strict=True)]
        objects.together(UPLOADS_AT_ONCE, lambda pair: objects.put(*pair), uploads)
        self._check_lease()
        journal = self.url / f"{JOURNAL_PREFIX}{own_suffix()}.json"
        objects.put(journal, json.dumps(moves).encode())
        return self._finish(journal, moves)

    def _finish(self, journal: Url, moves: Sequence[Sequence[str]]) -> dict[str, str]:
        """Copy a commit whose journal is there into place; done again, it does no harm."""
        for staged, name in moves:
            with suppress(FileNotFoundError):  # an earlier, cut-off attempt had copied all of it
                objects.copy(self.url / staged, self.url / name)
        etags = {name: there.etag for _, name in moves if (there := objects.head(self.url / name))}
        objects.delete(self.url / staged for staged, _ in moves)
        objects.delete([journal])
        return etags

    def recover(self) -> None:
        """Finish commits that were cut off, and sweep away what was staged for none. Only the run's writer may."""
        inside = [(meta.url, meta.url.key[len(self.url.key) :].lstrip("/")) for meta in self._hidden()]
        for url, name in inside:
            if name.startswith(JOURNAL_PREFIX):
                self._finish(url, [pair for pair in json.loads(objects.read(url)) if self._name(self.url / pair[1])])
        objects.delete(url for url, name in inside if name.startswith(STAGE_PREFIX))

    def _hidden(self) -> list[Meta]:
        start = len(self.url.key) + bool(self.url.key)
        return [meta for meta in objects.list_under(self.url) if meta.url.key[start:].startswith(".")]

    def put(self, name: str, data: bytes) -> None:
        """Write a small file of the run, there and here."""
        self._known.note(name, self._put_last(data, name))
        temp = self.folder / f".{name}.{own_suffix()}.tmp"
        temp.write_bytes(data)
        os.replace(temp, self.folder / name)

    def share(self, path: Path) -> None:
        """Upload a file of the run that was just made here."""
        name = self._named(path)
        large = path.stat().st_size > objects.SINGLE_PUT_BYTES  # clips inside the manifest; that has no condition then
        self._known.note(name, objects.put(self.url / name, path) if large else self._put_last(path, name))

    def remove(self, path: Path) -> None:
        """Remove a part, there and here."""
        self._check_lease()
        objects.delete([self.url / self._named(path)])
        path.unlink(missing_ok=True)
        self._known.forget(self._named(path))

    def share_logs(self, *, every_s: float = 0.0, patience_s: float = objects.PATIENCE_S) -> None:
        """Upload the run's log, if it was not for so many seconds."""
        with self._log_lock:
            if time.monotonic() - self._logged < every_s:
                return
            self._logged = time.monotonic()
            for name in LOGS:
                if (self.folder / name).exists():
                    objects.put(self.url / name, (self.folder / name).read_bytes(), patience_s=patience_s)

    def _keep(self, temp: Path, name: str, etag: str) -> None:
        """Have here what was just uploaded; of bytes a stub, or a run would be on this disk as well."""
        final = self.folder / name
        if _is_blob(name):
            make_stub(temp)
        os.replace(temp, final)
        self._known.note(name, etag)

    def _is_stub(self, name: str) -> bool:
        return name.partition("/")[0] in self.stubs

    def _named(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _check_lease(self) -> None:
        if self.lease is None:
            raise RunError(f"{self.url}: was opened to be read")
        self.lease.check()


def _is_blob(name: str) -> bool:
    return name.partition("/")[0] in BLOB_TABLES


def _rank(name: str) -> tuple[int, int]:
    """Bytes first, then facts, clips last of all; of several attempts the first one last."""
    found = PART_NAME.fullmatch(name.rpartition("/")[2])
    kind = 0 if _is_blob(name) else 2 if name.startswith("clips/") else 1
    return kind, -int(found[2] or 1) if found else 0
