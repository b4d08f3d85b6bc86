"""Bytes of a run's blob tables, by window: a row group at a time, which bounds memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from colcap.errors import RunError, printable
from colcap.store import source


@dataclass
class Blobs:
    """Bytes by window; one row group is held at a time, so ask in the order of the table."""

    path: Path
    """The part; a run may not have it."""
    column: str
    """`mp4` or `webp`."""
    _held: tuple[int, dict[str, bytes]] = field(default=(-1, {}), repr=False)

    def __getitem__(self, window_id: str) -> bytes:
        """The window's bytes.

        Raises
        ------
        KeyError : it has none.
        RunError : the part cannot be read.
        """
        group = self._groups[window_id]
        if self._held[0] != group:
            self._held = (-1, {})  # let go of one before the next is read
            self._held = (group, dict(self._read(group, ["window_id", self.column])))
        return self._held[1][window_id]

    def get(self, window_id: str | None) -> bytes | None:
        """The window's bytes; None where it has none."""
        return self[window_id] if window_id in self._groups and window_id is not None else None

    @cached_property
    def _groups(self) -> dict[str, int]:
        if not self.path.exists():
            return {}
        with _readable(self.path) as file:
            count = file.num_row_groups
        return {row[0]: group for group in range(count) for row in self._read(group, ["window_id"])}

    def _read(self, group: int, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        with _readable(self.path) as file:
            table = file.read_row_group(group, columns=columns)
        return zip(*(table[name].to_pylist() for name in columns), strict=True)


@contextmanager
def _readable(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(source(path)) as file:
            yield file
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{path}: cannot be read: {printable(str(error))}") from None
