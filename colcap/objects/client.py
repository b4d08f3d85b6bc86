"""The requests made of an object store, with retries; what fails is an OSError, as with files.

Credentials, region and endpoint come from the environment that each store's own tools use (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL, the machine's role, …). Nothing here takes
them as an argument, keeps or prints them.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

from colcap.errors import ConfigError, printable
from colcap.objects.url import Url
from colcap.secrets import without_secrets

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

NEW: Final = "new"
"""For `put`: only if there is no such object."""

TIMEOUT: Final = "60s"
"""Of one request; an answer that breaks off is asked for again from where it broke."""

SINGLE_PUT_BYTES: Final = 64 << 20
"""Larger objects go up in pieces, several at once, and appear when the last one is there."""

_RETRIES: Final = {
    "max_retries": 8,
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=10), "base": 2},
    "retry_timeout": timedelta(seconds=120),
}
_TRIES: Final = 5
"""Of what the library doesn't repeat by itself: a conditional write whose answer was lost."""

_CHUNK: Final = 8 << 20


class Changed(OSError):
    """A conditional write was refused: the object is there already, or is not the one that it was."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What a store says of an object."""

    url: Url
    size: int
    """Bytes."""
    etag: str
    """Another one for other content."""


def head(url: Url) -> Meta | None:
    """What a store says of an object; None where there is none.

    Raises
    ------
    OSError : it cannot be asked.
    """
    import obstore

    try:
        with _told(url):
            return _meta(url, obstore.head(_store(url), url.key))
    except FileNotFoundError:
        return None


def read(url: Url) -> bytes:
    """An object's bytes.

    Raises
    ------
    OSError : FileNotFoundError where there is none, PermissionError, or it cannot be read.
    """
    return b"".join(pieces(url))


def pieces(url: Url) -> Iterator[bytes]:
    """An object's bytes, some megabytes at a time."""
    import obstore

    with _told(url):
        yield from (bytes(piece) for piece in obstore.get(_store(url), url.key).stream(min_chunk_size=_CHUNK))


def read_with_etag(url: Url) -> tuple[bytes, str]:
    """An object's bytes, and their etag."""
    import obstore

    with _told(url):
        answer = obstore.get(_store(url), url.key)
        return bytes(answer.bytes()), answer.meta["e_tag"] or ""


def read_bounded(url: Url, max_bytes: int) -> bytes | None:
    """An object's bytes; None where they are more than `max_bytes`, of which then no more are read."""
    import obstore

    held, total = io.BytesIO(), 0
    with _told(url):
        answer = obstore.get(_store(url), url.key)
        if answer.meta["size"] > max_bytes:
            return None
        for piece in answer.stream(min_chunk_size=_CHUNK):
            total += len(piece)
            if total > max_bytes:  # it says one size and sends another
                return None
            held.write(piece)
    return held.getvalue()  # not a copy


def read_tail(url: Url, size: int) -> bytes:
    """The last bytes of an object, all of it where it is shorter."""
    import obstore

    with _told(url):
        return bytes(obstore.get(_store(url), url.key, options={"range": {"suffix": size}}).bytes())


def list_under(url: Url) -> Iterator[Meta]:
    """All objects under a prefix, in any order."""
    import obstore

    with _told(url):
        for batch in obstore.list(_store(url), f"{url.key}/" if url.key else None):
            yield from (_meta(Url(url.scheme, url.bucket, each["path"]), each) for each in batch)


def put(url: Url, data: bytes | Path, *, only_if: str | None = None) -> str:
    """Write an object: it appears whole or not at all.

    Parameters
    ----------
    url : where.
    data : its bytes, or a file that has them.
    only_if : NEW, or the etag that the object must still have; None writes in any case.

    Returns
    -------
    The new etag.

    Raises
    ------
    Changed : the condition does not hold, and what is there is not what was to be written.
    OSError : it cannot be written.
    """
    if only_if is None:
        return _put(url, data, "overwrite")
    mode = "create" if only_if == NEW else {"e_tag": only_if}
    try:
        return _again(lambda: _put(url, data, mode))
    except Changed:
        # an answer may have been lost, and this be our own bytes, written the first time
        there = head(url)
        if there is None or read(url) != (data if isinstance(data, bytes) else data.read_bytes()):
            raise
        return there.etag


def _put(url: Url, data: bytes | Path, mode: Any) -> str:
    import obstore

    size = len(data) if isinstance(data, bytes) else data.stat().st_size
    pieces = size > SINGLE_PUT_BYTES and mode == "overwrite"
    with _told(url):
        kind = {"Content-Type": guess_type(url.key)[0] or "application/octet-stream"}
        store = _store(url)
        done = obstore.put(store, url.key, data, attributes=kind, mode=mode, use_multipart=pieces, chunk_size=_CHUNK)
        return done["e_tag"] or ""


def _again(ask: Callable[[], T]) -> T:
    for attempt in range(_TRIES):
        try:
            return ask()
        except (Changed, FileNotFoundError, PermissionError):
            raise
        except OSError:
            if attempt + 1 == _TRIES:
                raise
            time.sleep(0.2 * 2**attempt)
    raise AssertionError


def copy(source: Url, target: Url) -> None:
    """Copy an object within its bucket, in the store itself."""
    import obstore

    with _told(source):
        obstore.copy(_store(source), source.key, target.key)


def delete(urls: Iterable[Url]) -> None:
    """Remove objects; those that are not there are no error."""
    import obstore

    for url in urls:
        try:
            with _told(url):
                obstore.delete(_store(url), url.key)
        except FileNotFoundError:
            continue


def open_input(url: Url, *, size: int | None = None) -> Any:
    """A readable, seekable file over an object, for pyarrow.

    Parameters
    ----------
    url : which object.
    size : its size in bytes where it is known, which saves a request.
    """
    import obstore
    import pyarrow as pa

    with _told(url):
        return pa.PythonFile(_Input(url, obstore.open_reader(_store(url), url.key, buffer_size=1 << 20, size=size)))


class _Input:
    """What pyarrow asks of a file, and its failures in our words."""

    closed = False

    def __init__(self, url: Url, reader: Any) -> None:
        self._url, self._reader = url, reader

    def read(self, size: int = -1) -> bytes:
        with _told(self._url):
            return bytes(self._reader.read() if size is None or size < 0 else self._reader.read(size))

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def size(self) -> int:
        return int(self._reader.size)

    def readable(self) -> Literal[True]:
        return True

    def seekable(self) -> Literal[True]:
        return True

    def writable(self) -> Literal[False]:
        return False

    def flush(self) -> None:
        """There is nothing to flush."""

    def close(self) -> None:
        self.closed = True


def _meta(url: Url, said: Any) -> Meta:
    return Meta(url, int(said["size"]), said["e_tag"] or "")


def _store(url: Url) -> ObjectStore:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return _connected(url.scheme, url.bucket, endpoint if url.scheme == "s3" else "")


@lru_cache(maxsize=32)
def _connected(scheme: str, bucket: str, endpoint: str) -> ObjectStore:
    from obstore.store import from_url

    plain = scheme == "http" or endpoint.lower().startswith("http://")
    options = {"allow_http": plain, "timeout": TIMEOUT, "connect_timeout": "10s"}
    named = {"endpoint": endpoint} if endpoint else {}
    where = f"{scheme}://{bucket}"
    made = from_url(where, client_options=options, retry_config=_RETRIES, **named, **_profile(scheme))
    return cast("ObjectStore", made)


def _profile(scheme: str) -> dict[str, Any]:
    """Credentials of the profile that AWS_PROFILE names, which is for boto3 to read; keys in the environment win."""
    if scheme != "s3" or "AWS_PROFILE" not in os.environ or "AWS_ACCESS_KEY_ID" in os.environ:
        return {}
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise ConfigError("AWS_PROFILE: profiles need boto3, which is not installed: pip install boto3") from None
    return {"credential_provider": Boto3CredentialProvider()}


def require_library(url: Url) -> None:
    """Refuse a URL where the library that reads it is not installed.

    Raises
    ------
    ConfigError : says how to install it.
    """
    try:
        import obstore  # noqa: F401
    except ImportError:
        raise ConfigError(f"{url}: needs obstore, which is not installed: pip install 'colcap[s3]'") from None


@contextmanager
def _told(url: Url) -> Iterator[None]:
    """The library's failures as OSErrors that name the object, in one line, without its debug output."""
    from obstore import exceptions as failures

    try:
        yield
    except (failures.AlreadyExistsError, failures.PreconditionError):
        raise Changed(f"{url}: was written by somebody else") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"{url}: no such object") from None
    except (failures.PermissionDeniedError, failures.UnauthenticatedError) as error:
        raise PermissionError(f"{url}: {_first_line(error)}") from None
    except failures.BaseError as error:
        raise OSError(f"{url}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return printable(without_secrets(str(error).split("\n", 1)[0]))[:400]
