"""Names of objects and of what is under them: `s3://bucket/folder/clip.mp4`."""

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias
from urllib.parse import unquote

from colcap.errors import ConfigError, printable
from colcap.secrets import without_secrets

STORE_SCHEMES: Final = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az"}
"""Object stores, and what each is called here."""

HTTP_SCHEMES: Final = ("http", "https")
"""Only clips are read from there, and only where that was asked for."""

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)/*(.*)", re.DOTALL)
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")


@dataclass(frozen=True, slots=True, order=True)
class Url:
    """An object, or all that is under a prefix. It has no credentials and no query: those would be written down."""

    scheme: str
    """s3, gs, az, http or https."""
    bucket: str
    """Bucket or container; of http, the host."""
    key: str
    """Name in the bucket, without a slash at either end; empty for all of it."""

    @classmethod
    def parse(cls, text: str) -> Url:
        """Take a URL apart.

        Raises
        ------
        ConfigError : another scheme, no bucket, a key that leaves it, credentials or a query in the URL.

        Examples
        --------
        >>> str(Url.parse("s3://bucket//clips/a b.mp4"))
        's3://bucket/clips/a b.mp4'
        >>> Url.parse("s3://key:secret@bucket/a.mp4")
        Traceback (most recent call last):
        colcap.errors.ConfigError: s3://***@bucket/a.mp4: credentials belong in the environment, not in a URL
        """
        found = _URL.fullmatch(text)
        scheme = found[1].lower() if found else ""
        scheme = scheme if scheme in HTTP_SCHEMES else STORE_SCHEMES.get(scheme, "")
        if not found or not scheme:
            raise _refused(text, f"is no URL of a known kind ({', '.join((*STORE_SCHEMES, *HTTP_SCHEMES))})")
        bucket, key = found[2], found[3].rstrip("/")
        if "@" in bucket:
            raise _refused(text, "credentials belong in the environment, not in a URL")
        if "?" in text:
            raise _refused(text, "a query does not belong in a URL here: it would be written into the run")
        if not _BUCKET.fullmatch(bucket) or (":" in bucket and scheme not in HTTP_SCHEMES):
            raise _refused(f"{scheme}://***", "has no bucket, or one of another form")  # a key may have a slash in it
        if scheme in HTTP_SCHEMES:
            key = unquote(key)
        if any(name in ("", ".", "..") for name in key.split("/")) and key:
            raise _refused(text, "has an empty name, `.` or `..` in its path")
        return cls(scheme, bucket, key)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> Url:
        return Url(self.scheme, self.bucket, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        """Last part of the key; of a whole bucket, its name."""
        return posixpath.basename(self.key) or self.bucket

    @property
    def parent(self) -> Url:
        """What it lies in."""
        return Url(self.scheme, self.bucket, posixpath.dirname(self.key))

    @property
    def suffix(self) -> str:
        """`.mp4`, or nothing."""
        return PurePosixPath(self.key).suffix

    def absolute(self) -> Url:
        """Itself, as a path has it."""
        return self

    def resolve(self, relative: str) -> Url:
        """What a relative path means from here.

        >>> str(Url.parse("s3://b/lists").resolve("../clips/a.mp4"))
        's3://b/clips/a.mp4'
        """
        return Url.parse(f"{self.scheme}://{self.bucket}/{posixpath.normpath(f'{self.key}/{relative}').lstrip('/')}")

    def holds(self, other: Url) -> bool:
        """Whether the other is it, or under it.

        >>> Url.parse("s3://b/clips").holds(Url.parse("s3://b/clips2/a.mp4"))
        False
        """
        here = (self.scheme, self.bucket) == (other.scheme, other.bucket)
        return here and (not self.key or f"{other.key}/".startswith(f"{self.key}/"))


Place: TypeAlias = str | os.PathLike[str] | Url
"""Where something is: a path, a URL as text, or one taken apart."""


def is_url(text: str) -> bool:
    """Whether a text is a URL and no path; `file://` is a path."""
    return "://" in text and not text.lower().startswith("file://")


def place(given: Place) -> Path | Url:
    """A local path, or a URL taken apart.

    Raises
    ------
    ConfigError : see `Url.parse`.
    """
    if isinstance(given, Url):
        return given
    text = os.fspath(given)
    if isinstance(given, str) and is_url(text):
        return Url.parse(text)
    return Path(unquote(text[len("file://") :]) if text.lower().startswith("file:///") else text)


def _refused(text: str, why: str) -> ConfigError:
    return ConfigError(f"{printable(without_secrets(text))[:200]}: {why}")
