"""How media work spreads over worker processes, and how large they grow.

    python benchmarks/media_workers.py [FILE...] [--clips 24] [--rounds 3]

The same clips go through a `MediaPool` of one worker and of two, each on a core of its own, with every product asked
for. Printed: wall time of one worker over that of two (2 is perfect; it needs two idle cores), CPU time of one over
that of two (1 is perfect; says what the workers cost each other on a busy machine too), and a worker's peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from pathlib import Path

from media_cpu import PREVIEW, QWEN, film

from colcap import media

WANTED = media.Wanted(preview=PREVIEW, sample=QWEN)


def work(data: bytes) -> tuple[float, float, media.Clip]:
    """CPU seconds of a clip, its worker's peak memory so far in MB, and what was made, which has to travel too."""
    started = time.process_time()
    made = media.process_clip(data, WANTED)
    return time.process_time() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, made


def measure(data: bytes, count: int, cores: list[int]) -> tuple[float, float, float]:
    """Wall and CPU seconds of a clip that is processed `count` times, and the largest worker in MB."""
    with media.MediaPool(len(cores), cores=cores) as pool:
        for task in [pool.submit(work, data) for _ in cores]:  # start the workers
            task.result()
        started = time.monotonic()
        tasks = [pool.submit(work, data) for _ in range(count)]
        cpu, peak = 0.0, 0.0
        for task in tasks:
            spent, size, _ = task.result()
            cpu, peak = cpu + spent, max(peak, size)
        return time.monotonic() - started, cpu, peak


def main() -> None:
    """Take turns and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    named = {file.name: file.read_bytes() for file in args.files}
    for name, data in (
        named or {"film 720p 8 s": film(250), "film 1080p 8 s": film(250, width=1920, height=1080)}
    ).items():
        one, two = [], []
        for _ in range(args.rounds):
            one.append(measure(data, args.clips, cores[:1]))
            two.append(measure(data, args.clips, cores))
        walls, cpus = ([statistics.median(each[i] for each in some) for some in (one, two)] for i in (0, 1))
        peak = max(each[2] for each in [*one, *two])
        print(
            f"{name}: wall {walls[0] / walls[1]:.2f} x, CPU {cpus[0] / cpus[1]:.2f} x, {peak:.0f} MB a worker",
            flush=True,
        )


if __name__ == "__main__":
    main()
