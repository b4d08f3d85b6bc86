"""Thousands of damaged clips through the real worker pool, and an account of every one of them.

    python tests/media/corruption.py [--inputs 3000] [--seed 0] [--workers 2] [--timeout-s 60] [--minutes 60]

Each input is a small clip with one seeded damage (`damages.py`). It goes through `MediaStep` in a `MediaPool` worker
with every product asked for. Printed: rows by status and kind for each damage, the memory of the workers over time, and
what broke an invariant (exit 1).
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import polars as pl
import psutil
from damages import DAMAGES, inputs

from colcap.errors import ERROR_KINDS, RowError
from colcap.media import Limits, MediaPool, PreviewSpec, SampleSpec, Wanted
from colcap.media.worker_process import TRIM
from colcap.steps.media import MediaStep

WANTED = Wanted(
    window_size=32,
    remainder_threshold=16,
    preview=PreviewSpec(target_height=60, compression_level=1),
    sample=SampleSpec(min_pixels=7840, max_pixels=15680),
)
LIMITS = Limits(max_pixels=1920 * 1080, max_output_bytes=256 << 20)
WORKER_BYTES = 1 << 30
EVERY = 50
"""Inputs between two looks at the workers' memory."""


@dataclass
class Account:
    """What became of an input."""

    outcome: str
    """Status and kind of its clip row; `ok, warned` where the row says what is wrong."""
    broken: list[str] = field(default_factory=list)
    """Invariants that do not hold."""
    unseen: int = 0
    """Windows whose file gives fewer frames to a plain reader than the row says, though no row warns of damage."""


def process(index: int, data: bytes) -> Account:
    """Run one input through the step and look at its rows; called in a worker."""
    if TRIM is not None:
        TRIM(0)  # what still grows then is a leak, and not memory that is kept for the next clip
    step = MediaStep(wanted=WANTED, limits=LIMITS, read=_no_uri)
    return account(step(_clip(index, data)))


def _no_uri(uri: str) -> bytes:
    raise AssertionError(uri)


def _clip(index: int, data: bytes | None) -> pl.DataFrame:
    schema = {"clip_id": pl.String, "uri": pl.String, "part": pl.Int32, "mp4": pl.Binary}
    return pl.DataFrame([{"clip_id": f"{index}", "uri": None, "part": 0, "mp4": data}], schema=schema)


def account(rows: pl.DataFrame) -> Account:
    """Check the rows of one clip."""
    made = list(rows.iter_rows(named=True))
    clip = made[0]["clip"]
    if clip["status"] != "ok":
        known = clip["error_kind"] in ERROR_KINDS and clip["error_kind"] != "unknown" and clip["error"]
        return Account(f"{clip['status']} {clip['error_kind']}", [] if known and len(made) == 1 else ["error row"])
    result = Account("ok, warned" if clip["warning"] else "ok")
    result.broken = [what for row in made for what in _broken(row)]
    if clip["num_windows"] != len(made) or sum(row["window"]["num_frames"] for row in made) != clip["num_frames"]:
        result.broken.append("windows do not add up")
    if not clip["warning"]:
        result.unseen = sum(_is_unseen(row) for row in made)
    return result


def _broken(row: dict[str, Any]) -> Iterator[str]:
    window, preview, sample = row["window"], row["preview"], row["sample"]
    for name, facts, blob in (
        ("window", window, row["mp4"]),
        ("preview", preview, row["webp"]),
        ("sample", sample, row["frames"]),
    ):
        if (facts["status"] == "ok") != (blob is not None):
            yield f"{name} without bytes"
        if facts["status"] != "ok" and facts["error_kind"] not in ERROR_KINDS:
            yield f"{name} failed without a kind"
    if window["cut"] == "encode" and _shown(row["mp4"]) != window["num_frames"]:
        yield "an encoded window lacks frames"


def _is_unseen(row: dict[str, Any]) -> bool:
    return row["window"]["cut"] in ("copy", "whole") and _shown(row["mp4"]) < row["window"]["num_frames"]


def _shown(mp4: bytes) -> int:
    """Frames a plain reader gets before it stops."""
    count = 0
    try:
        with av.open(io.BytesIO(mp4)) as container:
            for _ in container.decode(video=0):
                count += 1
    except (av.error.FFmpegError, IndexError):
        pass
    return count


@dataclass
class Report:
    """All accounts together."""

    num_inputs: int = 0
    """Inputs that were sent."""
    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: {damage: Counter() for damage in DAMAGES})
    """Rows by outcome, for each damage."""
    broken: list[str] = field(default_factory=list)
    """Broken invariants, with the input they belong to."""
    unseen: list[str] = field(default_factory=list)
    """Windows with damage that no row tells of, with the input they belong to."""
    memory: list[int] = field(default_factory=list)
    """Unique set size of the largest worker, in bytes, every EVERY inputs."""

    @property
    def num_rows(self) -> int:
        """Inputs that have a clip row."""
        return sum(counter.total() for counter in self.outcomes.values())

    def quarters(self) -> list[float]:
        """Median of `memory` in each quarter of the run, in MB: a leak grows from one to the next."""
        size = len(self.memory) // 4
        return [statistics.median(self.memory[i * size : (i + 1) * size]) / 1e6 for i in range(4)] if size else []

    def lines(self) -> Iterator[str]:
        """For people."""
        names = sorted({name for counter in self.outcomes.values() for name in counter})
        for damage, counter in self.outcomes.items():
            yield f"{damage:<15}" + ", ".join(f"{name} {counter[name]}" for name in names if counter[name])
        total: Counter[str] = sum(self.outcomes.values(), Counter())
        yield f"{'all':<15}" + ", ".join(f"{name} {total[name]}" for name in names)
        yield f"crashed {total['error crashed']}, hung {total['error timeout']}, broken invariants {len(self.broken)}"
        yield f"windows with damage that no row tells of: {len(self.unseen)}"
        if self.memory:
            told = ", ".join(f"{size:.0f}" for size in self.quarters())
            yield f"largest worker: {max(self.memory) / 1e6:.0f} MB at most; by quarter of the run {told} MB"


def run(count: int, *, seed: int, workers: int, timeout_s: float, minutes: float = 60) -> Report:
    """Send inputs through a pool, a few ahead of the workers, until the time is over."""
    report, end = Report(), time.monotonic() + 60 * minutes
    pending: deque[tuple[int, str, str, Future[Account]]] = deque()
    with MediaPool(workers, timeout_s=timeout_s, max_memory_bytes=WORKER_BYTES) as pool:
        for index, (name, damage, data) in enumerate(inputs(count, seed)):
            if time.monotonic() > end:
                break
            pending.append((index, name, damage, pool.submit(process, index, data)))
            report.num_inputs += 1
            if len(pending) > 2 * workers:
                _settle(report, *pending.popleft())
            if index % EVERY == EVERY - 1:
                report.memory.append(max(_worker_bytes()))
        while pending:
            _settle(report, *pending.popleft())
    return report


def _settle(report: Report, index: int, name: str, damage: str, task: Future[Account]) -> None:
    error = task.exception()
    if error is None:
        made = task.result()
    elif isinstance(error, RowError):
        step = MediaStep(wanted=WANTED, limits=LIMITS, read=_no_uri)
        made = account(step.failed(_clip(index, None), error))
    else:
        made = Account(f"raised {type(error).__name__}", [repr(error)])
    report.outcomes[damage][made.outcome] += 1
    report.broken += [f"input {index} ({name}, {damage}): {what}" for what in made.broken]
    report.unseen += [f"input {index} ({name}, {damage})"] * made.unseen


def _worker_bytes() -> Sequence[int]:
    """Memory that the workers asked for themselves: pages of libraries come and go with what else the machine does."""
    sizes = [0]
    for process_ in psutil.Process().children(recursive=True):
        with suppress(OSError):  # it has ended
            rollup = Path(f"/proc/{process_.pid}/smaps_rollup").read_text(encoding="ascii")
            sizes += [int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Anonymous:")]
    return sizes


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--timeout-s", type=float, default=60)
    parser.add_argument("--minutes", type=float, default=60)
    args = parser.parse_args()
    started = time.monotonic()
    report = run(args.inputs, seed=args.seed, workers=args.workers, timeout_s=args.timeout_s, minutes=args.minutes)
    print(f"{report.num_rows} of {report.num_inputs} inputs have a row ({time.monotonic() - started:.0f} s)")
    print("\n".join([*report.lines(), *report.broken, *(f"untold: {what}" for what in report.unseen)]))
    sys.exit(1 if report.broken or report.num_rows != report.num_inputs else 0)


if __name__ == "__main__":
    main()
