"""Parts that are made at once in one process of a cluster share its workers and its engine, not their failures."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor

import polars as pl
import pytest

from colcap.errors import ColcapError, EngineError
from colcap.machine import Limits
from colcap.media import MediaPool
from colcap.runners import ray_parts
from colcap.runners.ray_parts import SharedEngine, SharedPool

BATCH = pl.DataFrame({"clip_id": ["a"]})


def be_slow(batch: pl.DataFrame) -> None:
    time.sleep(60)


@pytest.fixture
def get_pool() -> Iterator[Callable[[], MediaPool]]:
    """The process's pool; another process's workers are not there yet."""
    cores = tuple(sorted(os.sched_getaffinity(0)))
    yield lambda: ray_parts.media_pool(1, Limits(), cores)
    ray_parts.media_pool(1, Limits(), cores).kill()
    ray_parts._media_pool.cache_clear()


def test_parts_that_arrive_together_have_one_pool(get_pool: Callable[[], MediaPool]) -> None:
    together = threading.Barrier(4)

    def arrive(_: int) -> MediaPool:
        together.wait()
        return get_pool()

    with ThreadPoolExecutor(4) as threads:
        pools = list(threads.map(arrive, range(4)))

    assert len({id(pool) for pool in pools}) == 1


def test_a_part_that_stops_ends_its_own_tasks_alone(get_pool: Callable[[], MediaPool]) -> None:
    one, other = SharedPool(get_pool()), SharedPool(get_pool())
    slow = one.submit(be_slow, BATCH)
    kept = other.submit(len, BATCH)

    one.kill()

    assert kept.result(timeout=60) == 1
    with pytest.raises(CancelledError):
        slow.result(timeout=1)
    assert other.submit(len, BATCH).result(timeout=60) == 1


def test_every_part_says_what_the_first_one_failed_of() -> None:
    engine = SharedEngine(None)

    def fail(error: ColcapError) -> None:
        with engine.told():
            engine.stop(error)
            raise error

    for error in (ColcapError("no room to write"), EngineError("the engine was closed before it had answered")):
        with pytest.raises(ColcapError, match="no room"):
            fail(error)
