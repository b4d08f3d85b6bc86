"""The requests made of an object store, with retries; what fails is an OSError, as with files."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from mimetypes import guess_type
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from colcap.objects.connection import (
    PATIENCE_S,
    WRITE_TIMEOUT,
    Changed,
    Patience,
    Refused,
    again,
    store,
    told,
)
from colcap.objects.url import Url

A = TypeVar("A")
T = TypeVar("T")

NEW: Final = "new"
"""For `put`: only if there is no such object."""

SINGLE_PUT_BYTES: Final = 64 << 20
"""Larger objects go up in pieces, several at once, and appear when the last one is there."""

_CHUNK: Final = 8 << 20


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
        return again(url, lambda: _meta(url, obstore.head(store(url), url.key)))
    except FileNotFoundError:
        return None


def answers(url: Url) -> bool:
    """Whether a store says anything now, of an object beside this one that is not there."""
    import obstore

    absent = Url(url.scheme, url.bucket, f"{url.key}.absent")
    try:
        with suppress(FileNotFoundError, PermissionError, Refused), told(url):
            obstore.head(store(absent), absent.key)
    except OSError:
        return False
    return True


def read(url: Url) -> bytes:
    """An object's bytes.

    Raises
    ------
    OSError : FileNotFoundError where there is none, PermissionError, or it cannot be read.
    """
    return b"".join(pieces(url))


def pieces(url: Url, *, max_bytes: int | None = None) -> Iterator[bytes]:
    """An object's bytes, some megabytes at a time; where they break off they are asked for again from there.

    Raises
    ------
    TooLarge : it has more than `max_bytes`, of which then no more are read.
    OSError : as for `read`.
    """
    import obstore

    place, etag, patience = 0, "", Patience(url)
    while True:
        try:
            with told(url):
                rest = {"range": {"offset": place}, "if_match": etag} if place else None
                answer = obstore.get(store(url), url.key, options=rest)
                etag = answer.meta["e_tag"] or ""
                _refuse_larger(answer.meta["size"], max_bytes)
                for piece in answer.stream(min_chunk_size=_CHUNK):
                    place += len(piece)
                    _refuse_larger(place, max_bytes)  # it says one size and sends another
                    patience.renew()
                    yield bytes(piece)
                patience.renew()
                return
        except OSError as error:
            patience.wait(error)


class TooLarge(Exception):
    """An object has more bytes than were allowed."""


def _refuse_larger(size: int, max_bytes: int | None) -> None:
    if max_bytes is not None and size > max_bytes:
        raise TooLarge


def read_with_etag(url: Url) -> tuple[bytes, str]:
    """An object's bytes, and their etag."""
    import obstore

    def ask() -> tuple[bytes, str]:
        answer = obstore.get(store(url), url.key)
        return bytes(answer.bytes()), answer.meta["e_tag"] or ""

    return again(url, ask)


def read_bounded(url: Url, max_bytes: int) -> bytes | None:
    """An object's bytes; None where they are more than `max_bytes`, of which then no more are read."""
    held = io.BytesIO()
    try:
        held.writelines(pieces(url, max_bytes=max_bytes))
    except TooLarge:
        return None
    return held.getvalue()  # not a copy


def read_tail(url: Url, size: int) -> bytes:
    """The last bytes of an object, all of it where it is shorter."""
    import obstore

    options = {"range": {"suffix": size}}
    return again(url, lambda: bytes(obstore.get(store(url), url.key, options=options).bytes()))


def list_under(url: Url) -> list[Meta]:
    """All objects under a prefix, in any order."""
    import obstore

    prefix = f"{url.key}/" if url.key else None
    found = again(url, lambda: [each for batch in obstore.list(store(url), prefix) for each in batch])
    return [_meta(Url(url.scheme, url.bucket, each["path"]), each) for each in found]


def list_named(url: Url, beginning: str) -> list[Meta]:
    """All objects under a prefix whose names there begin so; the store is asked for those alone, in its order."""
    import obstore

    folder = f"{url.key}/" if url.key else ""

    def ask() -> list[Meta]:
        found: list[Meta] = []
        for batch in obstore.list(store(url), folder or None, offset=folder + beginning):
            for each in batch:
                if not each["path"].startswith(folder + beginning):
                    return found
                found.append(_meta(Url(url.scheme, url.bucket, each["path"]), each))
        return found

    return again(url, ask)


def put(url: Url, data: bytes | Path, *, only_if: str | None = None, patience_s: float = PATIENCE_S) -> str:
    """Write an object: it appears whole or not at all.

    Parameters
    ----------
    url : where.
    data : its bytes, or a file that has them.
    only_if : NEW, or the etag that the object must still have; None writes in any case.
    patience_s : how long it is tried while the store does not answer.

    Returns
    -------
    The new etag.

    Raises
    ------
    Changed : the condition does not hold, and what is there is not what was to be written.
    OSError : it cannot be written.
    """
    if only_if is None:
        return _put(url, data, "overwrite", patience_s)
    mode = "create" if only_if == NEW else {"e_tag": only_if}
    try:
        return _put(url, data, mode, patience_s)
    except Changed:
        # an answer may have been lost, and this be our own bytes, written the first time
        there = head(url)
        if there is None or read(url) != (data if isinstance(data, bytes) else data.read_bytes()):
            raise
        return there.etag


def _put(url: Url, data: bytes | Path, mode: Any, patience_s: float) -> str:
    import obstore

    size = len(data) if isinstance(data, bytes) else data.stat().st_size
    pieces = size > SINGLE_PUT_BYTES and mode == "overwrite"
    kind = {"Content-Type": guess_type(url.key)[0] or "application/octet-stream"}
    options = {"attributes": kind, "mode": mode, "use_multipart": pieces, "chunk_size": _CHUNK}
    there = store(url, timeout=WRITE_TIMEOUT)
    done = again(url, lambda: obstore.put(there, url.key, data, **options), patience_s=patience_s)
    return done["e_tag"] or ""


def copy(source: Url, target: Url) -> None:
    """Copy an object within its bucket, in the store itself; by way of this machine where the store refuses that.

    S3 copies no object of more than 5 GB as a whole.
    """
    import obstore

    there = store(source, timeout=WRITE_TIMEOUT)
    try:
        again(source, lambda: obstore.copy(there, source.key, target.key))
    except Refused:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder, "object")
            with data.open("wb") as file:
                file.writelines(pieces(source))
            put(target, data)


def delete(urls: Iterable[Url]) -> None:
    """Remove objects; those that are not there are no error."""
    import obstore

    for url in urls:
        with suppress(FileNotFoundError):
            again(url, partial(obstore.delete, store(url), url.key))


def open_input(url: Url, *, size: int | None = None) -> Any:
    """A readable, seekable file over an object, for pyarrow, which asks for footers and column chunks as a whole.

    Parameters
    ----------
    url : which object.
    size : its size in bytes where it is known, which saves a request.

    Raises
    ------
    OSError : there is none, or it cannot be asked.
    """
    import pyarrow as pa

    if size is None:
        there = head(url)
        if there is None:
            raise FileNotFoundError(f"{url}: no such object")
        size = there.size
    return pa.PythonFile(_Input(url, size))


class _Input:
    """What pyarrow asks of a file; every read is a request."""

    closed = False

    def __init__(self, url: Url, size: int) -> None:
        self._url, self._size, self._place = url, size, 0

    def read(self, size: int = -1) -> bytes:
        import obstore

        end = self._size if size is None or size < 0 else min(self._size, self._place + size)
        start, self._place = self._place, max(self._place, end)
        if start >= end:
            return b""
        url = self._url
        return again(url, lambda: bytes(obstore.get_range(store(url), url.key, start=start, end=end)))

    def seek(self, offset: int, whence: int = 0) -> int:
        self._place = offset + (0, self._place, self._size)[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def size(self) -> int:
        return self._size

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


def together(at_once: int, work: Callable[[A], T], items: Sequence[A]) -> list[T]:
    """Do the same to many side by side; the first failure is raised when all have ended."""
    with ThreadPoolExecutor(max(1, min(at_once, len(items)))) as pool:
        return list(pool.map(work, items))
