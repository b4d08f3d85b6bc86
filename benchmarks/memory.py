"""Growth of memory with the manifest's length: the runner and its media workers, engine apart.

    python benchmarks/memory.py [--short 200] [--long 2000]

Each run is a `colcap run` of its own with the embedded model; memory is the sum of the unique set sizes (USS) of
its processes but the engine's, watched ten times a second. Compared are the
runner's median from the first committed captions on, and the workers' peak. The runner's peak is shown too: it has
on top what waited for the engine to start, at most `max_queue_bytes`.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import polars as pl
import psutil

from colcap.models.tiny.synth import clip, random_scene

DISTINCT = 20


def make_manifest(folder: Path, rows: int) -> Path:
    """A manifest of many rows over a few small clips."""
    rng = random.Random(0)
    for index in range(DISTINCT):
        path = folder / f"{index}.mp4"
        if not path.exists():
            path.write_bytes(clip([(random_scene(rng), 72)], width=160, height=120, fps=24, rng=rng))
    uris = [str(folder / f"{index % DISTINCT}.mp4") for index in range(rows)]
    path = folder / f"{rows}.parquet"
    pl.DataFrame({"clip_id": [f"{i:06d}" for i in range(rows)], "uri": uris}).write_parquet(path)
    return path


def processes(root: psutil.Process) -> dict[str, int]:
    """USS in bytes of the runner and of its workers."""
    sizes = {"runner": 0, "workers": 0}
    for process in [root, *root.children(recursive=True)]:
        try:
            words = " ".join(process.cmdline())
            if not any(name in words for name in ("EngineCore", "colcap.engines.host")):
                sizes["runner" if process.pid == root.pid else "workers"] += process.memory_full_info().uss
        except psutil.Error:
            continue
    return sizes


def watch(manifest: Path, folder: Path) -> tuple[list[dict[str, int]], float]:
    """Memory of a run, ten times a second, and its seconds. The runner's counts once captions are being made."""
    started = time.monotonic()
    run = folder / f"run-{manifest.stem}"
    command = [sys.executable, "-m", "colcap", "run", str(manifest), str(run), "--captioning-algorithm", "tiny"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen = []
    while process.poll() is None:
        captioning = any(run.glob("captions/*/part-*.parquet"))  # start-up is the same for any length
        with suppress(psutil.Error):
            sizes = processes(psutil.Process(process.pid))
            seen.append(sizes if captioning else {**sizes, "runner": 0})
        time.sleep(0.1)
    if process.wait():
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    return seen, time.monotonic() - started


def main() -> None:
    """Run both lengths and print the growth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", type=int, default=200)
    parser.add_argument("--long", type=int, default=2000)
    args = parser.parse_args()
    levels: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        for rows in (args.short, args.long):
            seen, seconds = watch(make_manifest(Path(name), rows), Path(name))
            runner = [sizes["runner"] for sizes in seen if sizes["runner"]]
            workers = max(sizes["workers"] for sizes in seen)
            levels[rows] = {"runner": statistics.median(runner), "workers": workers}
            told = f"runner {levels[rows]['runner'] / 1e6:.0f} MB (peak {max(runner) / 1e6:.0f} MB)"
            print(f"{rows} clips: {told}, workers {workers / 1e6:.0f} MB ({seconds:.0f} s)", flush=True)
    growth = {who: levels[args.long][who] - levels[args.short][who] for who in levels[args.long]}
    told = ", ".join(f"{who} {size / 1e6:.0f} MB" for who, size in growth.items())
    print(f"growth: {sum(growth.values()) / 1e6:.0f} MB ({told})")


if __name__ == "__main__":
    main()
