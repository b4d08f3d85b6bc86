"""Wall time of the same run on Ray against the one-machine runner, on the same cores, after start-up.

    python benchmarks/ray_overhead.py [--parts N] [--clips-per-part N] [--rounds N]

Windows and previews of small clips. A run's pace is the time from its second committed part to its last, by part: what
comes before is the start-up of workers, and on Ray of Ray. The two runners take turns; medians.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

import polars as pl

import colcap
from colcap.models.tiny.synth import clip, random_scene

DISTINCT = 8


def make_manifest(folder: Path, count: int) -> Path:
    """A manifest of so many clips, some of them the same."""
    rng = random.Random(3)
    for i in range(DISTINCT):
        data = clip([(random_scene(rng), 60)], width=320, height=240, fps=30, rng=rng)
        (folder / f"{i}.mp4").write_bytes(data)
    ids = [f"{i:05d}" for i in range(count)]
    uris = [str(folder / f"{i % DISTINCT}.mp4") for i in range(count)]
    path = folder / "m.parquet"
    pl.DataFrame({"clip_id": ids, "uri": uris}).write_parquet(path)
    return path


def seconds_a_part(run: Path) -> float:
    """From the second committed part to the last, by part."""
    times = sorted(path.stat().st_mtime for path in (run / "clips").glob("part-*.parquet"))
    return (times[-1] - times[1]) / (len(times) - 2)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--clips-per-part", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    paces: dict[str, list[float]] = {"local": [], "ray": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = make_manifest(folder, given.parts * given.clips_per_part)
        for turn in range(given.rounds):
            for runner, pace in paces.items():
                run, started = folder / f"{runner}-{turn}", time.monotonic()
                colcap.run(manifest, run, runner=runner, generate_captions=False, clips_per_part=given.clips_per_part)
                pace.append(seconds_a_part(run))
                print(
                    f"{runner:5} {pace[-1]:.3f} s a part, {time.monotonic() - started:.1f} s with start-up", flush=True
                )
    local, ray = (statistics.median(pace) for pace in paces.values())
    print(f"ray / local, by part after start-up: {ray / local:.2f}")


if __name__ == "__main__":
    main()
