"""Full-text search over synthetic captions: time to build the index, its size, and how fast it answers.

    python benchmarks/search.py [CAPTIONS]        1,000,000 by default

Captions are 40 words drawn from 20,000 by Zipf's law, so that the commonest are in nearly all of them. Every search
opens the run and checks each part file's time, as the command does.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from colcap import store
from colcap.qa.search import search
from colcap.qa.search_index import FILE, FOLDER
from colcap.schema import CAPTIONS

PER_PART = 1_000
WORDS, LENGTH = 20_000, 40


def main(captions: int) -> None:
    """Make the captions, index them, search."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        rng = np.random.default_rng(7)
        texts = sum(write_part(run, part, rng) for part in range(captions // PER_PART))
        print(f"{captions:,} captions in {captions // PER_PART:,} parts, {texts / 1e6:.0f} MB of text")
        seconds = timed(run, "w7x")
        size = (run / FOLDER / FILE).stat().st_size
        built = f"{seconds:.1f} s, {captions / seconds:,.0f} captions/s"
        print(f"build {built}; {size / 1e6:.0f} MB, {size / texts:.1f}x the text")
        write_part(run, 0, rng)
        print(f"one part of {PER_PART:,} changed: {timed(run, 'w7x'):.2f} s with its refresh")
        report(run, rng)


def write_part(run: Path, part: int, rng: np.random.Generator) -> int:
    """Write the captions of one part; returns the bytes of their text."""
    share = 1 / np.arange(1, WORDS + 1)
    ranks = rng.choice(WORDS, size=(PER_PART, LENGTH), p=share / share.sum())
    texts = [" ".join(f"w{rank}x" for rank in row) for row in ranks]
    facts = {
        "window_id": [f"clip-{part:06d}-{i // 10:03d}:{i % 10:05d}" for i in range(PER_PART)],
        "caption_set": ["default"] * PER_PART,
        "attempt": [1] * PER_PART,
        "caption": texts,
        "status": ["ok"] * PER_PART,
    }
    nulls = [pl.lit(None).alias(name) for name in CAPTIONS if name not in facts]
    frame = pl.DataFrame(facts).with_columns(nulls).select(list(CAPTIONS)).cast(dict(CAPTIONS))  # type: ignore[arg-type]
    path = store.table_dir(run, "captions", "default") / store.part_name(part)
    commit = store.PartCommit(run, part, {"captions": store.TableFile("captions", path, "benchmark")})
    commit.append("captions", frame)
    commit.commit()
    return sum(map(len, texts))


def timed(run: Path, words: str) -> float:
    """Seconds of a search."""
    started = time.perf_counter()
    search(run, words)
    return time.perf_counter() - started


def report(run: Path, rng: np.random.Generator) -> None:
    """Print a line for each kind of search."""
    rare = {  # searches of up to 30,000 hits in a million
        "one word": [f"w{rank}x" for rank in np.geomspace(130, WORDS - 1, 100).astype(int)],
        "three words": [" ".join(f"w{rank}x" for rank in rng.integers(10, 200, 3)) for _ in range(100)],
        "phrase": [f'"w{a}x w{b}x"' for a, b in rng.integers(5, 300, (100, 2))],
    }
    common = {
        "one common word": [f"w{rank}x" for rank in range(40)],
        "three common words": [" ".join(f"w{rank}x" for rank in rng.integers(0, 10, 3)) for _ in range(40)],
        "phrase of common words": [f'"w{a}x w{b}x"' for a, b in rng.integers(0, 6, (40, 2))],
    }
    print(f"{'search':<24} {'hits at most':>12} {'median ms':>10} {'p95 ms':>8} {'slowest':>8}")
    for name, searches in {**rare, **common}.items():
        line(name, max(search(run, words).hits for words in searches), [timed(run, words) for words in searches])


def line(name: str, hits: int, seconds: Iterable[float]) -> None:
    """Print one kind's."""
    ms = sorted(1000 * s for s in seconds)
    print(f"{name:<24} {hits:>12,} {statistics.median(ms):>10.1f} {ms[int(0.95 * len(ms))]:>8.1f} {ms[-1]:>8.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
