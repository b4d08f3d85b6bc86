"""The public verbs: run a manifest, open a run, and the same steps on any polars LazyFrame."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from colcap.config import Config, load, merge, parse
from colcap.schema import CAPTIONS, CLIPS, PREVIEWS, SET_TABLES, TABLES, WINDOWS, Columns

if TYPE_CHECKING:
    import duckdb
    from rich.console import Console

    from colcap.engines.base import Engine

WINDOWS_OUT: Columns = {**WINDOWS, "mp4": pl.Binary}
PREVIEWS_OUT: Columns = {**PREVIEWS, "webp": pl.Binary}


def run(
    manifest: str | os.PathLike[str],
    run: str | os.PathLike[str],
    *,
    config: str | os.PathLike[str] | Config | None = None,
    root: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    console: Console | None = None,
    engine: Engine | None = None,
    **parameters: Any,
) -> Run:
    """Make windows, previews and captions of every clip of a manifest; go on where an earlier start stopped.

    Parameters
    ----------
    manifest : a Parquet file with `uri` or `mp4`, see `manifests.freeze`.
    run : the run folder.
    config : a TOML file, or a `Config`. Without it and without parameters, an existing run goes on as it was.
    root : clips outside this folder become error rows.
    limit : take only the first clips.
    console : a rich Console that shows progress.
    engine : a running engine to use; it is left running.
    parameters : nested like the TOML, and laid over it: `captioning={"model_variant": "tiny"}`.

    Raises
    ------
    ColcapError : nothing can be done, and why: `ConfigError`, `ManifestError`, `RunError`, `WeightsError`, …
        A clip that fails raises nothing: it is a row.

    Examples
    --------
    >>> run("no-such.parquet", "out", captioning={"model_variant": "tiny"})
    Traceback (most recent call last):
    colcap.errors.ManifestError: no-such.parquet: no such file. `colcap manifest SRC... -o no-such.parquet` makes one.
    """
    from colcap.runners.launch import run as launch

    folder = Path(run)
    chosen = _configuration(config, parameters, folder)
    launch(
        Path(manifest),
        folder,
        chosen,
        root=None if root is None else Path(root),
        limit=limit,
        console=console,
        engine=engine,
    )
    return Run(folder)


def _configuration(config: Any, parameters: Mapping[str, Any], folder: Path) -> Config:
    from colcap.runners.plan import RUN_FILE, saved_config

    if config is None and not parameters and (folder / RUN_FILE).exists():
        return saved_config(folder)
    if isinstance(config, Config):
        return parse(merge(config.model_dump(exclude_unset=True), parameters))
    return parse(merge(load(Path(config)) if config else {}, parameters), source=str(config or "parameters"))


def open(run: str | os.PathLike[str]) -> Run:
    """Open a run folder.

    Raises
    ------
    RunError : there is no run there.
    """
    from colcap.runners.plan import read_run_file

    read_run_file(Path(run))
    return Run(Path(run))


class Run:
    """A run folder: its tables as LazyFrames, and SQL over them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def table(self, name: str) -> pl.LazyFrame:
        """One of the seven tables; empty, with its columns, where the step has not run."""
        from colcap import store

        folders = sorted((self.path / name).glob("set=*")) if name in SET_TABLES else [self.path / name]
        files = [file.path for folder in folders for file in store.list_parts(folder)]
        if not files:
            return pl.LazyFrame(schema=TABLES[name])
        return pl.scan_parquet(files, hive_partitioning=False, glob=False)

    @property
    def clips(self) -> pl.LazyFrame:
        """One row a clip."""
        return self.table("clips")

    @property
    def windows(self) -> pl.LazyFrame:
        """One row a window."""
        return self.table("windows")

    @property
    def previews(self) -> pl.LazyFrame:
        """One row a window, where previews were made."""
        return self.table("previews")

    @property
    def captions(self) -> pl.LazyFrame:
        """One row a window and attempt."""
        return self.table("captions")

    @property
    def enhanced(self) -> pl.LazyFrame:
        """One row a window and attempt, where captions were enhanced."""
        return self.table("enhanced")

    def connect(self, *, blobs: bool = False) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection that sees the tables as views and reads nothing outside the run.

        For your own SQL: a COPY into the run folder is possible. Give strangers' SQL to `Run.sql`, which refuses it.
        """
        from colcap.qa.connect import connect

        return connect(self.path, blobs=blobs)

    def sql(self, query: str, *, params: Mapping[str, str] | None = None, blobs: bool = False) -> pl.DataFrame:
        """Rows of one SELECT, or of a named query (`@truncated`).

        Raises
        ------
        QueryError : the query is wrong, or not a single SELECT.
        """
        from colcap.qa.queries import ask

        return ask(self.path, query, params=dict(params or {}), blobs=blobs)

    def search(self, words: str, *, limit: int = 20) -> pl.DataFrame:
        """Captions that have all the words, the best first; see `qa.search.search`.

        Raises
        ------
        QueryError : there is no word to look for.
        """
        from colcap.qa.search import search

        return search(self.path, words, limit=limit).rows

    def gallery(self, output: str | os.PathLike[str], *, where: str | None = None, limit: int = 2000) -> Path:
        """Write an HTML page of previews beside captions and return its path; see `qa.gallery.gallery`.

        Raises
        ------
        QueryError : the condition is wrong, or would do more than read.
        """
        from colcap.qa.gallery import gallery

        return gallery(self.path, Path(output), where=where, limit=limit).path

    def qa(self, *, thresholds: Mapping[str, int] | None = None) -> pl.DataFrame:
        """What every check of the captions finds, against its threshold; see `qa.quality.quality`.

        Raises
        ------
        QueryError : a threshold for something that is not a check.
        """
        from colcap.qa.quality import quality

        return quality(self.path, thresholds=thresholds)


def enhance(
    run: str | os.PathLike[str], *, console: Console | None = None, caption_set: str = "default", **parameters: Any
) -> Run:
    """Let a text model rewrite the captions of a run; they are kept beside the captions.

    Parameters
    ----------
    run : the run folder.
    console : a rich Console that shows progress.
    caption_set : whose captions.
    parameters : as in `Enhancement`: `model_variant`, `prompt_text`, …

    Raises
    ------
    ColcapError : there are no captions to enhance; the weights are missing; the run is in use.
    """
    from colcap.runners.launch import enhance as launch

    opened = open(run)
    launch(opened.path, parse({"caption_set": caption_set, "enhancement": parameters}), console=console)
    return opened


def connect(run: str | os.PathLike[str], *, blobs: bool = False) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection over a run's tables; see `Run.connect`."""
    return open(run).connect(blobs=blobs)


def manifest(*sources: str | os.PathLike[str]) -> pl.LazyFrame:
    """List clips: files, folders, globs; columns `clip_id` and `uri`.

    Raises
    ------
    ManifestError : a source matches nothing.
    """
    from colcap.manifests import from_sources

    return from_sources(os.fspath(source) for source in sources).lazy()


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
    """
    from colcap.manifests import ClipReader
    from colcap.runners import choices
    from colcap.steps.media import MediaStep

    config = parse({"cut": cut, "captioning": parameters}, source="windows")
    step = MediaStep(
        choices.wanted(config, None, cut=True, preview=False, sample=False),
        choices.media_limits(config),
        ClipReader(root=None if root is None else Path(root), max_bytes=config.limits.max_bytes),
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
    The previews table's columns and `webp`, one row a window, in order.
    """
    from colcap.runners import choices
    from colcap.steps.media import WindowStep

    config = parse({"preview": parameters}, source="previews")
    step = WindowStep(choices.wanted(config, None, cut=False, preview=True, sample=False), choices.media_limits(config))
    return windows.map_batches(partial(_previews, step), schema=PREVIEWS_OUT, streamable=True)


def _previews(step: Callable[[pl.DataFrame], pl.DataFrame], windows: pl.DataFrame) -> pl.DataFrame:
    return step(windows).select("preview", "webp").unnest("preview")


def captions(windows: pl.LazyFrame, *, engine: Engine | None = None, **parameters: Any) -> pl.LazyFrame:
    """Caption each window. All calls of a process with the same model share one engine.

    Parameters
    ----------
    windows : what `colcap.windows` gives, or the windows table joined with its bytes; optionally `prompt_text`.
    engine : a running engine; by default one is started at the first batch and stopped when Python exits.
    parameters : as in `Captioning`: `model_variant`, `sampling_fps`, `prompt_variant`, …

    Returns
    -------
    The captions table's columns, one row a window, in order.
    """
    config = parse({"captioning": parameters}, source="captions")
    return windows.map_batches(partial(_captions, config, engine), schema=CAPTIONS, streamable=True)


def _captions(config: Config, engine: Engine | None, windows: pl.DataFrame) -> pl.DataFrame:
    from colcap.runners import choices
    from colcap.steps.media import WindowStep, table_rows

    model = choices.resolve_model(config)
    see = WindowStep(choices.wanted(config, model, cut=False, preview=False, sample=True), choices.media_limits(config))
    say = choices.caption_step(config, model, engine or _shared_engine(config))
    prompts = windows.select("prompt_text") if "prompt_text" in windows.columns else None
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


def _shared_engine(config: Config) -> Engine:
    from colcap.engines.cores import plan_cores
    from colcap.runners import choices
    from colcap.runners.engine import start_engine

    model = choices.resolve_model(config)
    c = config.captioning
    key = (model.path, c.fp8, c.disable_mmcache, c.model_does_preprocess)
    with _engines_lock:
        if key not in _engines:
            _engines[key] = start_engine(config, model, plan_cores())
            atexit.register(_engines[key].close)
        return _engines[key]
