"""The folder that is exported into: ours alone, written file by file, and gone on with where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final

from filelock import FileLock, Timeout

from colcap.errors import ConfigError
from colcap.store import LOCK_NAME, disk_error, write_atomically

NOTES: Final = ".colcap-export"
"""Hidden folder with what the export was asked for, and for each part what was written."""

_ASKED: Final = "export.json"


@dataclass(frozen=True, slots=True)
class Note:
    """What was written of one part."""

    digest: str
    """Of the rows that it was written from."""
    files: Mapping[str, int]
    """Path inside the folder -> size in bytes."""
    counts: Mapping[str, int]
    """What is in them."""


@dataclass(slots=True)
class Folder:
    """A folder of one export's; `opened` makes sure of that."""

    path: Path
    """Where it is."""
    _written: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A file of the folder, which appears whole or not at all."""
        final = self.path / _inside(name)
        final.parent.mkdir(parents=True, exist_ok=True)
        temp = final.with_name(f".{final.name}.tmp")
        try:
            with temp.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temp, final)
        finally:
            temp.unlink(missing_ok=True)
        self._written[name] = final.stat().st_size

    def kept(self, part: int, digest: str) -> Note | None:
        """What was written of a part, if it is of these very rows and all there."""
        note = self._note(part)
        if note is None or note.digest != digest:
            return None
        return note if all(self._size(name) == size for name, size in note.files.items()) else None

    def finish(self, part: int, digest: str, counts: Mapping[str, int]) -> Note:
        """Note what was written of a part since the last one, and take away what it no longer has."""
        before = self._note(part)
        note = Note(digest, dict(self._written), dict(counts))
        self._written = {}
        for name in set(before.files if before else ()) - set(note.files):
            (self.path / name).unlink(missing_ok=True)
        content = {"digest": note.digest, "files": note.files, "counts": note.counts}
        write_atomically(self._note_path(part), json.dumps(content, sort_keys=True).encode())
        return note

    def _note_path(self, part: int) -> Path:
        return self.path / NOTES / f"part-{part:06d}.json"

    def _note(self, part: int) -> Note | None:
        try:
            said = json.loads(self._note_path(part).read_bytes())
            return Note(said["digest"], {str(_inside(n)): int(s) for n, s in said["files"].items()}, said["counts"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # then the part is written again

    def _size(self, name: str) -> int:
        try:
            return (self.path / name).stat().st_size
        except OSError:
            return -1


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise ValueError(f"{name!r} is not inside the folder")
    return path


@contextmanager
def opened(path: Path, asked: Mapping[str, Any]) -> Iterator[Folder]:
    """Make a folder an export's own, or go on with the same export; it has no other writer meanwhile.

    Parameters
    ----------
    path : the folder.
    asked : what decides its content; JSON.

    Raises
    ------
    ConfigError : it is in use, holds files of others, or another export.
    ColcapError : the disk is full, or cannot be written.
    """
    try:
        _claim(path, asked)
        with FileLock(path / NOTES / LOCK_NAME, timeout=0):
            yield Folder(path)
    except Timeout:
        raise ConfigError(f"{path}: another colcap process exports into it; wait for it, or stop it first") from None
    except OSError as error:
        raise disk_error(path, error) from error


def _claim(path: Path, asked: Mapping[str, Any]) -> None:
    note = path / NOTES / _ASKED
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{path}: is not a folder")
    if note.exists():
        _refuse_mixing(path, note, asked)
        return
    if path.exists() and any(entry.name != NOTES for entry in path.iterdir()):
        raise ConfigError(f"{path}: is not empty and no export of colcap's; name a new folder")
    note.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(note, json.dumps(asked, sort_keys=True).encode())


def _refuse_mixing(path: Path, note: Path, asked: Mapping[str, Any]) -> None:
    try:
        before = json.loads(note.read_bytes())
        changed = [name for name in asked if before.get(name) != asked[name]]
    except (ValueError, AttributeError):
        raise ConfigError(f"{note}: was changed by hand; export into a new folder") from None
    if changed:
        told = ", ".join(f"{name}: {before.get(name)!r} then, {asked[name]!r} now" for name in changed)
        raise ConfigError(f"{path}: holds another export ({told}); name a new folder")
