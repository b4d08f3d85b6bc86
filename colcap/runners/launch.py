"""From a manifest and a configuration to a running plan: checks, steps, workers, engine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console

from colcap import manifests, media, store
from colcap.config import Config
from colcap.engines.base import Engine
from colcap.engines.cores import confined, plan_cores
from colcap.manifests import ClipReader
from colcap.media.workers import MediaPool
from colcap.models.weights import ResolvedModel
from colcap.runners import choices, preflight
from colcap.runners.engine import EngineHandle, check_engine, start_engine, start_text_engine
from colcap.runners.enhancing import Enhancer, count_captions, plan_enhancement, require_captions
from colcap.runners.local import WINDOWS_IN_FLIGHT, LocalRunner, Steps
from colcap.runners.plan import PartTodo, Plan, make_plan, prepare, writing
from colcap.runners.progress import EnhanceProgress, Progress, shown
from colcap.steps.media import MediaStep, WindowStep

MEDIA_NICENESS: Final = 10


@dataclass(frozen=True, slots=True)
class Models:
    """The weights a run needs; None where a step is off."""

    vision: ResolvedModel | None
    text: ResolvedModel | None


def run(
    source: Path,
    folder: Path,
    config: Config,
    *,
    root: Path | None = None,
    limit: int | None = None,
    console: Console | None = None,
    engine: Engine | None = None,
) -> None:
    """Run a manifest on this machine, or go on with a run that was stopped.

    Parameters
    ----------
    source : the manifest.
    folder : the run folder.
    root : clips outside this folder become error rows.
    limit : take only the first clips of the manifest.
    console : where progress is shown; nowhere by default.
    engine : a running engine to caption with instead of starting one; it is left running.

    Raises
    ------
    ColcapError : what is wrong and what to do; see errors.py.
    """
    console = console or Console(quiet=True)
    manifests.open_parquet(source).close()  # before a folder is made for it
    models = _check(config, own_engine=engine is None)
    with writing(folder):
        config = prepare(source, folder, config, limit=limit)
        wanted = choices.caption_fingerprint(config, models.vision) if models.vision else None
        plan = make_plan(folder, config, caption_fingerprint=wanted)
        if plan.todo:
            preflight.check_disk(plan)
            _make(plan, models.vision, root, console, engine)
        if models.text:
            _enhance(folder, config, models.text, console)


def enhance(folder: Path, config: Config, *, console: Console | None = None) -> None:
    """Enhance the captions of a run that is there; what is enhanced already, and unchanged, is left alone.

    Raises
    ------
    ColcapError : no captions of that set; the text model's weights are missing; another writer.
    """
    require_captions(folder, config.caption_set)
    model = choices.resolve_text_model(config)
    check_engine(fp8=config.enhancement.fp8)
    with writing(folder):
        store.recover(folder)
        _enhance(folder, config, model, console or Console(quiet=True))


def _check(config: Config, *, own_engine: bool) -> Models:
    """Refuse before the first clip is read what would fail after the last."""
    preflight.check_encoders(config)
    models = Models(
        choices.resolve_model(config) if config.generate_captions else None,
        choices.resolve_text_model(config) if config.enhance_captions else None,
    )
    if models.vision and own_engine:
        check_engine(fp8=config.captioning.fp8)
    if models.text:
        check_engine(fp8=config.enhancement.fp8)
    return models


def _make(plan: Plan, model: ResolvedModel | None, root: Path | None, console: Console, engine: Engine | None) -> None:
    """Windows, previews and captions, on media workers and an engine side by side."""
    config = plan.config
    captioning = any(todo.captions for todo in plan.todo)
    cores = plan_cores(num_engine_cores=config.runtime.engine_cores if captioning else 0)
    num_workers = config.runtime.media_workers or len(cores.media)
    progress = _progress(plan, captioning=captioning)
    handle = EngineHandle(engine or partial(start_engine, config, _known(model), cores) if captioning else None)
    progress.idle_share = handle.idle_share
    steps = _steps(plan, model, root, handle, num_threads=_threads(config, len(cores.media), num_workers))
    pool = MediaPool(
        num_workers,
        cores=cores.media,
        timeout_s=config.limits.timeout_s,
        max_memory_bytes=config.limits.max_worker_bytes,
        # the engine's front-end shares these cores, and an engine that waits for it stands still
        initializer=os.nice,
        initargs=(MEDIA_NICENESS,),
    )
    captioners = num_captioners(config)
    try:
        with confined(cores.media), pool, shown(progress, console):
            LocalRunner(plan, steps, pool, progress, num_workers=num_workers, captioners=captioners).run()
    finally:
        handle.close()


def _steps(
    plan: Plan, model: ResolvedModel | None, root: Path | None, handle: EngineHandle, *, num_threads: int
) -> Steps:
    config = plan.config
    limits, reader = choices.media_limits(config), ClipReader(root=root, max_bytes=config.limits.max_bytes)

    def wanted(todo: PartTodo) -> media.Wanted:
        sample = bool(todo.captions)
        return choices.wanted(
            config, model, cut=todo.media, preview=todo.previews, sample=sample, num_threads=num_threads
        )

    context = None if model is None else choices.context(config, model)
    return Steps(
        media=lambda todo: MediaStep(wanted(todo), limits, reader),
        windows=lambda todo: WindowStep(wanted(todo), limits),
        with_room=partial(choices.with_room, room=context.room if context else None),
        caption=lambda: choices.caption_step(config, _known(model), handle.get()),
        cancel=handle.close,
    )


def _enhance(folder: Path, config: Config, model: ResolvedModel, console: Console) -> None:
    """Enhanced captions, on an engine of their own; the one that captioned is closed by now."""
    todo = plan_enhancement(folder, config.caption_set, choices.enhancement_facts(config, model))
    if not todo:
        return
    cores = plan_cores(num_engine_cores=config.runtime.engine_cores)
    progress = EnhanceProgress(len(todo), count_captions(folder, config.caption_set, todo), captioning=True)
    handle = EngineHandle(partial(start_text_engine, config, model, cores))
    progress.idle_share = handle.idle_share
    enhancer = Enhancer(
        folder,
        config.caption_set,
        partial(choices.enhance_step, config, handle.get),
        progress,
        batch_size=config.enhancement.model_batch_size,
        cancel=handle.close,
    )
    try:
        with shown(progress, console):
            enhancer.run(todo)
    finally:
        handle.close()


def num_captioners(config: Config) -> int:
    """How many batches are in flight at once: at least two, so that the tail of one overlaps the head of the next."""
    return max(2, min(8, -(-WINDOWS_IN_FLIGHT // config.captioning.caption_batch_size)))


def _known(model: ResolvedModel | None) -> ResolvedModel:
    assert model is not None  # captions are wanted, so weights were resolved
    return model


def _threads(config: Config, num_cores: int, num_workers: int) -> int:
    return max(1, min(int(config.preview.num_cpus_per_worker), num_cores // num_workers))


def _progress(plan: Plan, *, captioning: bool) -> Progress:
    parts, size = len(plan.todo), plan.config.clips_per_part
    ends_short = any(todo.part == plan.num_parts - 1 for todo in plan.todo)
    missing = plan.num_parts * size - plan.num_clips if ends_short else 0
    return Progress(parts, parts * size - missing, captioning=captioning)
