"""How long planning, `status` and resuming take, and what they hold, when the manifest has a million rows.

    python benchmarks/million_rows.py [--rows 1000000] [--clips-per-part 64]

The rows point at a few small clips. Measured from outside, as wall time, CPU time (which other work disturbs less) and
the peak memory of a `colcap` process: the first start, until its first part is committed (it is killed then); `colcap
status` of a finished run, before and after the footers of its files are remembered (colcap/footers.py), and of a copy
of it; and the same `colcap run` on a finished run, which looks at every part and finds nothing to do. The finished run
is the first part, made by a real run with an engine that always says the same, copied under every part's number.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

import colcap
from colcap.engines.base import EngineStats, Generation, Request, Sampling
from colcap.footers import SETTLED_S
from colcap.models.tiny.synth import clip, random_scene

DISTINCT = 4
NUMBER = b"000000"


class Parrot:
    """An engine that always says the same."""

    model, revision = "parrot", None

    def __init__(self) -> None:
        self.stats = EngineStats()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """One answer for each."""
        return [Generation("a clip", 10, 2, "stop") for _ in requests]

    def close(self) -> None:
        """Nothing to stop."""


def make_manifest(folder: Path, rows: int) -> Path:
    """A manifest of many rows over a few small clips."""
    rng = random.Random(0)
    for index in range(DISTINCT):
        data = clip([(random_scene(rng), 12)], width=96, height=64, fps=24, rng=rng)
        (folder / f"{index}.mp4").write_bytes(data)
    numbers = pl.int_range(rows, eager=True)
    path = folder / "m.parquet"
    pl.DataFrame(
        {
            "clip_id": "clip-" + numbers.cast(pl.String).str.zfill(8),
            "uri": f"{folder}/" + (numbers % DISTINCT).cast(pl.String) + ".mp4",
        }
    ).write_parquet(path)
    return path


def measure(arguments: Sequence[str], *, until: Path | None = None) -> tuple[float, float, float]:
    """Run `colcap`, to its end or until a file is there; returns seconds, CPU seconds and peak memory in MB."""
    started = time.monotonic()
    command = [sys.executable, "-m", "colcap", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    while until and not until.exists():
        time.sleep(0.005)
    seconds = time.monotonic() - started
    if until:
        os.killpg(process.pid, signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not until:
        raise SystemExit(f"{' '.join(command)} exited with {process.returncode}")
    seconds = seconds if until else time.monotonic() - started
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def fill(manifest: Path, run: Path, clips_per_part: int, num_parts: int) -> int:
    """Give a run every part: copies of one that was made of the first clips; returns the number of files."""
    small = run.parent / "small"
    tiny = {"model_variant": "tiny"}
    colcap.run(manifest, small, limit=clips_per_part, clips_per_part=clips_per_part, engine=Parrot(), captioning=tiny)
    for path in sorted(small.glob("*/**/part-000000.parquet")):
        folder = run / path.parent.relative_to(small)
        folder.mkdir(parents=True, exist_ok=True)
        data = with_long_number(path, small / "template.parquet").split(NUMBER)
        for part in range(num_parts):
            (folder / f"part-{part:06d}.parquet").write_bytes(f"{part:06d}".encode().join(data))
    return sum(1 for _ in run.glob("*/**/part-*.parquet"))


def with_long_number(path: Path, target: Path) -> bytes:
    """A part's bytes, where the number in the footer is NUMBER, which is as long as any other."""
    source = pq.ParquetFile(path)
    with pq.ParquetWriter(target, source.schema_arrow) as writer:
        writer.write_table(source.read())
        said = {k: v for k, v in source.metadata.metadata.items() if k != b"ARROW:schema"}
        writer.add_key_value_metadata({**said, b"colcap.part": NUMBER})
    return target.read_bytes()


def main() -> None:
    """Make the manifest and the run, and print what each command takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--clips-per-part", type=int, default=64)
    args = parser.parse_args()
    size = ["--clips-per-part", str(args.clips_per_part)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest, run = make_manifest(folder, args.rows), folder / "run"
        flags = [*size, "--no-generate-captions"]
        first = measure(["run", str(manifest), str(run), *flags], until=run / "clips" / "part-000000.parquet")
        told("first start, until a part is committed", first)
        files = fill(manifest, run, args.clips_per_part, -(-args.rows // args.clips_per_part))
        print(f"a finished run of {files} files")
        time.sleep(SETTLED_S)  # younger files are not remembered
        told("status, nothing remembered yet", measure(["status", str(run)]))
        told("status", measure(["status", str(run)]))
        copied(run)
        told("status of a copy: other times", measure(["status", str(run)]))
        for words in ("run again: nothing to do", "run again: nothing to do, all remembered"):
            told(words, measure(["run", str(manifest), str(run), "--captioning-algorithm", "tiny"]))


def copied(run: Path) -> None:
    """Give all files of a run other times, as a copy of it has."""
    for path in run.glob("*/**/part-*.parquet"):
        path.touch()
    time.sleep(SETTLED_S)


def told(what: str, measured: tuple[float, float, float]) -> None:
    """Print one line."""
    print(f"{what:44} {measured[0]:6.1f} s {measured[1]:6.1f} s CPU {measured[2]:6.0f} MB", flush=True)


if __name__ == "__main__":
    main()
