"""The queue between stages holds back the fast one, and sends everyone home when a run stops."""

from __future__ import annotations

import threading
import time

import pytest

from colcap.runners.queues import ByteQueue, Cancelled


def test_a_full_queue_holds_the_sender_back_until_there_is_room() -> None:
    queue = ByteQueue[int](max_bytes=100)
    queue.put(1, 60)
    sent = threading.Event()
    sender = threading.Thread(target=lambda: (queue.put(2, 60), sent.set()))
    sender.start()

    held_back = not sent.wait(0.05)
    first = queue.take(at_most=1)
    sender.join(5)

    assert held_back
    assert (first, queue.take(at_most=1)) == ([1], [2])


def test_an_item_larger_than_the_queue_passes_alone() -> None:
    queue = ByteQueue[str](max_bytes=10)

    queue.put("large", 1000)

    assert queue.take(at_most=5) == ["large"]


def test_a_closed_queue_gives_what_is_left_and_then_nothing() -> None:
    queue = ByteQueue[int](max_bytes=100)
    for item in range(3):
        queue.put(item, 1)
    queue.close()

    assert [queue.take(at_most=2), queue.take(at_most=2), queue.take(at_most=2)] == [[0, 1], [2], []]


def test_cancelling_sends_waiting_takers_and_senders_home() -> None:
    empty, full = ByteQueue[int](max_bytes=1), ByteQueue[int](max_bytes=1)
    full.put(1, 1)
    home: list[str] = []

    def wait(name: str, action: object) -> None:
        with pytest.raises(Cancelled):
            action()  # type: ignore[operator]
        home.append(name)

    threads = [
        threading.Thread(target=wait, args=("taker", lambda: empty.take(at_most=1))),
        threading.Thread(target=wait, args=("sender", lambda: full.put(2, 1))),
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    empty.cancel()
    full.cancel()
    for thread in threads:
        thread.join(5)

    assert sorted(home) == ["sender", "taker"]
