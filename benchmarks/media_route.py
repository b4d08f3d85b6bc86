"""What it costs to bring frames from a media worker to the run: through the worker's pipe, as rows of a polars frame.

    python benchmarks/media_route.py [--mb 2 29 115] [--rounds 5]

A worker makes frames of a size and sends them; making them is taken off. Printed: CPU milliseconds of both sides and
wall milliseconds, for a megabyte. 29 MB are the frames of a window of 8 s at 720p, at Qwen's size.
"""

from __future__ import annotations

import argparse
import statistics
import time

import polars as pl

from colcap.media import MediaPool


def frames(num_bytes: int) -> tuple[pl.DataFrame, float, float]:
    """A row of so many bytes, the CPU and wall seconds of making it."""
    cpu, wall = time.process_time(), time.monotonic()
    made = pl.DataFrame({"frames": [bytes(num_bytes)]}, schema={"frames": pl.Binary})
    return made, time.process_time() - cpu, time.monotonic() - wall


def sent(pool: MediaPool, num_bytes: int) -> tuple[float, float]:
    """CPU seconds of both sides and wall seconds of one journey."""
    theirs = pool.submit(time.process_time).result()
    ours, started = time.process_time(), time.monotonic()
    _, making_cpu, making_wall = pool.submit(frames, num_bytes).result()
    wall, ours = time.monotonic() - started, time.process_time() - ours
    theirs = pool.submit(time.process_time).result() - theirs
    return ours + theirs - making_cpu, wall - making_wall


def main() -> None:
    """Print a line a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, nargs="*", default=[2, 29, 115])
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with MediaPool(1) as pool:
        for size in args.mb:
            sent(pool, size * 1_000_000)
            found = [sent(pool, size * 1_000_000) for _ in range(args.rounds)]
            cpu, wall = (1000 * statistics.median(each[i] for each in found) / size for i in (0, 1))
            print(f"{size} MB: {cpu:.2f} ms of CPU and {wall:.2f} ms of wall time a MB", flush=True)


if __name__ == "__main__":
    main()
