"""The public verbs: list clips, run a manifest, open a run, caption again. The steps as lazy verbs are in lazy.py."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from colcap.config import Config, load, merge, parse
from colcap.errors import ConfigError
from colcap.objects.url import Place, Url, place
from colcap.run_folder import Run, open

if TYPE_CHECKING:
    import duckdb
    from rich.console import Console

    from colcap.engines.base import Engine
    from colcap.runners.explanation import Explanation

__all__ = ["Run", "caption", "connect", "enhance", "explain", "manifest", "open", "preview", "run"]


def run(
    manifest: Place,
    run: Place,
    *,
    config: str | os.PathLike[str] | Config | None = None,
    root: Place | None = None,
    limit: int | None = None,
    console: Console | None = None,
    engine: Engine | None = None,
    retry_errors: bool = False,
    where: str | None = None,
    verify: bool = False,
    runner: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    **parameters: Any,
) -> Run:
    """Make windows, previews and captions of every clip of a manifest; go on where an earlier start stopped.

    Parameters
    ----------
    manifest : a Parquet file with `uri` or `mp4`, or an `s3://` url of one; see `manifests.freeze`.
    run : the run folder, here or on an object store (`s3://bucket/run`).
    config : a TOML file, or a `Config`. Without it and without parameters, an existing run goes on as it was.
    root : clips outside this folder become error rows.
    limit : take only the first clips.
    console : a rich Console that shows progress.
    engine : a running engine to use; it is left running.
    retry_errors : make rows again that failed in an earlier start; rows that are ok stay as they are.
    where : only failures for which this SQL condition holds: `error_kind = 'timeout'`; see `qa.select.FAILURES`.
    verify : read all that is there first and compare it with its checksums; a part that is damaged is made again.
    runner : `ray` spreads the parts over a Ray cluster, which must see the clips and the run folder (docs/scaling.md).
    ray_address : of that cluster, `host:port` or `auto`; without it, a Ray of its own is started on this machine.
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
    from colcap import store
    from colcap.runners.launch import run as launch
    from colcap.runners.make import Given

    given = Given(_place(root), console, engine, verify, runner, ray_address)
    if where is not None and not retry_errors:
        raise ConfigError("where: says which failures to retry, so it needs retry_errors (--retry-errors)")
    retry = (where or "true") if retry_errors else None
    with store.writable(run) as folder:
        launch(place(manifest), folder, _configuration(config, parameters, folder), given, limit=limit, retry=retry)
    return Run(place(run))


def _place(given: Place | None) -> Path | Url | None:
    return None if given is None else place(given)


@contextmanager
def _rewritable(run: Place) -> Iterator[Path]:
    """The folder of a run that is there, to be written."""
    from colcap import store
    from colcap.runners.runfile import read_run_file

    with store.writable(run) as folder:
        read_run_file(folder)
        yield folder


def _configuration(config: Any, parameters: Mapping[str, Any], folder: Path | None) -> Config:
    from colcap.runners.runfile import RUN_FILE, saved_config

    if config is None and not parameters and folder and (folder / RUN_FILE).exists():
        return saved_config(folder)
    if isinstance(config, Config):
        return parse(merge(config.model_dump(exclude_unset=True), parameters))
    return parse(merge(load(Path(config)) if config else {}, parameters), source=str(config or "parameters"))


def caption(
    run: Place,
    *,
    where: str | None = None,
    caption_set: str = "default",
    root: Place | None = None,
    console: Console | None = None,
    engine: Engine | None = None,
    runner: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    **parameters: Any,
) -> Run:
    """Caption stored windows again: a further attempt beside the captions that are there, or a set of its own.

    Parameters
    ----------
    run : the run folder, here or on an object store (`s3://bucket/run`).
    where : SQL condition that chooses the windows, over the columns of `qa.select.EVERYTHING`; it sees the rows of
        `caption_set`, or of all sets where that one is new. Without it, all windows that have no such caption.
    caption_set : where the captions go.
    root, console, engine, runner, ray_address : as for `colcap.run`.
    parameters : as in `Captioning`, over the choices of the run: `max_output_tokens`, `prompt_text`, …

    Raises
    ------
    ColcapError : the condition is wrong; the weights are missing; the run is in use.

    Examples
    --------
    >>> caption("out", where="finish_reason = 'length'", max_output_tokens=1024)  # doctest: +SKIP
    Run('out')
    """
    from colcap.runners.again import caption_again
    from colcap.runners.make import Given

    given = Given(_place(root), console, engine, runner=runner, ray_address=ray_address)
    with _rewritable(run) as folder:
        caption_again(folder, given, where=where, caption_set=caption_set, parameters=parameters)
    return Run(place(run))


def preview(
    run: Place,
    *,
    where: str | None = None,
    root: Place | None = None,
    console: Console | None = None,
    runner: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    **parameters: Any,
) -> Run:
    """Make previews of stored windows again, in the place of those that are there.

    Parameters
    ----------
    run : the run folder, here or on an object store (`s3://bucket/run`).
    where : SQL condition that chooses the windows; without it, all.
    root, console, runner, ray_address : as for `colcap.run`.
    parameters : as in `Preview`, over the choices of the run.

    Raises
    ------
    ColcapError : the condition is wrong; the run is in use.

    Examples
    --------
    >>> preview("out", where="preview_status = 'error'", target_height=120)  # doctest: +SKIP
    Run('out')
    """
    from colcap.runners.again import preview_again
    from colcap.runners.make import Given

    given = Given(_place(root), console, runner=runner, ray_address=ray_address)
    with _rewritable(run) as folder:
        preview_again(folder, given, where=where, parameters=parameters)
    return Run(place(run))


def explain(
    manifest: Place,
    *,
    config: str | os.PathLike[str] | Config | None = None,
    root: Place | None = None,
    limit: int | None = None,
    sample: int = 1000,
    calibrate: bool = True,
    console: Console | None = None,
    engine: Engine | None = None,
    **parameters: Any,
) -> Explanation:
    """Say what a run of a manifest would make, write and take. Nothing is written; print the result to read it.

    Parameters
    ----------
    manifest, config, root, limit, console, engine, parameters : as for `run`.
    sample : look at so many clips at most, evenly spread, and extrapolate.
    calibrate : time media work and the engine on a few clips; without, hours are not known.

    Raises
    ------
    ColcapError : as `run` would; weights that are only missing are a note instead.
    """
    from colcap.runners.explain import explain as look

    chosen = _configuration(config, parameters, None)
    return look(
        place(manifest),
        chosen,
        root=_place(root),
        limit=limit,
        sample=sample,
        calibrate=calibrate,
        console=console,
        engine=engine,
    )


def enhance(
    run: Place,
    *,
    where: str | None = None,
    caption_set: str = "default",
    console: Console | None = None,
    runner: Literal["local", "ray"] = "local",
    ray_address: str | None = None,
    **parameters: Any,
) -> Run:
    """Let a text model rewrite the captions of a run; they are kept beside the captions.

    Parameters
    ----------
    run : the run folder, here or on an object store (`s3://bucket/run`).
    where : SQL condition that chooses windows to enhance, again if need be. Without it, what has changed.
    caption_set : whose captions.
    console, runner, ray_address : as for `colcap.run`.
    parameters : as in `Enhancement`: `model_variant`, `prompt_text`, …

    Raises
    ------
    ColcapError : there are no captions to enhance; the weights are missing; the run is in use.

    Examples
    --------
    >>> enhance("out", model_variant="tiny")  # doctest: +SKIP
    Run('out')
    """
    from colcap.runners.again import enhance_again
    from colcap.runners.make import Given

    given = Given(console=console, runner=runner, ray_address=ray_address)
    with _rewritable(run) as folder:
        enhance_again(folder, given, where=where, caption_set=caption_set, parameters=parameters)
    return Run(place(run))


def connect(run: Place, *, blobs: bool = False) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection over a run's tables; see `Run.connect`."""
    return open(run).connect(blobs=blobs)


def manifest(*sources: str | os.PathLike[str]) -> pl.LazyFrame:
    """List clips: files, folders, globs, urls of object stores; columns `clip_id`, `uri` and `num_bytes`.

    Raises
    ------
    ManifestError : a source matches nothing.

    Examples
    --------
    >>> manifest("clips/", "more/*.webm").collect()  # doctest: +SKIP
    >>> manifest("no-such-folder")
    Traceback (most recent call last):
    colcap.errors.ManifestError: no-such-folder: no such file, and no video files in or under it
    """
    from colcap.manifests import from_sources

    return from_sources(os.fspath(source) for source in sources).lazy()
