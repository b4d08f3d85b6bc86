"""What a local copy of a remote folder was when it was fetched: a small SQLite file, so that millions of names fit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection
from pathlib import Path


class Known:
    """Etags by name, kept on disk; safe to use from several threads of one process."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=60)
        self._file.execute("PRAGMA synchronous = off")  # a lost note costs a download
        self._file.execute("CREATE TABLE IF NOT EXISTS objects (name TEXT PRIMARY KEY, etag TEXT, whole INT)")
        self._rows: dict[str, tuple[str, bool]] = {}
        self.reload()

    def reload(self) -> None:
        """Take over what other processes have noted."""
        with self._lock:
            rows = self._file.execute("SELECT name, etag, whole FROM objects")
            self._rows = {name: (etag, bool(whole)) for name, etag, whole in rows}

    def etag(self, name: str) -> str | None:
        """The etag of the copy; None where there is none."""
        return self._rows[name][0] if name in self._rows else None

    def is_whole(self, name: str) -> bool:
        """Whether all bytes of a blob file are here, and not the footer alone."""
        return name in self._rows and self._rows[name][1]

    def note(self, name: str, etag: str, *, whole: bool = False) -> None:
        """Remember a copy."""
        with self._lock:
            self._rows[name] = (etag, whole)
            self._file.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", (name, etag, whole))

    def forget(self, name: str) -> None:
        """The copy is gone."""
        with self._lock:
            self._rows.pop(name, None)
            self._file.execute("DELETE FROM objects WHERE name = ?", (name,))

    def keep(self, names: Collection[str]) -> None:
        """Forget all others."""
        for name in [name for name in self._rows if name not in names]:
            self.forget(name)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
