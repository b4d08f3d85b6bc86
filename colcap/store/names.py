"""Where a run keeps what: the folder of each table, the name of each part file."""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from colcap.schema import SET_TABLES

JOURNAL_PREFIX: Final = ".commit-"

PART_NAME: Final = re.compile(r"part-(\d{6,})(?:\.a(\d+))?\.parquet")
LOCK_NAME: Final = ".lock"
"""A run folder's writer holds a lock on this file; the lock dies with the writer, the file stays."""


@dataclass(frozen=True, slots=True, order=True)
class PartFile:
    """One Parquet file of a table."""

    part: int
    """Number of the manifest's slice it comes from."""
    attempt: int
    """1, or more for later captions of the same windows."""
    path: Path
    """Where it is."""


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


def own_suffix() -> str:
    """Part of a file name that no other process has, on no machine: host, process and a random number."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"
