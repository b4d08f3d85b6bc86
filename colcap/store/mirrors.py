"""Run folders by their place: a local folder is itself, one on an object store is its local stand-in."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from colcap import objects
from colcap.errors import ColcapError, ConfigError, RunError
from colcap.objects import Place, Url, place
from colcap.store import lease as leases
from colcap.store.helper import Helper
from colcap.store.lease import BorrowedLease, Lease
from colcap.store.mirror import Mirror
from colcap.store.names import LOCK_NAME, own_suffix

RUN_SCHEMES: Final = ("s3", "az")

GOODBYE_S: Final = 10.0
"""How long a run's log is tried to be shared once the run has ended, in seconds."""

_OWNER: Final = "owner"

_mirrors: dict[Path, Mirror] = {}
"""Those of this process, by their local folder."""

_readers: dict[Url, Mirror] = {}

_helpers: dict[tuple[Url, str], tuple[Helper, FileLock]] = {}
"""By run and writer, with the lock of its folder, which dies with this process."""

_helpers_lock = threading.Lock()


def mirror_of(path: Path) -> Mirror | None:
    """The mirror that a path lies in; None for local ones."""
    if not _mirrors:
        return None
    return next((mirror for folder, mirror in _mirrors.items() if path.is_relative_to(folder)), None)


def source(path: Path) -> Any:
    """What pyarrow opens to read a part file: the path, or where its bytes are not here, the object."""
    mirror = mirror_of(path)
    return mirror.source(path) if mirror else path


def opened(path: Path) -> pq.ParquetFile:
    """A Parquet file of a run, whose footer is here in any case; rows that are not are read from the store."""
    mirror = mirror_of(path)
    if mirror is None:
        return pq.ParquetFile(path, memory_map=True)
    return pq.ParquetFile(mirror.source(path), metadata=pq.read_metadata(path))


def given(path: Path) -> Path | Url:
    """A run folder as its user calls it."""
    mirror = mirror_of(path)
    return mirror.url if mirror else path


def as_given(text: str) -> str:
    """A text, with the places that users know instead of the local folders that stand for them."""
    for folder, mirror in _mirrors.items():
        text = text.replace(str(folder), str(mirror.url))
    return text


def readable(run: Place, *, trust: bool = True) -> Path:
    """The folder to read a run from; one on an object store is fetched, as far as it has changed.

    Parameters
    ----------
    run : a path or URL.
    trust : believe local copies whose etag is still the same.

    Raises
    ------
    RunError : it cannot be fetched.
    """
    where = place(run)
    if isinstance(where, Path):
        return where
    _require_store(where)
    try:
        home = _home(where, "read")
        with FileLock(home / LOCK_NAME):
            if where not in _readers:
                _readers[where] = Mirror(where, home)
            mirror = _readers[where]
            mirror.sync(trust=trust)
    except OSError as error:
        raise RunError(f"{where}: cannot be read: {error}") from None
    _mirrors[mirror.folder] = mirror
    return mirror.folder


@contextmanager
def writable(run: Place) -> Iterator[Path]:
    """The folder to write a run to; of one on an object store this process is then the only writer.

    Raises
    ------
    RunError : another process writes it, or it cannot be reached.
    """
    where = place(run)
    if isinstance(where, Path):
        yield where
        return
    _require_store(where)
    try:
        home = _home(where, "write")
        with FileLock(home / LOCK_NAME, timeout=0), _leased(where, home) as mirror:
            _mirrors[mirror.folder] = mirror
            try:
                yield mirror.folder
            except ColcapError as error:
                raise type(error)(as_given(str(error))) from error
            finally:
                with suppress(OSError):  # whatever stopped the run is told instead
                    mirror.share_logs(patience_s=GOODBYE_S)
                del _mirrors[mirror.folder]
                if where in _readers:
                    _readers[where].look_again()
    except Timeout:
        raise RunError(f"{where}: another colcap process is writing this run; wait for it, or stop it first") from None
    except OSError as error:
        raise RunError(f"{where}: cannot be written: {error}") from None


def helper(where: Url, ident: str) -> Helper:
    """This process as one that works for a writer of a run, which is on another machine.

    Parameters
    ----------
    where : the run folder.
    ident : of the writer's lease.

    Raises
    ------
    ConfigError : the library that reads the store is not installed.
    RunError, OSError : the writer has lost the run; the store cannot be asked.
    """
    objects.require_library(where)
    with _helpers_lock:
        if (where, ident) not in _helpers:
            lease = BorrowedLease(where / LOCK_NAME, ident)
            lease.check()
            home, lock = _own_home(where)
            made = Helper(where, home, lease)
            _helpers[where, ident] = made, lock
            _mirrors[made.folder] = made
        return _helpers[where, ident][0]


def _own_home(where: Url) -> tuple[Path, FileLock]:
    """A folder of this process, locked; those of processes that are dead are removed."""
    folder = _home(where, "help")
    with FileLock(folder / LOCK_NAME):
        for left in folder.iterdir():
            if left.is_dir() and _is_dead(left):
                shutil.rmtree(left, ignore_errors=True)
        home = folder / own_suffix()
        home.mkdir()
        lock = FileLock(home / LOCK_NAME)
        lock.acquire()
    return home, lock


def _is_dead(home: Path) -> bool:
    try:
        with FileLock(home / LOCK_NAME, timeout=0):
            return True
    except Timeout:
        return False


def _require_store(where: Url) -> None:
    """Refuse a URL that a run cannot be at.

    Raises
    ------
    ConfigError : says where it can be.
    """
    if where.scheme not in RUN_SCHEMES:
        told = ", ".join(f"{scheme}://" for scheme in RUN_SCHEMES)
        raise ConfigError(f"{where}: a run can be in a folder or on {told}: it needs conditional writes by etag")
    objects.require_library(where)


@contextmanager
def _leased(where: Url, home: Path) -> Iterator[Mirror]:
    lease = Lease(where / LOCK_NAME, _owner(home), lease_s=leases.LEASE_S, renew_s=leases.RENEW_S)
    try:
        mirror = Mirror(where, home, lease)
        mirror.recover()
        mirror.sync()
        yield mirror
    finally:
        lease.release()


def _owner(home: Path) -> str:
    """Who writes from this folder. Its lock is ours, so a lease of the same name is a dead process's."""
    path = home / _OWNER
    if not path.exists():
        path.write_text(secrets.token_hex(16))
    return path.read_text()


def _home(where: Url, role: str) -> Path:
    """Where this machine keeps its copy of a run: nobody else's business, and safe to delete."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    name = hashlib.sha256(f"{server} {where}".encode()).hexdigest()[:16]
    home = Path(os.path.realpath(base)) / "colcap" / "runs" / name / role
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return home
