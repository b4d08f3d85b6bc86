"""Where the time of each part went: counted while it is made, and kept in a small table beside the data.

Nothing else reads these files, so a lost one costs a line of statistics and never a row.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from colcap import store
from colcap.runners.tasks import MediaStep
from colcap.schema import TIMINGS

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Cost:
    """What one stage took for one part."""

    wall_s: float = 0.0
    """Seconds by the clock, added up over batches, which overlap."""
    cpu_s: float | None = None
    """Seconds of CPU of the thread or the worker that did it; None where it cannot be told."""
    rows: int = 0
    """Clips, windows or captions that came of it."""
    num_bytes: int = 0
    """Bytes that came of it."""

    def add(self, other: Cost) -> None:
        """Count another batch."""
        self.wall_s += other.wall_s
        self.rows += other.rows
        self.num_bytes += other.num_bytes
        if other.cpu_s is not None:
            self.cpu_s = (self.cpu_s or 0.0) + other.cpu_s


@dataclass(frozen=True, slots=True)
class Timed:
    """A media step that also says what it took, in the worker that it ran in.

    In a thread of the run (`media_threads`) the time of its decoder's threads cannot be told from the others'.
    """

    step: MediaStep

    def __call__(self, batch: pl.DataFrame) -> tuple[pl.DataFrame, Cost]:
        started, cpu = time.perf_counter(), time.process_time()
        made = self.step(batch)
        size = int(made.estimated_size())
        is_worker = multiprocessing.parent_process() is not None
        cpu_s = time.process_time() - cpu if is_worker else None
        return made, Cost(time.perf_counter() - started, cpu_s, made.height, size)


class Timings:
    """Adds up costs by part and stage; safe to use from several threads.

    Parameters
    ----------
    run : the run folder.
    """

    def __init__(self, run: Path) -> None:
        self._folder = store.table_dir(run, "timings")
        self._costs: dict[int, dict[str, Cost]] = defaultdict(lambda: defaultdict(Cost))
        self._lock = threading.Lock()

    def add(self, part: int, stage: str, cost: Cost) -> None:
        """Count what a stage took for a part."""
        with self._lock:
            self._costs[part][stage].add(cost)

    @contextmanager
    def timing(self, part: int, stage: str) -> Iterator[Cost]:
        """Time the block, which may say in the cost how many rows and bytes came of it."""
        cost = Cost()
        started, cpu = time.perf_counter(), time.thread_time()
        try:
            yield cost
        finally:
            cost.wall_s, cost.cpu_s = time.perf_counter() - started, time.thread_time() - cpu
            self.add(part, stage, cost)

    def finish(self, part: int) -> None:
        """Write what was counted for a part that is done."""
        with self._lock:
            costs = self._costs.pop(part, {})
        said = {stage: {"wall_s": round(cost.wall_s, 3), "rows": cost.rows} for stage, cost in costs.items()}
        log.info("part done", extra={"fields": {"part": part, "stages": said}})
        try:
            attempt = self._next_attempt(part)
            while not self._write(part, attempt, costs):
                attempt += 1  # another machine has just written that one
        except (OSError, pl.exceptions.PolarsError) as error:  # polars says a full disk in its own words
            log.warning("timings of part %d were not written: %s", part, error)

    def _next_attempt(self, part: int) -> int:
        """Looked up for this part alone: a listing would grow with the run, for each of its parts."""
        attempt = 1
        while (self._folder / store.part_name(part, attempt)).exists():
            attempt += 1
        return attempt

    def _write(self, part: int, attempt: int, costs: Mapping[str, Cost]) -> bool:
        """Write a file that is not there yet; False where it is by now."""
        rows = [
            (part, attempt, stage, round(c.wall_s, 6), c.cpu_s and round(c.cpu_s, 6), c.rows, c.num_bytes)
            for stage, c in costs.items()
        ]
        self._folder.mkdir(exist_ok=True)
        name = store.part_name(part, attempt)
        temp, final = self._folder / f".{name}.{store.own_suffix()}.tmp", self._folder / name
        try:
            pl.DataFrame(rows, schema=TIMINGS, orient="row").write_parquet(temp, compression="uncompressed")
            if mirror := store.mirror_of(self._folder):
                return mirror.publish([(temp, final)])
            store.sync(temp)
            return _moved(temp, final)
        finally:
            temp.unlink(missing_ok=True)


def _moved(temp: Path, final: Path) -> bool:
    """Give a file its name; False where that is taken."""
    try:
        os.link(temp, final)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        os.replace(temp, final)
    return True
