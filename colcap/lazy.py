"""The steps of a run as verbs on any polars LazyFrame, in this process."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from colcap.config import Config, parse
from colcap.prompts import unindented
from colcap.schema import CAPTIONS, CLIPS, PREVIEWS, WINDOWS, Columns

if TYPE_CHECKING:
    from colcap.engines.base import Engine
    from colcap.models.weights import ResolvedModel

WINDOWS_OUT: Columns = {**WINDOWS, "mp4": pl.Binary}
PREVIEWS_OUT: Columns = {**PREVIEWS, "webp": pl.Binary}


def windows(
    clips: pl.LazyFrame,
    *,
    cut: str = "copy",
    root: str | os.PathLike[str] | None = None,
    **parameters: Any,
) -> pl.LazyFrame:
    """Cut clips into windows, in this process.

    Parameters
    ----------
    clips : rows with `uri` or `mp4`, optionally `clip_id`.
    cut : `copy` or `encode`.
    root : clips outside this folder fail.
    parameters : `window_size`, `remainder_threshold`, as in `Captioning`.

    Returns
    -------
    The windows table's columns and `mp4`, one row a window. A clip that gives none is one row with a null
    `window_id`, its status and its error.

    Examples
    --------
    Any LazyFrame will do, and clips may come as bytes. Nothing is decoded before it is collected.

    >>> import random
    >>> from colcap.models.tiny.synth import clip, random_scene
    >>> rng = random.Random(3)
    >>> videos = [clip([(random_scene(rng), 12)], width=96, height=64, fps=24, rng=rng) for _ in range(2)]
    >>> clips = pl.LazyFrame({"clip_id": ["a", "b"], "mp4": videos}).filter(pl.col("clip_id") == "b")
    >>> windows(clips).select("window_id", "num_frames", "cut", "status").collect().rows()
    [('b:00000', 12, 'whole', 'ok')]
    """
    from colcap.objects import place
    from colcap.runners import choices
    from colcap.steps.media import MediaStep

    config = parse({"cut": cut, "captioning": parameters}, source="windows")
    step = MediaStep(
        choices.wanted(config, None, cut=True, preview=False, sample=False),
        choices.media_limits(config),
        choices.clip_reader(config, None if root is None else place(root)),
    )
    return clips.map_batches(partial(_windows, step), schema=WINDOWS_OUT, streamable=True)


def _windows(step: Callable[[pl.DataFrame], pl.DataFrame], clips: pl.DataFrame) -> pl.DataFrame:
    from colcap.manifests import with_ids

    made = step(with_ids(clips))
    there = made.filter(pl.col("window").is_not_null()).select("window", "mp4").unnest("window")
    shared = [name for name in WINDOWS if name in CLIPS]
    without = made.filter(pl.col("window").is_null()).select("clip").unnest("clip").select(shared)
    return pl.concat([there, without], how="diagonal").select(list(WINDOWS_OUT)).cast(dict(WINDOWS_OUT))  # type: ignore[arg-type]


def previews(windows: pl.LazyFrame, **parameters: Any) -> pl.LazyFrame:
    """Make an animated WebP of each window, in this process.

    Parameters
    ----------
    windows : what `colcap.windows` gives, or the windows table joined with its bytes.
    parameters : as in `Preview`: `target_fps`, `target_height`, …

    Returns
    -------
    The previews table's columns and `webp`, one row a window, in order; `fingerprint` is a run's, and null here.

    Examples
    --------
    >>> import random
    >>> from colcap.models.tiny.synth import clip, random_scene
    >>> rng = random.Random(3)
    >>> video = clip([(random_scene(rng), 48)], width=96, height=64, fps=24, rng=rng)
    >>> made = previews(windows(pl.LazyFrame({"clip_id": ["a"], "mp4": [video]})), target_height=32)
    >>> made.select("window_id", "num_frames", "height", "status").collect(engine="streaming").rows()
    [('a:00000', 2, 32, 'ok')]
    """
    from colcap.runners import choices
    from colcap.steps.media import WindowStep

    config = parse({"preview": parameters}, source="previews")
    step = WindowStep(choices.wanted(config, None, cut=False, preview=True, sample=False), choices.media_limits(config))
    return windows.map_batches(partial(_previews, step), schema=PREVIEWS_OUT, streamable=True)


def _previews(step: Callable[[pl.DataFrame], pl.DataFrame], windows: pl.DataFrame) -> pl.DataFrame:
    return step(windows).select("preview", "webp").unnest("preview")


def captions(windows: pl.LazyFrame, *, engine: Engine | str = "vllm", **parameters: Any) -> pl.LazyFrame:
    """Caption each window. All calls of a process with the same model share one engine.

    Parameters
    ----------
    windows : what `colcap.windows` gives, or the windows table joined with its bytes; optionally `prompt_text`.
    engine : a running engine, or its kind as in `Captioning`: it is then started at the first batch and stopped when
        Python exits.
    parameters : as in `Captioning`: `model_variant`, `sampling_fps`, `prompt_variant`, …

    Returns
    -------
    The captions table's columns, one row a window, in order.
    """
    kind, running = (engine, None) if isinstance(engine, str) else ("vllm", engine)
    config = parse({"captioning": {"engine": kind, **parameters}}, source="captions")
    return windows.map_batches(partial(_captions, config, running), schema=CAPTIONS, streamable=True)


def _own_prompts(given: pl.Series) -> pl.Series:
    """As a run reads them."""
    return pl.Series("prompt_text", [text and unindented(text) for text in given], dtype=pl.String)


def _captions(config: Config, engine: Engine | None, windows: pl.DataFrame) -> pl.DataFrame:
    from colcap.runners import choices
    from colcap.steps.media import WindowStep, table_rows

    model = choices.resolve_model(config)
    see = WindowStep(choices.wanted(config, model, cut=False, preview=False, sample=True), choices.media_limits(config))
    say = choices.caption_step(config, model, engine or _shared_engine(config, model))
    prompts = windows.select(_own_prompts(windows["prompt_text"])) if "prompt_text" in windows.columns else None
    if prompts is not None and (context := choices.context(config, model)):
        windows = choices.with_room(windows, prompts["prompt_text"].to_list(), context.room)
    done = [pl.DataFrame(schema=CAPTIONS)]
    for start in range(0, windows.height, config.captioning.caption_batch_size):
        batch = windows.slice(start, config.captioning.caption_batch_size)
        samples = table_rows(see(batch), "samples")
        if prompts is not None:
            samples = samples.with_columns(prompts.slice(start, batch.height))
        done.append(say(samples))
    return pl.concat(done)


_engines: dict[tuple[Any, ...], Engine] = {}
_engines_lock = threading.Lock()


def _shared_engine(config: Config, model: ResolvedModel) -> Engine:
    from colcap.runners.engine import engine_cores, start_engine

    c = config.captioning
    how = (c.engine, c.server, c.fp8, c.disable_mmcache, c.model_does_preprocess, c.preprocess_dtype)
    key = (model.id, model.path, *how)
    with _engines_lock:
        if key not in _engines:
            _engines[key] = start_engine(config, model, engine_cores(config, c))
            atexit.register(_engines[key].close)
        return _engines[key]
