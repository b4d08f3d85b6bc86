"""How long an engine stands idle in a run while windows remain, and what a run takes where the engine is faster.

    python benchmarks/idle.py [--slots 16] [--clips 240] [--rounds 3]

Real clips through the real runner, against benchmarks/simulated_engine.py, which takes time and no CPU, with
long-tailed answers. Clips have one to three windows and parts have sixteen clips, so that windows of several clips and
parts are under way together. Idle share: slot-time unused from the moment all slots were first busy until the last
window got its slot, which leaves start-up and final drain apart. The media half is the same run on a server that
answers at once: what is compressed and sent for the server is work of this machine, however fast the server is.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

import colcap
from colcap.models.tiny.synth import clip, random_scene

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from simulated import Simulated, simulated_engine

FRAMES = 32
"""Of a window."""

RUN: dict[str, Any] = {"clips_per_part": 16, "preview": {"target_height": 112}}


def make_manifest(folder: Path, clips: int) -> Path:
    """Clips of one to three windows, over a few files."""
    rng = random.Random(0)
    for windows in (1, 2, 3):
        data = clip([(random_scene(rng), FRAMES * windows)], width=112, height=112, fps=8, rng=rng)
        (folder / f"{windows}.mp4").write_bytes(data)
    uris = [str(folder / f"{rng.randint(1, 3)}.mp4") for _ in range(clips)]
    path = folder / "clips.parquet"
    pl.DataFrame({"clip_id": [f"{i:05d}" for i in range(clips)], "uri": uris}).write_parquet(path)
    return path


def captioning(own: dict[str, Any]) -> dict[str, Any]:
    """The captioning parameters of every run here."""
    return {"window_size": FRAMES, "remainder_threshold": FRAMES // 2, **own}


def timed_run(manifest: Path, own: dict[str, Any], **given: Any) -> float:
    """Wall seconds of a run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        colcap.run(manifest, Path(folder) / "run", captioning=captioning(own), **RUN, **given)
        return time.perf_counter() - start


def on(engine: Simulated, manifest: Path) -> tuple[float, dict[str, Any]]:
    """Wall seconds of a run on a simulated engine, and what that saw."""
    engine.reset()
    at_once = engine.stats()["slots"] * 3 // 2  # a few wait there, so that the next one is at hand
    taken = timed_run(manifest, engine.captioning(max_concurrent_requests=at_once))
    return taken, engine.stats()


def media_alone(manifest: Path, slots: int) -> float:
    """Wall seconds of the media half."""
    with simulated_engine(slots=slots, prefill_ms=0, token_ms=0) as at_once:
        return on(at_once, manifest)[0]


def engine_is_slower(manifest: Path, slots: int, windows: int, media_s: float, rounds: int) -> None:
    """Print the idle share where the engine needs twice the time that media work does."""
    mean_s = 2 * media_s * slots / windows
    shares = []
    with simulated_engine(slots=slots, prefill_ms=250 * mean_s, token_ms=750 * mean_s / 60, mean_tokens=60) as engine:
        for _ in range(rounds):
            taken, stats = on(engine, manifest)
            shares.append(stats["idle_share"])
            whole = 1 - stats["busy_s"] / (slots * (stats["last_end"] - stats["first_arrival"]))
            print(
                f"  {taken:.1f} s for {stats['done']} windows of {mean_s:.2f} s in {slots} slots: idle "
                f"{stats['idle_share']:.1%} while windows remained, {whole:.1%} with start-up and drain",
                flush=True,
            )
    print(
        f"engine is the slower half: median idle share {statistics.median(shares):.1%} (wanted: below 3%)", flush=True
    )


def media_is_slower(manifest: Path, slots: int, windows: int, media_s: float, rounds: int) -> None:
    """Print the run's time against media work alone, where the engine needs half of that."""
    mean_s = 0.5 * media_s * slots / windows
    ratios = []
    with simulated_engine(slots=slots, prefill_ms=250 * mean_s, token_ms=750 * mean_s / 60, mean_tokens=60) as engine:
        for _ in range(rounds):
            alone = media_alone(manifest, slots)
            taken, stats = on(engine, manifest)
            drain = stats["last_end"] - stats["last_start"]
            ratios.append((taken - drain) / alone)
            print(
                f"  run {taken:.1f} s, of which {drain:.1f} s waiting for the last answer; media alone {alone:.1f} s, "
                f"ratio {taken / alone:.2f}, without that wait {ratios[-1]:.2f}",
                flush=True,
            )
    print(
        f"media work is the slower half: median ratio without the final drain {statistics.median(ratios):.2f} "
        "(wanted: below 1.05)",
        flush=True,
    )


def main() -> None:
    """Make the clips, time the media half, run both regimes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--clips", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        manifest = make_manifest(Path(name), args.clips)
        windows = sum(int(Path(uri).stem) for uri in pl.read_parquet(manifest)["uri"])
        media_s = media_alone(manifest, args.slots)
        print(f"{args.clips} clips, {windows} windows; media alone {media_s:.1f} s", flush=True)
        engine_is_slower(manifest, args.slots, windows, media_s, args.rounds)
        media_is_slower(manifest, args.slots, windows, media_s, args.rounds)


if __name__ == "__main__":
    main()
