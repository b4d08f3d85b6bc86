"""How many requests an engine holds at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """Bounds requests in flight, by count and by bytes; first come, first served."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self._requests = self._bytes = 0
        self._turn, self._freed = asyncio.Lock(), asyncio.Event()

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Wait for room, hold it; one request always finds some, however large."""
        async with self._turn:
            while self._requests and (self._requests >= self._max_requests or self._bytes + size > self._max_bytes):
                self._freed.clear()
                await self._freed.wait()
            self._requests, self._bytes = self._requests + 1, self._bytes + size
        try:
            yield
        finally:
            self._requests, self._bytes = self._requests - 1, self._bytes - size
            self._freed.set()
