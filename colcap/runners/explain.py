"""What a run would make, write and take, before it: every clip is probed, a few are tried, nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl
from rich.console import Console

from colcap.config import Config
from colcap.engines.base import Engine
from colcap.engines.cores import CorePlan, plan_cores
from colcap.errors import ColcapError
from colcap.manifests import ClipReader
from colcap.media.workers import MediaPool
from colcap.objects import Url
from colcap.runners import choices
from colcap.runners.calibrate import CaptionTrial, MediaTrial, try_captions, try_media
from colcap.runners.engine import engine_cores
from colcap.runners.explanation import Bin, Calibration, Explanation
from colcap.runners.survey import CaptionPlan, Surveyed, survey
from colcap.steps.media import MediaStep

SAMPLE: Final = 1000
"""Clips that are looked at where a manifest has more."""

BINS: Final = 8
PREVIEW_FRAME_BYTES: Final = 5000
"""A 240 pixels high frame of a preview at quality 50, by rule of thumb; a trial measures it."""
ROW_BYTES: Final = 250
"""A window's rows in the tables of facts and texts, compressed: 120 bytes a caption were measured, the rest alike."""


def explain(
    manifest: Path | Url,
    config: Config,
    *,
    root: Path | Url | None = None,
    limit: int | None = None,
    sample: int = SAMPLE,
    calibrate: bool = True,
    console: Console | None = None,
    engine: Engine | None = None,
) -> Explanation:
    """Look at a manifest's clips, try a few, and say what a run would make of them.

    Parameters
    ----------
    manifest, config, root, limit, engine : as for a run.
    sample : look at so many clips at most, evenly spread, and extrapolate.
    calibrate : time media work and the engine on a few clips.
    console : where progress is shown.

    Raises
    ------
    ManifestError, ConfigError, WeightsError : as a run would; weights that are only missing are a note instead.
    """
    caption = CaptionPlan.of(config)
    cores = engine_cores(config, caption.sets[0].captioning if caption.sets else None)
    reader = choices.clip_reader(config, root)
    with _pool(config, plan_cores(num_engine_cores=0)) as pool:
        found = survey(manifest, config, caption, reader, pool, limit=limit, sample=sample, console=console)
    media, captions = None, None
    if calibrate:
        with _pool(config, cores) as pool:
            media = try_media(_media_step(config, caption, reader), found.candidates, pool)
        captions = _try_captions(caption, cores, media, engine)
    return _explanation(config, caption, found, media, captions, _num_workers(config, cores))


@contextmanager
def _pool(config: Config, cores: CorePlan) -> Iterator[MediaPool]:
    workers, limits = _num_workers(config, cores), config.limits
    with MediaPool(
        workers, cores=cores.media, timeout_s=limits.timeout_s, max_memory_bytes=limits.max_worker_bytes
    ) as pool:
        yield pool


def _num_workers(config: Config, cores: CorePlan) -> int:
    return config.runtime.media_workers or len(cores.media)


def _media_step(config: Config, caption: CaptionPlan, reader: ClipReader) -> MediaStep:
    products = choices.wanted(
        caption.over(config),
        caption.model,
        cut=config.store_mp4,
        preview=config.generate_previews,
        sample=bool(caption.sets),
    )
    return MediaStep(products, choices.media_limits(config), reader)


def _try_captions(
    caption: CaptionPlan, cores: CorePlan, media: MediaTrial | None, engine: Engine | None
) -> CaptionTrial | None:
    if media is None or caption.model is None or not caption.has_weights:
        return None
    try:
        trial = try_captions(caption.sets[0], caption.model, cores, media.samples, engine)
    except ColcapError as error:
        caption.notes.append(f"no trial of the engine, hours of captions are not known: {error}")
        return None
    if trial is None:
        caption.notes.append("no trial of the engine: the clips that were tried have too few windows")
    return trial


# ---- what it means


def _explanation(
    config: Config,
    caption: CaptionPlan,
    found: Surveyed,
    media: MediaTrial | None,
    captions: CaptionTrial | None,
    workers: int,
) -> Explanation:
    windows, count = found.windows, found.scaled
    failed = found.rows.filter(pl.col("num_frames").is_null())
    kinds = failed["error_kind"].value_counts().sort("count", "error_kind", descending=[True, False])
    frames, num_windows = count(windows["num_frames"].sum()), count(windows.height)
    knows = caption.model is not None
    vision = count(windows["vision_tokens"].sum())
    rate = captions.windows / captions.seconds if captions else None
    media_s = media.seconds / media.frames * frames / workers if media else None
    return Explanation(
        clips=found.clips,
        clips_probed=found.probed,
        clips_failed={kind: count(number) for kind, number in kinds.iter_rows()},
        examples=_examples(found.rows),
        windows=num_windows,
        source_frames=frames,
        source_hours=float(windows["duration_s"].sum()) * found.factor / 3600,
        sampled_frames=count(windows["sampled_frames"].sum()) if knows else None,
        vision_tokens=vision if knows else None,
        vision_histogram=_histogram(windows["vision_tokens"].drop_nulls(), found),
        prompt_tokens=count(_asked(windows)["prompt_tokens"].sum()) + len(caption.sets) * vision if knows else None,
        windows_shrunk=count(windows["warning"].count()),
        windows_over_context=count(windows.filter(pl.col("error_kind") == "over_context").height),
        bytes_mp4=_mp4_bytes(config, found, media),
        bytes_previews=_preview_bytes(config, found, media),
        bytes_tables=num_windows * ROW_BYTES * max(1, len(caption.sets)),
        calibration=_calibration(media, captions, rate),
        media_workers=workers,
        media_hours=None if media_s is None else media_s / 3600,
        caption_hours=None if rate is None else num_windows * len(caption.sets) / rate / 3600,
        notes=(*caption.notes, *_notes(config, caption, found, media)),
    )


def _asked(windows: pl.DataFrame) -> pl.DataFrame:
    """The windows that reach the engine."""
    return windows.filter(pl.col("status") == "ok")


def _examples(rows: pl.DataFrame) -> dict[str, str]:
    first = rows.drop_nulls("error_kind").unique("error_kind", keep="first", maintain_order=True)
    return {
        kind: f"{clip_id}: {error}" for kind, clip_id, error in first.select("error_kind", "clip_id", "error").rows()
    }


def _histogram(tokens: pl.Series, found: Surveyed) -> tuple[Bin, ...]:
    """Windows by tokens, in bins of equal width."""
    if tokens.is_empty():
        return ()
    low, high = int(tokens.min()), int(tokens.max())  # type: ignore[arg-type]
    width = max(1, -(-(high - low + 1) // BINS))
    edges = [(start, min(start + width - 1, high)) for start in range(low, high + 1, width)]
    return tuple(Bin(a, b, found.scaled(tokens.is_between(a, b).sum())) for a, b in edges)


def _mp4_bytes(config: Config, found: Surveyed, media: MediaTrial | None) -> int:
    total = int(found.windows["num_bytes"].sum())
    ratio = media.mp4_bytes / media.source_bytes if media and media.source_bytes else 1.0
    return found.scaled(total * ratio) if config.store_mp4 else 0


def _preview_bytes(config: Config, found: Surveyed, media: MediaTrial | None) -> int:
    if not config.generate_previews:
        return 0
    windows, look = found.windows, config.preview
    if media:
        return found.scaled(int(windows["num_frames"].sum()) * media.preview_bytes / media.frames)
    frame = PREVIEW_FRAME_BYTES * (look.target_height / 240) ** 2
    return found.scaled(float(windows["duration_s"].sum()) * look.target_fps * frame)


def _calibration(media: MediaTrial | None, captions: CaptionTrial | None, rate: float | None) -> Calibration | None:
    if media is None:
        return None
    start_s, tried = (captions.engine_start_s, captions.windows) if captions else (None, 0)
    return Calibration(media.clips, tried, media.seconds / media.windows, rate, start_s)


def _notes(config: Config, caption: CaptionPlan, found: Surveyed, media: MediaTrial | None) -> Iterator[str]:
    if media is None:
        yield "bytes are by rule of thumb and hours are not known: no clips were tried"
    else:
        yield f"bytes and hours are from a trial of {media.clips} clips, {media.windows} windows, on this machine"
    if len(caption.sets) > 1:
        yield f"{len(caption.sets)} caption sets: sizes and speed are the first one's"
    if config.enhance_captions:
        yield "enhancement comes on top: its time is not estimated"
    if found.probed < found.clips:
        yield f"{found.probed:,} of {found.clips:,} clips were looked at, evenly spread; --sample takes more"
