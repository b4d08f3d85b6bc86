"""Files of the right size that hold a Parquet footer and nothing else: holes take no room on the disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

FOOTER_BYTES: Final = 64 << 10
"""Asked for first; a longer footer takes a second request."""


def make_stub(path: Path) -> None:
    """Make a stub of a whole file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        tail = read_footer_bytes(lambda count: _last(file, count), size)
    write_stub(path, size, tail)


def write_stub(path: Path, size: int, tail: bytes) -> None:
    """A file of this size, of which only the last bytes are there."""
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size - len(tail))
        file.write(tail)


def read_footer_bytes(read: Callable[[int], bytes], size: int) -> bytes:
    """A Parquet file's footer; of what is none, its end, which shows that."""
    if not size:
        return b""
    tail = read(min(size, FOOTER_BYTES))
    needed = int.from_bytes(tail[-8:-4], "little") + 8
    if not tail.endswith(b"PAR1") or needed > size:
        return tail[-8:]
    return tail[-needed:] if needed <= len(tail) else read(needed)


def _last(file: Any, count: int) -> bytes:
    file.seek(-count, os.SEEK_END)
    return bytes(file.read(count))
