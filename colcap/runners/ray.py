"""Doing what a plan says on a Ray cluster, with Ray Data: the same parts, files and resume as on one machine.

    driver: parts to do ──> media tasks (CPUs) ──> caption actors (an engine each) ──> counts, back to the driver

The driver holds the run's lock and plans; a part's tables are committed by the machine that made them, so the run
folder must be on storage that all of them see, or on an object store. Parts are driven by number: Ray never reads or
ships video.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from colcap.config import Config
from colcap.errors import ColcapError, ConfigError
from colcap.flags import named
from colcap.footers import REMEMBER_EVERY, remember
from colcap.runners import preflight
from colcap.runners.enhancing import EnhanceTodo, count_captions
from colcap.runners.make import Given, progress_of
from colcap.runners.plan import Plan
from colcap.runners.progress import EnhanceProgress, Progress, shown
from colcap.runners.ray_cluster import Cluster, connected, in_turn
from colcap.runners.ray_folder import RunFolder, shared
from colcap.runners.ray_parts import Board, CaptionParts, EnhanceParts, Job, Row, media_part, media_todo

log = logging.getLogger(__name__)

PARTS_PER_ACTOR: Final = 2
"""Parts that an actor captions at once, so that the tail of one overlaps the head of the next."""

PARTS_QUEUED: Final = 3
"""Parts that are handed to an actor, those under way among them: what it loses if its machine dies."""


def make_on_ray(plan: Plan, given: Given, address: str | None) -> None:
    """Do what a plan says on a Ray cluster; see `make.make`.

    Parameters
    ----------
    plan : the run's plan; its folder is on storage that every machine of the cluster sees, or on an object store.
    given : what else the run is given; an engine cannot be among it.
    address : of the cluster; None: a Ray of its own on this machine.

    Raises
    ------
    ColcapError : no Ray, no cluster, a machine that does not see the run folder, and whatever stops a run locally.
    """
    if not plan.todo:
        return
    if given.engine is not None:
        raise ConfigError("engine: a running engine cannot go to other machines; leave it out, or use runner='local'")
    if plan.config.runtime.media_threads:
        raise ConfigError("runtime.media_threads: is for local runs only; leave it out")
    log.info("plan", extra={"fields": {"parts": plan.num_parts, "to_do": len(plan.todo), "clips": plan.num_clips}})
    preflight.check_disk(plan)
    progress = progress_of(plan)
    with connected(address) as cluster, shared(plan.run) as folder:
        cluster.check(folder)
        board = cluster.actor(Board)
        job = _job(plan, given, cluster, folder, board)
        with shown(progress, given.console):
            for row in _stream(_stages(job, plan, cluster)):
                _take(row, progress)
                if progress.counts["parts"] % REMEMBER_EVERY == 0:
                    remember(plan.run)
        remember(plan.run)
        again, by = cluster.get([board.again.remote(), board.by_node.remote()])
    said = {"nodes": cluster.num_nodes, "parts_begun_again": again, "parts_begun_by": by}
    log.info("on ray", extra={"fields": said})
    if any(again.values()):
        told = ", ".join(f"{count} of {stage}" for stage, count in again.items() if count)
        log.warning("Parts that were begun again because a machine or a worker was lost: %s", told)


def _job(plan: Plan, given: Given, cluster: Cluster, folder: RunFolder, board: Any) -> Job:
    config = plan.config
    return Job(
        plan=replace(plan, run=plan.run.absolute(), todo=()),
        root=None if given.root is None else given.root.absolute(),
        folder=folder,
        cwd=Path.cwd(),
        num_workers=config.runtime.media_workers or 1,
        engine_on_cpu=plan.captioning and plan.jobs[0].config.captioning.engine == "vllm" and not cluster.gpus,
        board=board,
    )


@dataclass(frozen=True, slots=True)
class _Stage:
    """A step over the dataset of parts."""

    work: Callable[..., Row] | type
    """A function, which runs in tasks, or a class, which runs as actors."""
    arguments: Mapping[str, Any]
    """Given to each call, or to each actor's constructor."""
    cpus: float
    gpus: int = 0
    actors: int = 0
    machines: Sequence[str] = ()
    """Where the actors go, in turn, as Ray calls them; none: where Ray finds what they need."""


def _stages(job: Job, plan: Plan, cluster: Cluster) -> Any:
    """The dataset of what is to do: its parts by number, through the stages that they need."""
    rows = [_row(todo.part, todo) for todo in plan.todo]
    data = _dataset(rows)
    if any(media_todo(todo) for todo in plan.todo):
        data = _through(data, _Stage(media_part, {"job": job}, cpus=job.num_workers))
    if plan.captioning:
        data = _through(data, _captions(job, plan, cluster))
    return data


def _row(part: int, todo: object) -> Row:
    return {"part": part, "todo": pickle.dumps(todo), "counts": {}, "failed": b""}


def _captions(job: Job, plan: Plan, cluster: Cluster) -> _Stage:
    chosen = plan.jobs[0].config
    engine, parts = chosen.captioning.engine, len(plan.todo)
    stage = _actors(chosen, engine, cluster, parts=parts, left_for_tasks=job.num_workers)
    workers = plan.config.runtime.media_workers or max(1, int(stage.cpus))
    return replace(stage, work=CaptionParts, arguments={"job": replace(job, num_workers=workers)})


def _actors(config: Config, engine: str, cluster: Cluster, *, parts: int, left_for_tasks: int) -> _Stage:
    """How many actors, no more than parts; each gets as many GPUs as hold a model, and an equal share of the CPUs."""
    gpus = config.runtime.tensor_parallel_size if engine == "vllm" and cluster.gpus else 0
    if gpus > cluster.gpus:
        name = named("runtime.tensor_parallel_size")
        raise ConfigError(f"{name}: got {gpus}; a machine of the cluster has {cluster.gpus} GPUs")
    there = cluster.num_gpu_nodes * (cluster.gpus // gpus) if gpus else cluster.num_nodes
    count = min(config.runtime.engines or there, parts)
    on_one = -(-count // (cluster.num_gpu_nodes if gpus else cluster.num_nodes))
    share = max(0.0, cluster.cpus - left_for_tasks) / on_one
    # without a GPU, Ray may put all of them on one machine: one of few CPUs has none to give to an actor
    machines = () if gpus else cluster.node_ids
    return _Stage(CaptionParts, {}, cpus=float(int(share)), gpus=gpus, actors=count, machines=machines)


def _dataset(rows: Sequence[Row]) -> Any:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.target_max_block_size = None  # a block is a part, and stays one
    context.enable_progress_bars = False
    context.issue_detectors_config.detectors = []  # they advise whoever wrote the program, not who runs it
    return ray.data.from_items(list(rows), override_num_blocks=len(rows))


def _through(data: Any, stage: _Stage) -> Any:
    """A dataset after one more stage. Its resources differ from the one's before, or Ray would fuse them."""
    import ray.data

    resources: dict[str, Any] = {"num_cpus": stage.cpus, "num_gpus": stage.gpus or None}
    if not stage.actors:
        return data.map(stage.work, fn_kwargs=dict(stage.arguments), **resources)
    pool = ray.data.ActorPoolStrategy(
        size=stage.actors,
        max_tasks_in_flight_per_actor=PARTS_QUEUED,
        max_concurrent_calls_per_actor=PARTS_PER_ACTOR,
        enable_true_multi_threading=True,
    )
    if stage.machines:
        resources["ray_remote_args_fn"] = in_turn(stage.machines)
        resources["memory"] = 1  # an actor that asks for nothing goes to any machine, whatever it is told
    return data.map(stage.work, fn_constructor_kwargs=dict(stage.arguments), compute=pool, **resources)


def _stream(data: Any) -> Iterator[Row]:
    """Parts as they are done.

    Raises
    ------
    ColcapError : what stopped a machine.
    """
    from ray.exceptions import RayError

    try:
        for row in data.iter_rows():
            if row["failed"]:
                kind, message = pickle.loads(row["failed"])
                raise kind(message)
            yield row
    except RayError as error:
        raise ColcapError(f"Ray: {str(error).strip().splitlines()[-1]}. Run the same command to go on.") from error


def _take(row: Row, progress: Progress) -> None:
    """Count a part that is done."""
    counts = {name: count for name, count in row["counts"].items() if count}
    errors = {name: count for name, count in counts.items() if name.startswith("error ")}
    progress.errors.update({name.removeprefix("error "): count for name, count in errors.items()})
    if row.get("ready_s") is not None:
        progress.mark_engine_ready(row["ready_s"])
        progress.idle_share = lambda: row["idle"]
    done = {name: count for name, count in counts.items() if name not in errors}
    progress.add(**{**done, "parts": 1})
    log.info("part done", extra={"fields": {"part": row["part"], **done}})


def enhance_on_ray(
    folder: Path, config: Config, todo: Mapping[str, Sequence[EnhanceTodo]], given: Given, address: str | None
) -> None:
    """Enhance parts of each caption set on a Ray cluster, on actors with a text engine each.

    Parameters
    ----------
    folder : the run folder.
    config : how.
    todo : by caption set, its parts.
    given, address : as for `make_on_ray`.
    """
    total = sum(count_captions(folder, name, parts) for name, parts in todo.items())
    rows = [_row(part.part, (name, part)) for name, parts in todo.items() for part in parts]
    progress = EnhanceProgress(len(rows), total, captioning=True)
    with connected(address) as cluster, shared(folder) as place:
        cluster.check(place)
        stage = _actors(config, config.enhancement.engine, cluster, parts=len(rows), left_for_tasks=0)
        arguments = {"folder": place, "config": config, "cwd": Path.cwd()}
        with shown(progress, given.console):
            for row in _stream(_through(_dataset(rows), replace(stage, work=EnhanceParts, arguments=arguments))):
                _take(row, progress)
