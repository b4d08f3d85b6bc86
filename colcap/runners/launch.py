"""The verbs that write a run: what they refuse beforehand, and what they plan."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from colcap import store
from colcap.config import Captioning, Config, Enhancement
from colcap.manifests import check_columns, open_manifest
from colcap.models.weights import ResolvedModel
from colcap.objects import Url
from colcap.runners import choices, preflight
from colcap.runners.engine import (
    EngineHandle,
    check_devices,
    check_engine,
    engine_cores,
    models_at_once,
    start_text_engine,
)
from colcap.runners.enhancing import Enhancer, EnhanceTodo, count_captions, plan_enhancement, require_captions
from colcap.runners.feeding import enhance_feeding
from colcap.runners.jobs import CaptionJob, caption_jobs, engine_groups, passes
from colcap.runners.make import Given, make
from colcap.runners.plan import PartTodo, Plan, Redo, empty_plan, unfinished
from colcap.runners.progress import EnhanceProgress, shown
from colcap.runners.runfile import prepare, saved_config, writing
from colcap.runners.runlog import logged
from colcap.runners.selecting import (
    Selection,
    caption_todo,
    failed_enhancements,
    failed_rows,
    preview_todo,
    retry_todo,
)
from colcap.soundness import damaged_files

log = logging.getLogger(__name__)


def run(
    source: Path | Url,
    folder: Path,
    config: Config,
    given: Given,
    *,
    limit: int | None = None,
    retry: str | None = None,
) -> None:
    """Run a manifest on this machine, or go on with a run that was stopped.

    Parameters
    ----------
    source : the manifest: a Parquet file, a folder of them or a glob pattern.
    folder : the run folder.
    config : the choices.
    given : what else the run is given.
    limit : take only the first clips of the manifest.
    retry : make rows again that failed and for which this SQL condition holds; see `qa.select.FAILURES`.

    Raises
    ------
    ColcapError : what is wrong and what to do; see errors.py.
    """
    check_columns(open_manifest(source).schema, source)  # before weights are fetched and a folder is made for it
    jobs = check(config, given)
    text = _text_model(config, given) if config.enhance_captions else None
    with writing(folder), logged(folder, "run", given.console):
        config = prepare(source, folder, config, limit=limit)
        if given.verify:
            _drop_damaged(folder)
        for number, together in enumerate(_passes(jobs, config, given) or [()]):
            plan = empty_plan(folder, config, together)
            plan = replace(plan, todo=unfinished(plan))
            failed = {} if retry is None else failed_rows(plan, retry, again=number > 0)
            _make_with_failed(plan, failed, given)
        if text:
            enhance_sets(folder, config, text, given)
            if retry is not None:
                _retry_enhancements(folder, config, text, given, retry)


def _passes(jobs: Sequence[CaptionJob], config: Config, given: Given) -> list[tuple[CaptionJob, ...]]:
    """Sets that are made together. An actor of Ray has one engine."""
    return engine_groups(jobs) if given.runner == "ray" else passes(jobs, models_at_once=models_at_once(config))


def _make_with_failed(plan: Plan, failed: Mapping[int, Redo], given: Given) -> None:
    """Make what is unfinished, and failed rows again; those of a part that has yet to be finished come after that."""
    busy = {todo.part for todo in plan.todo}
    at_once = {part: redo for part, redo in failed.items() if part not in busy}
    later = {part: redo for part, redo in failed.items() if part in busy}
    _make(replace(plan, todo=plan.todo + retry_todo(plan, at_once)), given)
    if later:
        _make(replace(plan, todo=retry_todo(plan, later)), given)


def _make(plan: Plan, given: Given) -> None:
    if given.runner == "local":
        make(plan, given)
        return
    from colcap.runners.ray import make_on_ray  # not installed everywhere

    make_on_ray(plan, given, given.ray_address)


def _drop_damaged(folder: Path) -> None:
    """Remove part files that are not what was written: what is missing is made again."""
    for path in damaged_files(folder):
        log.warning("damaged, made again: %s", path)
        if mirror := store.mirror_of(path):
            mirror.remove(path)
        else:
            path.unlink()


def caption(folder: Path, config: Config, given: Given, selection: Selection | None) -> None:
    """Caption stored windows again, as further attempts or as a new set; the sources are read only where bytes lack.

    Parameters
    ----------
    folder : the run folder.
    config : the run's choices, with those of the captions to make.
    given : what else the run is given.
    selection : the windows; None takes all of the run that have no caption of the kind.
    """
    (job,) = check(config, given)
    with writing(folder), logged(folder, "caption", given.console):
        store.recover(folder)
        plan = empty_plan(folder, saved_config(folder), [job])
        _make(replace(plan, todo=uncaptioned(plan) if selection is None else caption_todo(plan, selection)), given)


def uncaptioned(plan: Plan) -> tuple[PartTodo, ...]:
    """Parts whose windows are there and whose captions are not, or are others."""
    return tuple(replace(part, previews=False) for part in unfinished(plan) if part.captions and not part.media)


def preview(folder: Path, config: Config, given: Given, selection: Selection) -> None:
    """Make the previews of stored windows again, as rows of their parts."""
    preflight.check_encoders(config)
    with writing(folder), logged(folder, "preview", given.console):
        store.recover(folder)
        plan = empty_plan(folder, config)
        _make(replace(plan, todo=preview_todo(plan, selection)), given)


def enhance(folder: Path, config: Config, given: Given, selection: Selection | None = None) -> None:
    """Enhance the captions of a run that is there; what is enhanced already, and unchanged, is left alone.

    Parameters
    ----------
    folder : the run folder.
    config : which sets, and how.
    given : what else the run is given.
    selection : these windows and no others, enhanced already or not.

    Raises
    ------
    ColcapError : no captions of that set; the text model's weights are missing; another writer.
    """
    for caption_set in config.caption_sets:
        require_captions(folder, caption_set)
    model = _text_model(config, given)
    with writing(folder), logged(folder, "enhance", given.console):
        store.recover(folder)
        enhance_sets(folder, config, model, given, windows=selection.ids if selection else None)


def _text_model(config: Config, given: Given) -> ResolvedModel:
    model = choices.resolve_text_model(config)
    _check_engine(config, config.enhancement, given)
    return model


def _check_engine(config: Config, chosen: Captioning | Enhancement, given: Given) -> None:
    check_engine(chosen)
    if chosen.engine == "vllm" and given.runner == "local":  # Ray knows what its machines have
        check_devices(config)


def _retry_enhancements(folder: Path, config: Config, model: ResolvedModel, given: Given, where: str) -> None:
    for caption_set in config.caption_sets:
        if failed := failed_enhancements(folder, where, caption_set):
            one = config.model_copy(update={"caption_set": caption_set, "captions": ()})
            enhance_sets(folder, one, model, given, windows=failed)


def check(config: Config, given: Given) -> list[CaptionJob]:
    """Refuse before the first clip is read what would fail after the last; returns the caption sets to make."""
    preflight.check_encoders(config)
    jobs = caption_jobs(config) if config.generate_captions else []
    if given.engine is None:
        for job in jobs:
            _check_engine(config, job.config.captioning, given)
    return jobs


def enhance_sets(
    folder: Path,
    config: Config,
    model: ResolvedModel,
    given: Given,
    *,
    windows: frozenset[str] | None = None,
) -> None:
    """Enhanced captions of each set, on an engine of their own; the one that captioned is closed by now."""
    facts = choices.enhancement_facts(config, model)
    todo = {name: plan_enhancement(folder, name, facts, windows=windows) for name in config.caption_sets}
    if not any(todo.values()):
        return
    if given.runner == "ray":
        from colcap.runners.ray import enhance_on_ray

        enhance_on_ray(folder, config, todo, given, given.ray_address)
        return
    cores = engine_cores(config, config.enhancement)
    handle = EngineHandle(partial(start_text_engine, config, model, cores))
    try:
        for caption_set, parts in todo.items():
            _enhance_set(folder, config.model_copy(update={"caption_set": caption_set}), parts, handle, given.console)
    finally:
        handle.close()


def _enhance_set(
    folder: Path, config: Config, todo: Sequence[EnhanceTodo], handle: EngineHandle, console: Console | None
) -> None:
    if not todo:
        return
    total = count_captions(folder, config.caption_set, todo)
    progress = EnhanceProgress(len(todo), total, captioning=True, idle_share=handle.idle_share)
    enhancer = Enhancer(
        folder,
        config.caption_set,
        partial(choices.enhance_step, config, handle.get),
        progress,
        feeding=enhance_feeding(config),
        cancel=lambda why: handle.close(),
    )
    with shown(progress, console):
        enhancer.run(todo)
