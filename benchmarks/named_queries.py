"""Every named query, and a gallery, over a synthetic run of 10,000,000 captions: seconds, peak memory, rows found.

    python benchmarks/named_queries.py [CAPTIONS] [FOLDER] [QUERY…]     10,000,000 by default; FOLDER is kept

The run has no video: clips of four windows, previews, captions of some 36 words, enhancements, a second caption set for
a tenth of the windows, all with planted faults: repeated, similar, looping, short, cut off, refused, failed captions,
neighbours that say the same, dark and frozen previews. Each query runs in a process of its own, as by `colcap sql`,
under the same limits of memory and time. QUERY may be `gallery`: choosing the windows of a page of those cut off.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from colcap.errors import QueryError
from colcap.qa.gallery.rows import choose
from colcap.qa.named import named_queries
from colcap.qa.queries import ask
from colcap.schema import TABLES, TIMINGS
from colcap.store import FACT_ROW_GROUP, part_name, table_dir

GALLERY = "gallery"
PER_PART, PER_CLIP = 10_000, 4
WORDS, PHRASES, REPEATED = 20_000, 500_000, 1_000


def main(captions: int, folder: Path, names: list[str]) -> None:
    """Make the run if it is not there, then time the queries."""
    started = time.perf_counter()
    make(folder, captions // PER_PART)
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    print(f"{captions:,} captions, {size / 1e9:.1f} GB of Parquet, made in {time.perf_counter() - started:.0f} s")
    print(f"{'query':<18} {'seconds':>8} {'peak MB':>8} {'rows':>10}", flush=True)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as one:
        for name in names or [*named_queries(), GALLERY]:
            seconds, peak, rows = one.apply(timed, (folder, name))
            print(f"{name:<18} {seconds:>8.1f} {peak:>8,.0f} {rows:>10}", flush=True)


def timed(run: Path, name: str) -> tuple[float, float, str]:
    """Seconds, peak memory in MB of this process or one it starts, and the rows found or why there are none."""
    started = time.perf_counter()
    try:
        rows = f"{cut_off(run) if name == GALLERY else ask(run, f'@{name}').height:,}"
    except QueryError as error:
        rows = str(error).partition("\n")[0][:60]
    seconds = time.perf_counter() - started
    return seconds, max(map(peak_mb, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))), rows


def peak_mb(who: int) -> float:
    """Most memory held at once, in MB, by this process or by the largest of its children."""
    return resource.getrusage(who).ru_maxrss / 1024


def cut_off(run: Path) -> int:
    """Choose and count the windows of a gallery of captions that were cut off; there are no previews to draw."""
    return choose(run, where="finish_reason = 'length'").total.windows


def make(run: Path, parts: int) -> None:
    """Write the parts that are not there."""
    rng = np.random.default_rng(7)
    texts = Texts(rng)
    run.mkdir(parents=True, exist_ok=True)
    ids = [name for part in range(parts) for name in clip_ids(part)]
    number = np.repeat(np.arange(parts, dtype=np.int32), PER_PART // PER_CLIP)
    pl.DataFrame({"clip_id": ids, "uri": ids, "part": number}).write_parquet(run / "manifest.parquet")
    (run / "run.toml").touch()
    for part in range(parts):
        if not (table_dir(run, "enhanced", "default") / part_name(part)).exists():
            for table, caption_set, rows in tables(part, texts, np.random.default_rng(part)):
                write(table_dir(run, table, caption_set), part, rows)


def write(folder: Path, part: int, rows: pl.DataFrame) -> None:
    """One part of a table."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"colcap.part": str(part), "colcap.rows": str(rows.height), "colcap.fingerprint": "benchmark"}
    arrow = rows.to_arrow(compat_level=pl.CompatLevel.oldest()).replace_schema_metadata(said)
    pq.write_table(arrow, folder / part_name(part), compression="zstd", row_group_size=FACT_ROW_GROUP)


def clip_ids(part: int) -> list[str]:
    """The clips of a part."""
    return [f"clip-{part:06d}-{number:04d}" for number in range(PER_PART // PER_CLIP)]


class Texts:
    """Captions of twelve phrases of three words, drawn by chance from a pool; words come and go by Zipf's law."""

    def __init__(self, rng: np.random.Generator) -> None:
        syllables = np.array([a + b for a in "bdfgklmnprstvz" for b in "aeiou"])
        words = pl.Series(["".join(rng.choice(syllables, 2 + i % 3)) for i in range(WORDS)])
        share = 1 / np.arange(1, WORDS + 1)
        chosen = rng.choice(WORDS, size=(3, PHRASES), p=share / share.sum())
        self.phrases = pl.select(pl.concat_str(*(words.gather(row) for row in chosen), separator=" ")).to_series()
        self.repeated = self.several(rng, REPEATED)

    def several(self, rng: np.random.Generator, count: int) -> pl.Series:
        """Captions of two sentences each."""
        rows = [self.phrases.gather(row) for row in rng.integers(0, PHRASES, size=(12, count))]
        halves = [pl.concat_str(*some, separator=" ") for some in (rows[:6], rows[6:])]
        return pl.select(pl.concat_str(*halves, separator=". ") + ".").to_series()


def tables(part: int, texts: Texts, rng: np.random.Generator) -> Iterator[tuple[str, str | None, pl.DataFrame]]:
    """Every table's rows of a part; the table that tells a part is there comes last."""
    clips = pl.Series("clip_id", clip_ids(part))
    index = np.tile(np.arange(PER_CLIP, dtype=np.int32), clips.len())
    clip = clips.gather(np.repeat(np.arange(clips.len()), PER_CLIP))
    facts = {"clip_id": clips, "uri": clips, "part": part, "codec": "h264", "width": 1280, "height": 720, "fps": 30.0}
    yield "clips", None, rows("clips", **facts, num_windows=PER_CLIP, duration_s=34.0, status="ok")
    window = clip + ":" + pl.Series(index).cast(pl.String).str.zfill(5)
    place = {"window_index": index, "start_s": index * 8.5, "end_s": index * 8.5 + 8.5, "num_frames": 256}
    yield "windows", None, rows("windows", window_id=window, clip_id=clip, **place, mp4_bytes=1_500_000, status="ok")
    seen = {"mean_luma": 256 * rng.random(PER_PART) ** 0.7, "motion": 20 * rng.random(PER_PART)}
    yield "previews", None, rows("previews", window_id=window, num_frames=9, webp_bytes=60_000, **seen, status="ok")
    caption, status = say(texts, rng, index)
    tokens = caption.str.len_chars().cast(pl.Int32) // 4
    told = {"attempt": 1, "model": "synthetic", "prompt_tokens": 1_400, "output_tokens": tokens}
    finish = pl.Series(np.where(rng.random(PER_PART) < 0.01, "length", "stop"))
    kind = pl.select(pl.when(status == "error").then(pl.lit("over_context"))).to_series()
    ends = {"finish_reason": finish, "status": status, "error_kind": kind, "error": kind}
    yield (
        "captions",
        "default",
        rows("captions", window_id=window, caption_set="default", caption=caption, **told, **ends),
    )
    if part % 10 == 0:
        yield "captions", "x", rows("captions", window_id=window, caption_set="x", caption=texts.several(rng, PER_PART),
                                    **told, finish_reason="stop", status="ok")  # fmt: skip
    stages = pl.DataFrame({"stage": ["media", "wait_media", "caption default", "wait_engine", "write"]})
    spent = stages.with_columns(part=part, attempt=1, wall_s=2.0, cpu_s=1.5, rows=PER_PART, num_bytes=9)
    yield "timings", None, spent.select(list(TIMINGS)).cast(dict(TIMINGS))  # type: ignore[arg-type]
    shorter = texts.phrases.gather(rng.integers(0, PHRASES, PER_PART))
    grown = pl.when(pl.Series(rng.random(PER_PART) < 0.99)).then(caption + " " + texts.several(rng, PER_PART))
    longer = pl.select(grown.otherwise(shorter)).to_series()
    yield "enhanced", "default", rows("enhanced", window_id=window, caption_set="default", caption_attempt=1,
                                      enhanced_caption=longer, **told, finish_reason="stop", status="ok")  # fmt: skip


def say(texts: Texts, rng: np.random.Generator, index: np.ndarray) -> tuple[pl.Series, pl.Series]:
    """Captions of a part and their status, with the faults that the queries look for."""
    chance = pl.Series("chance", rng.random(PER_PART))
    said = texts.several(rng, PER_PART).alias("said")
    again = texts.repeated.gather(rng.integers(0, REPEATED, PER_PART)).alias("again")
    frame = pl.DataFrame([chance, said, again, pl.Series("index", index)])
    looping = pl.concat_str(*[pl.col("said").str.split(". ").list.first()] * 8, separator=" ")
    faults = [
        (0.010, pl.col("again")),
        (0.020, pl.col("again").str.replace(r"^\w+", "else")),
        (0.025, looping),
        (0.026, pl.lit("A car.")),
        (0.027, pl.lit("I'm sorry, I can't see the video.")),
        (0.300, pl.lit("The video shows in the first place ") + pl.col("said")),
    ]
    caption = pl.when(pl.lit(False)).then(pl.lit(""))
    for below, text in faults:
        caption = caption.when(pl.col("chance") < below).then(text)
    frame = frame.with_columns(caption=caption.otherwise("said"))
    stuck = (pl.col("chance") > 0.98) & (pl.col("index") > 0)
    failed = pl.col("chance").is_between(0.5, 0.502)
    frame = frame.with_columns(
        caption=pl.when(stuck).then(pl.col("caption").shift(1)).when(~failed).then("caption"),
        status=pl.when(failed).then(pl.lit("error")).otherwise(pl.lit("ok")),
    )
    return frame["caption"], frame["status"]


def rows(table: str, **columns: object) -> pl.DataFrame:
    """Rows of a table; what is not given is null."""
    schema = TABLES[table]
    frame = pl.select(
        **{name: value if isinstance(value, pl.Series) else pl.lit(value) for name, value in columns.items()}
    )
    nulls = [pl.lit(None).alias(name) for name in schema if name not in columns]
    return frame.with_columns(nulls).select(list(schema)).cast(dict(schema))  # type: ignore[arg-type]


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    if len(sys.argv) > 2:
        main(wanted, Path(sys.argv[2]), sys.argv[3:])
    else:
        with tempfile.TemporaryDirectory() as name:
            main(wanted, Path(name), [])
