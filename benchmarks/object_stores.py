"""Wall time of a run whose manifest, clips and folder are on an object store, against the same run on this disk.

    python benchmarks/object_stores.py [--clips N] [--wait-s S] [--rounds N]

Windows and previews of small clips, 16 a part. The store is moto's server on loopback, where every answer waits for a
time that is drawn evenly from 0 to S. It is measured with a media worker for each core, and with two. Ways take turns;
medians. Also printed: requests a part.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

import colcap
from colcap import objects
from colcap.engines.cores import plan_cores
from colcap.manifests import from_sources, write_manifest
from colcap.models.tiny.synth import clip, random_scene

CLIPS_PER_PART = 16
SERVER = Path(__file__).parents[1] / "tests" / "stores" / "server.py"


@contextmanager
def store(wait_s: float) -> Iterator[str]:
    """A bucket on a server of its own."""
    process = subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    endpoint = process.stdout.readline().strip()
    os.environ |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_ENDPOINT_URL": endpoint}
    try:
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT")).close()
        reset(endpoint, wait_s)
        yield endpoint
    finally:
        process.kill()
        process.wait()


def reset(endpoint: str, wait_s: float) -> None:
    """Count requests anew."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/-faults?slow_s={wait_s}", method="POST")).close()


def requests(endpoint: str) -> dict[str, int]:
    """Requests since, by method."""
    with urllib.request.urlopen(f"{endpoint}/-faults") as answer:
        seen = json.load(answer)
    return {name.split()[0]: count for name, count in seen.items() if name.endswith(" requests")}


def make_clips(folder: Path, count: int) -> None:
    """So many small clips."""
    rng = random.Random(3)
    for i in range(count):
        data = clip([(random_scene(rng), 60)], width=320, height=240, fps=30, rng=rng)
        (folder / f"{i:04d}.mp4").write_bytes(data)


def seconds(manifest: str, run: str, workers: int | None) -> float:
    """Wall time of a run."""
    started = time.monotonic()
    runtime = {} if workers is None else {"media_workers": workers}
    colcap.run(manifest, run, generate_captions=False, clips_per_part=CLIPS_PER_PART, runtime=runtime)
    return time.monotonic() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--wait-s", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, store(given.wait_s) as endpoint:
        measure(Path(name), endpoint, given)


def measure(folder: Path, endpoint: str, given: argparse.Namespace) -> None:
    """All ways in turn."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    (folder / "clips").mkdir()
    make_clips(folder / "clips", given.clips)
    write_manifest(from_sources([str(folder / "clips")]), folder / "files.parquet")
    for path in (folder / "clips").iterdir():
        objects.put(objects.Url.parse(f"s3://bucket/clips/{path.name}"), path)
    write_manifest(from_sources(["s3://bucket/clips"]), objects.Url.parse("s3://bucket/m.parquet"))
    cores = len(plan_cores(num_engine_cores=0).media)
    ways = {
        "files": (str(folder / "files.parquet"), str(folder / "run"), None),
        "objects": ("s3://bucket/m.parquet", "s3://bucket/one", None),
        "objects, two workers a core": ("s3://bucket/m.parquet", "s3://bucket/two", 2 * cores),
    }
    took: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(given.rounds):
        for way, (manifest, run, workers) in ways.items():
            reset(endpoint, given.wait_s)
            took[way].append(seconds(manifest, f"{run}-{turn}", workers))
    sent, parts = requests(endpoint), -(-given.clips // CLIPS_PER_PART)
    base = statistics.median(took["files"])
    rows = [(way, round(statistics.median(s), 2), round(statistics.median(s) / base, 2)) for way, s in took.items()]
    print(pl.DataFrame(rows, schema=["clips, windows, previews", "seconds", "ratio"], orient="row"))
    print(f"requests a part of {CLIPS_PER_PART} clips, the run's start and end included: ", end="")
    print(", ".join(f"{method} {count / parts:.1f}" for method, count in sorted(sent.items())))


if __name__ == "__main__":
    main()
