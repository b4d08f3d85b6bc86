"""An HTTP client that believes no server about how much it sends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import httpx2

MAX_ANSWER_BYTES: Final = 16 << 20
"""More than any answer, or list of models, has."""


class TooLong(Exception):
    """A server sends more than it may, or in a form whose size cannot be told."""


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._stream:
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise TooLong(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


async def bound(response: httpx2.Response) -> None:
    """Have an answer's body end at MAX_ANSWER_BYTES, as a hook that runs before it is read.

    Raises
    ------
    TooLong : it is compressed, which nobody asked for: a few kB can be gigabytes.
    """
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise TooLong("the answer is compressed, though no compression was asked for")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream)
