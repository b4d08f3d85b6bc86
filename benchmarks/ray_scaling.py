"""Captions a second with 1, 2, 4 and 8 caption actors on Ray, where only the engine limits, and the efficiency.

    python benchmarks/ray_scaling.py [--actors 1 2 4 8] [--seconds 20]

Windows are made beforehand. The engine is benchmarks/simulated_engine.py with four slots for each actor, slow enough
that this machine's cores do not limit; each case has work for about so many seconds. Efficiency: captions a second
and actor, from an engine's first request to its last answer, against those of one actor. Busy: share of the
slots' time used, from when all were busy for the first time to the last request's start. Cores: how much of all this
machine's cores was used in the time that efficiency is about; near 1, they limit, and not the engine.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import psutil

import colcap
from colcap.models.tiny.synth import clip, random_scene

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from simulated import simulated_engine

SLOTS, SECONDS_EACH, CLIPS_PER_PART = 4, 2.0, 8


def make_windows(folder: Path, count: int) -> Path:
    """A run with so many windows and no captions; returns its manifest."""
    data = clip([(random_scene(random.Random(3)), 32)], width=112, height=112, fps=24, rng=random.Random(4))
    (folder / "a.mp4").write_bytes(data)
    path = folder / f"m{count}.parquet"
    ids = [f"{i:05d}" for i in range(count)]
    pl.DataFrame({"clip_id": ids, "uri": [str(folder / "a.mp4")] * count}).write_parquet(path)
    media = {"generate_captions": False, "generate_previews": False}
    colcap.run(path, folder / f"run{count}", clips_per_part=CLIPS_PER_PART, **media)
    return path


@contextmanager
def watched_cores() -> Iterator[list[tuple[float, float]]]:
    """The time, and the share of the cores used in the half second before it, until the block ends."""
    seen: list[tuple[float, float]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            share = psutil.cpu_percent(0.5) / 100
            seen.append((time.monotonic(), share))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def measure(folder: Path, actors: int, seconds: float) -> dict[str, Any]:
    """What the engine says of a run with so many actors."""
    count = int(actors * SLOTS * seconds / SECONDS_EACH)
    manifest = make_windows(folder, count)
    speed = {"prefill_ms": SECONDS_EACH * 1000, "token_ms": 0, "slots": SLOTS * actors}
    with simulated_engine(**speed) as engine:
        captioning = engine.captioning(max_concurrent_requests=SLOTS)
        runtime = {"engines": actors, "media_workers": 1}
        options: dict[str, Any] = {"generate_previews": False, "captioning": captioning, "runtime": runtime}
        with watched_cores() as cores:
            run = colcap.run(manifest, folder / f"run{count}", runner="ray", **options)
        said = engine.stats()
    assert run.captions.filter(status="ok").collect().height == count
    used = [share for when, share in cores if said["first_arrival"] <= when <= said["last_end"]]
    return {**said, "cores": sum(used) / len(used)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    print("| actors | captions/s | efficiency | busy | cores |\n|---|---|---|---|---|")
    first: float | None = None
    for actors in given.actors:
        with tempfile.TemporaryDirectory() as name:
            said = measure(Path(name), actors, given.seconds)
        rate = said["done"] / (said["last_end"] - said["first_arrival"])
        first = first or rate / actors
        busy = "-" if said["idle_share"] is None else f"{1 - said['idle_share']:.2f}"
        print(f"| {actors} | {rate:.2f} | {rate / actors / first:.2f} | {busy} | {said['cores']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
