"""A queue bound by bytes, so that a slow stage holds the fast one back and memory stays flat."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Cancelled(Exception):
    """The run is stopping; whoever waits at a queue is sent home."""


class ByteQueue(Generic[T]):
    """First in, first out, at most `max_bytes` inside; one item larger than that still passes alone.

    Examples
    --------
    >>> queue = ByteQueue[str](max_bytes=100)
    >>> queue.put("a", 10); queue.put("b", 10); queue.close()
    >>> queue.take(at_most=16), queue.take(at_most=16)
    (['a', 'b'], [])
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._closed = self._cancelled = False
        self._changed = threading.Condition()

    def put(self, item: T, num_bytes: int) -> None:
        """Add an item; waits while the queue is full. Raises Cancelled."""
        with self._changed:
            self._changed.wait_for(lambda: self._cancelled or self._has_room(num_bytes))
            if self._cancelled:
                raise Cancelled
            self._items.append((item, num_bytes))
            self._bytes += num_bytes
            self._changed.notify_all()

    def take(self, *, at_most: int) -> list[T]:
        """The next items, at least one; waits for it. None are left once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._cancelled or self._closed or self._items)
            if self._cancelled:
                raise Cancelled
            taken = [self._items.popleft() for _ in range(min(at_most, len(self._items)))]
            self._bytes -= sum(size for _, size in taken)
            self._changed.notify_all()
            return [item for item, _ in taken]

    def close(self) -> None:
        """Nothing more will be put."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """Drop everything and send everyone who waits home."""
        with self._changed:
            self._cancelled = True
            self._items.clear()
            self._changed.notify_all()

    def _has_room(self, num_bytes: int) -> bool:
        return not self._items or self._bytes + num_bytes <= self._max_bytes
