"""Growth of memory with the manifest's length: the runner and its media workers, engine apart.

    python benchmarks/memory.py [--short 200] [--long 2000]

Each run is a `colcap run` of its own with the embedded model; memory is the sum of the unique set sizes (USS) of
its processes but the engine's, watched ten times a second. Peaks are compared after the engine is up.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
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
            if "EngineCore" not in words and "EngineCore" not in process.name():
                sizes["runner" if process.pid == root.pid else "workers"] += process.memory_full_info().uss
        except psutil.Error:
            continue
    return sizes


def peaks(manifest: Path, folder: Path) -> tuple[dict[str, int], float]:
    """Peak memory of a run, and its seconds."""
    started = time.monotonic()
    run = folder / f"run-{manifest.stem}"
    command = [sys.executable, "-m", "colcap.cli", "run", str(manifest), str(run), "--captioning-algorithm", "tiny"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    highest = {"runner": 0, "workers": 0}
    while process.poll() is None:
        try:
            now = processes(psutil.Process(process.pid))
        except psutil.Error:
            break
        if any(run.glob("captions/*/part-*.parquet")):  # start-up and its peaks are the same for any length
            highest = {name: max(size, now[name]) for name, size in highest.items()}
        time.sleep(0.1)
    if process.wait():
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    return highest, time.monotonic() - started


def main() -> None:
    """Run both lengths and print the growth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", type=int, default=200)
    parser.add_argument("--long", type=int, default=2000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = {}
        for rows in (args.short, args.long):
            found[rows], seconds = peaks(make_manifest(Path(name), rows), Path(name))
            sizes = ", ".join(f"{who} {size / 1e6:.0f} MB" for who, size in found[rows].items())
            print(f"{rows} clips: {sizes} ({seconds:.0f} s)", flush=True)
        growth = {who: found[args.long][who] - found[args.short][who] for who in ("runner", "workers")}
        told = ", ".join(f"{who} {size / 1e6:.0f} MB" for who, size in growth.items())
        print(f"growth: {sum(growth.values()) / 1e6:.0f} MB ({told})")


if __name__ == "__main__":
    main()
