"""Which cores engines of this machine have: a lock file per core, held until its process ends."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

_held: Final[dict[Path, FileLock]] = {}


def claim(core: int) -> bool:
    """Claim a core for this process; False where another one has it. Where locks cannot be kept, everyone may."""
    path = _path(core)
    if path is None or path in _held:
        return True
    lock = FileLock(path, mode=0o600, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    except OSError:  # a full or read-only disk is no reason not to caption
        return True
    _held[path] = lock
    return True


def is_free(core: int) -> bool:
    """Whether no other process has claimed a core."""
    path = _path(core)
    if path is None or path in _held:
        return True
    free = claim(core)
    if path in _held:
        _held.pop(path).release()
    return free


def is_ours(core: int) -> bool:
    """Whether this process has claimed a core."""
    return _path(core) in _held


def _path(core: int) -> Path | None:
    """The lock file of a core; None where this user's folder for them cannot be trusted."""
    folder = Path(tempfile.gettempdir()) / f"colcap-cores-{os.getuid()}"
    with suppress(OSError):
        folder.mkdir(mode=0o700)
    try:
        found = folder.lstat()
    except OSError:
        return None
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return folder / f"core-{core}.lock" if is_ours else None
