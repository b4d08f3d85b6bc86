"""Reading a clip's bytes by its uri, within what is allowed: files of one folder, objects, http where asked for."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from colcap import objects
from colcap.errors import ColcapError, ConfigError, RowError, printable

AWAY: Final = frozenset(
    {
        errno.ESTALE,
        errno.ENOTCONN,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EMFILE,
        errno.ENFILE,
    }
)
"""Said of a file system that is away, and where no more files can be opened: no fault of a clip's."""


class ClipReader:
    """Reads clips by uri. Small enough to send to a worker process.

    Parameters
    ----------
    root : a folder, or a prefix of an object store; clips that are not in it are not read.
    max_bytes : a larger clip is not read.
    http : whether http(s) urls are read.
    """

    def __init__(self, *, root: Path | objects.Url | None = None, max_bytes: int, http: bool = False) -> None:
        self.root = os.path.realpath(root) if isinstance(root, Path) else root
        self.max_bytes = max_bytes
        self.http = http

    def __call__(self, uri: str) -> bytes:
        """The clip's bytes.

        Raises
        ------
        RowError : `unreadable` (missing, not permitted, outside the root, not a regular file) or `too_large`.
        ColcapError : where it is cannot be reached, so that no clip there could be read.
        """
        try:
            data = self._object(uri) if objects.is_url(uri) else self._file(uri)
        except (OSError, ValueError) as error:
            raise read_error(uri, error) from None
        if data is None:
            raise RowError("too_large", f"{uri}: larger than limits.max_bytes ({self.max_bytes})")
        return data

    def path(self, uri: str) -> str:
        """The clip's path, with no links left in it.

        Raises
        ------
        RowError : `unreadable`: missing, outside the root, or not a regular file.
        ColcapError : its file system cannot be reached.
        """
        try:
            return self._checked(os.path.realpath(local_path(uri)), uri)
        except (OSError, ValueError) as error:
            raise read_error(uri, error) from None

    def url(self, uri: str) -> objects.Url:
        """The clip's url, if it may be read.

        Raises
        ------
        RowError : `unreadable`: outside the root, http that was not asked for, or no url of a known kind.
        """
        try:
            url = objects.Url.parse(uri)
            objects.require_library(url)
        except ConfigError as error:
            raise RowError("unreadable", str(error)) from None
        if url.scheme in objects.HTTP_SCHEMES and not self.http:
            raise RowError("unreadable", f"{url}: http is read with --allow-http only")
        if self.root is not None and not (isinstance(self.root, objects.Url) and self.root.holds(url)):
            raise RowError("unreadable", f"{url}: lies outside --root {self.root}")
        return url

    def _file(self, uri: str) -> bytes | None:
        with open(self.path(uri), "rb") as file:
            data = file.read(self.max_bytes + 1)
        return data if len(data) <= self.max_bytes else None

    def _object(self, uri: str) -> bytes | None:
        return objects.read_bounded(self.url(uri), self.max_bytes)

    def _checked(self, path: str, uri: str) -> str:
        if isinstance(self.root, objects.Url) or (self.root and os.path.commonpath([path, self.root]) != self.root):
            raise RowError("unreadable", f"{uri}: lies outside --root {self.root}")
        if not stat.S_ISREG(os.stat(path).st_mode):  # a device or a pipe could be read for ever
            raise RowError("unreadable", f"{uri}: is not a file")
        return path


def local_path(uri: str) -> str:
    """The path behind a `file://` uri; a plain path stays as it is.

    >>> local_path("file:///data/a%20b.mp4")
    '/data/a b.mp4'
    """
    return unquote(urlsplit(uri).path) if uri.lower().startswith("file://") else uri


def read_error(uri: str, error: OSError | ValueError) -> RowError | ColcapError:
    """What a failure to read a clip means: one row, or, where no clip there could be read, the end of the run."""
    if objects.is_url(uri):
        text, is_away = str(error), _is_store_away(uri, error)  # the error names its object
    else:
        said = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None) or error
        text, is_away = f"{uri}: {said}", isinstance(error, OSError) and error.errno in AWAY
    if not is_away:
        return RowError("unreadable", text)
    return ColcapError(f"clips cannot be read: {printable(text)}. Once they can be, the same command goes on.")


def _is_store_away(uri: str, error: Exception) -> bool:
    """Whether the store is to blame: it may fail at one object for ever. Of http each clip may name another host."""
    url = objects.Url.parse(uri)
    if not isinstance(error, objects.Unreachable) or url.scheme in objects.HTTP_SCHEMES:
        return False
    return isinstance(error, objects.NoCredentials) or not objects.answers(url)
