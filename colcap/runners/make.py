"""Doing what a plan says on this machine: steps, worker processes and an engine, side by side."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from rich.console import Console

from colcap import media
from colcap.config import Config
from colcap.engines.base import Engine
from colcap.engines.cores import CorePlan, confined
from colcap.errors import ConfigError
from colcap.footers import remember
from colcap.media.threads import ThreadPool
from colcap.media.workers import MediaPool
from colcap.objects import Url
from colcap.runners import choices, preflight
from colcap.runners.engine import EngineHandle, engine_cores, start_engine
from colcap.runners.feeding import caption_feeding
from colcap.runners.jobs import CaptionJob, engine_groups
from colcap.runners.local import LocalRunner, Steps
from colcap.runners.plan import Plan
from colcap.runners.progress import Progress, shown
from colcap.runners.tasks import MediaSteps, Products, Step
from colcap.steps.media import MediaStep, SourceWindowStep, WindowStep

log = logging.getLogger(__name__)

MEDIA_NICENESS: Final = 10


@dataclass(frozen=True, slots=True)
class Given:
    """What a run is given besides its choices."""

    root: Path | Url | None = None
    """Clips outside this folder become error rows."""
    console: Console | None = None
    """Where progress is shown; nowhere by default."""
    engine: Engine | None = None
    """A running engine to caption with instead of starting one; it is left running."""
    verify: bool = False
    """Compare all that is there with its checksums first; a part that is damaged is made again."""
    runner: Literal["local", "ray"] = "local"
    """Who does the work: this machine, or a Ray cluster."""
    ray_address: str | None = None
    """Of the cluster's head, `host:port`, or `auto`; None: a Ray of its own on this machine."""

    def __post_init__(self) -> None:
        if self.ray_address is not None and self.runner != "ray":
            raise ConfigError("ray_address: is for runner='ray' (--runner ray)")


def make(plan: Plan, given: Given) -> None:
    """Do what a plan says: windows, previews and captions, on media workers and an engine side by side."""
    if not plan.todo:
        return
    log.info("plan", extra={"fields": {"parts": plan.num_parts, "to_do": len(plan.todo), "clips": plan.num_clips}})
    preflight.check_disk(plan)
    config = plan.config
    lacking = {name for todo in plan.todo for name in todo.captions}
    groups = engine_groups(job for job in plan.jobs if job.caption_set in lacking)
    local = [group[0].config.captioning for group in groups if group[0].is_local]
    cores = engine_cores(config, local[0] if local else None, models=len(local))
    num_workers = config.runtime.media_workers or len(cores.media)
    progress = progress_of(plan)
    with _engines(groups, given, cores) as handles, confined(cores.media), _pool(config, cores, num_workers) as pool:
        progress.idle_share = partial(_idle_share, handles)
        num_threads = max(1, min(int(config.preview.num_cpus_per_worker), len(cores.media) // num_workers))
        steps = Steps(
            media=media_steps(plan, given.root, num_threads=num_threads),
            with_room=partial(choices.with_room, room=shared_room(plan.jobs)),
            captions=partial(caption_steps, groups, handles),
            cancel=lambda why: _close(handles),
        )
        fed = caption_feeding([group[0].config for group in groups])
        runner = LocalRunner(plan, steps, pool, progress, num_workers=num_workers, feeding=fed)
        with shown(progress, given.console):
            runner.run()
    remember(plan.run)


@contextmanager
def _engines(groups: Sequence[Sequence[CaptionJob]], given: Given, cores: CorePlan) -> Iterator[list[EngineHandle]]:
    """An engine for each group of sets, none of them started yet; those on this machine share its devices."""
    local = [group for group in groups if group[0].is_local]
    handles = []
    for group in groups:
        share = (local.index(group), len(local)) if group in local else (0, 1)
        start = partial(start_engine, group[0].config, group[0].model, cores, share)
        handles.append(EngineHandle(given.engine or start))
    try:
        yield handles
    finally:
        _close(handles)


def _close(handles: Sequence[EngineHandle]) -> None:
    """Stop the engines that were started for a run."""
    for handle in handles:
        handle.close()


def _idle_share(handles: Sequence[EngineHandle]) -> float | None:
    """The engines' idle share, on average; None before one is ready."""
    shares = [share for handle in handles if (share := handle.idle_share()) is not None]
    return sum(shares) / len(shares) if shares else None


def _pool(config: Config, cores: CorePlan, num_workers: int) -> MediaPool | ThreadPool:
    if config.runtime.media_threads:
        return ThreadPool(num_workers)
    return MediaPool(
        num_workers,
        cores=cores.media,
        timeout_s=config.limits.timeout_s,
        max_memory_bytes=config.limits.max_worker_bytes,
        # the engine's front-end shares these cores, and an engine that waits for it stands still
        initializer=os.nice,
        initargs=(MEDIA_NICENESS,),
    )


def media_steps(plan: Plan, root: Path | Url | None, *, num_threads: int) -> MediaSteps:
    """The media steps of a run; small enough to send to a worker process."""
    config = plan.config
    limits, reader = choices.media_limits(config), choices.clip_reader(config, root)

    job = min(plan.jobs, key=_room, default=None)  # all see the same frames, so the longest prompt decides on them

    def wanted(products: Products) -> media.Wanted:
        return choices.wanted(
            job.config if job else config,
            job.model if job else None,
            cut=products.cut,
            preview=products.preview,
            sample=products.sample,
            num_threads=num_threads,
        )

    return MediaSteps(
        clips=lambda products: MediaStep(wanted(products), limits, reader),
        windows=lambda products: WindowStep(wanted(products), limits),
        source_windows=lambda products: SourceWindowStep(wanted(products), limits, reader),
    )


def shared_room(jobs: Sequence[CaptionJob]) -> Callable[[str], int] | None:
    """Tokens that a row's own prompt leaves for frames in every set; None where only the engine knows."""
    contexts = [context for job in jobs if (context := choices.context(job.config, job.model))]
    return (lambda prompt: min(context.room(prompt) for context in contexts)) if contexts else None


def _room(job: CaptionJob) -> float:
    left = choices.fitted_spec(job.config, job.model).max_tokens
    return float("inf") if left is None else left


def caption_steps(groups: Sequence[Sequence[CaptionJob]], handles: Sequence[EngineHandle]) -> dict[str, Step]:
    """The caption step of each set, on the engine of its group; the engines start here, side by side."""
    for handle in handles[1:]:
        threading.Thread(target=_begin, args=(handle,), name="engine start", daemon=True).start()
    return {
        job.caption_set: choices.caption_step(job.config, job.model, handle.get())
        for group, handle in zip(groups, handles, strict=True)
        for job in group
    }


def _begin(handle: EngineHandle) -> None:
    """Start an engine; that it failed is told to whoever asks for it."""
    with suppress(Exception):
        handle.get()


def progress_of(plan: Plan) -> Progress:
    """Nothing done yet of what a plan says."""
    parts, size = len(plan.todo), plan.config.clips_per_part
    ends_short = any(todo.part == plan.num_parts - 1 for todo in plan.todo)
    missing = plan.num_parts * size - plan.num_clips if ends_short else 0
    return Progress(parts, parts * size - missing, captioning=plan.captioning)
