"""Writing to this machine's disk so that it is there afterwards, and saying why it could not be."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from colcap.errors import ColcapError
from colcap.store.mirrors import as_given
from colcap.store.names import own_suffix


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that a reader sees the old bytes or the new ones, never half."""
    temp = path.parent / f".{path.name}.{own_suffix()}.tmp"
    try:
        temp.write_bytes(data)
        sync(temp)
        os.replace(temp, path)
    finally:
        temp.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_error(run: Path, error: OSError) -> ColcapError:
    """An OSError while writing a run, in words that say what to do."""
    where = as_given(str(run))
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ColcapError(f"{where}: no room to write ({error.strerror}). Free some space, then run the same command.")
    return ColcapError(f"{where}: cannot write: {error.strerror or error}. Mend that, then run the same command.")
