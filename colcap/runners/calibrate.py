"""A short trial of a run on a few of its clips: what media work takes, what it writes, how fast the engine is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import polars as pl

from colcap.config import Config
from colcap.engines.base import Engine
from colcap.engines.cores import CorePlan
from colcap.errors import RowError
from colcap.media.workers import MediaPool
from colcap.models.weights import ResolvedModel
from colcap.runners import choices
from colcap.runners.engine import check_engine, start_engine
from colcap.steps.media import MediaStep, table_rows

T = TypeVar("T")

MAX_CLIPS: Final = 8
MAX_WINDOWS: Final = 32
WARM_UP: Final = 2
"""Windows captioned before the clock starts."""


@dataclass(frozen=True, slots=True)
class MediaTrial:
    """Media work that was done on a few clips."""

    clips: int
    """How many."""
    windows: int
    """Their windows."""
    frames: int
    """Displayed frames of those."""
    seconds: float
    """Of one worker, for all of it."""
    source_bytes: int
    """Of the clips."""
    mp4_bytes: int
    """Of the windows."""
    preview_bytes: int
    """Of the previews."""
    samples: pl.DataFrame
    """The frames to caption."""


@dataclass(frozen=True, slots=True)
class CaptionTrial:
    """Captions that were made of them."""

    windows: int
    """How many were timed."""
    seconds: float
    """For all of them, after a first few."""
    engine_start_s: float | None
    """Seconds until the engine was ready; None where it was running."""


def timed(step: Callable[[pl.DataFrame], T], batch: pl.DataFrame) -> tuple[T, float]:
    """What a step gives, and the seconds it took. Called in a worker."""
    started = time.perf_counter()
    made = step(batch)
    return made, time.perf_counter() - started


def try_media(step: MediaStep, clips: Sequence[pl.DataFrame], pool: MediaPool) -> MediaTrial | None:
    """Do the media work of some clips, all workers at once; None where every one fails."""
    futures = [pool.submit(timed, step, clip) for clip in clips[:MAX_CLIPS]]
    done, seconds = [], 0.0
    for future in futures:
        try:
            made, took = future.result()
        except RowError:
            continue
        if made["window"].null_count() == 0:
            done.append(made)
            seconds += took
    if not done:
        return None
    rows = pl.concat(done)
    windows = table_rows(rows, "windows")
    return MediaTrial(
        clips=len(done),
        windows=windows.height,
        frames=int(windows["num_frames"].sum()),
        seconds=seconds,
        source_bytes=sum(made["clip"].struct.field("num_bytes")[0] for made in done),
        mp4_bytes=int(windows["mp4_bytes"].sum()),
        preview_bytes=int(table_rows(rows, "previews")["webp_bytes"].sum()),
        samples=table_rows(rows, "samples"),
    )


def try_captions(
    config: Config, model: ResolvedModel, cores: CorePlan, samples: pl.DataFrame, engine: Engine | None
) -> CaptionTrial | None:
    """Caption some windows with the engine of the run; None where there are too few.

    Raises
    ------
    ConfigError, EngineError : there is no engine here, or it does not start.
    """
    good = samples.filter(pl.col("status") == "ok").head(MAX_WINDOWS)
    if good.height <= WARM_UP:
        return None
    if engine is not None:
        return _timed_captions(config, model, engine, good, None)
    check_engine(config.captioning)
    started = time.perf_counter()
    own = start_engine(config, model, cores)
    try:
        return _timed_captions(config, model, own, good, time.perf_counter() - started)
    finally:
        own.close()


def _timed_captions(
    config: Config, model: ResolvedModel, engine: Engine, samples: pl.DataFrame, start_s: float | None
) -> CaptionTrial:
    step = choices.caption_step(config, model, engine)
    step(samples.head(WARM_UP))
    rest = samples.slice(WARM_UP)
    _, seconds = timed(step, rest)
    return CaptionTrial(rest.height, seconds, start_s)
