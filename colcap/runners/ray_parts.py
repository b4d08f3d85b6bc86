"""What a machine of a Ray cluster does for a run: the media of a part, its captions, its enhanced captions.

A part goes in as a small dictionary and comes back as one, with what was counted; video stays in the run folder. A
part that was finished by an attempt whose machine died afterwards is not made again.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from colcap import store
from colcap.config import Config
from colcap.engines.cores import CorePlan
from colcap.errors import ColcapError
from colcap.machine import Limits
from colcap.media.workers import MediaPool
from colcap.objects import Url
from colcap.runners import choices
from colcap.runners.engine import EngineHandle, engine_cores, start_engine, start_text_engine
from colcap.runners.enhancing import Enhancer, EnhanceTodo
from colcap.runners.feeding import caption_feeding, enhance_feeding
from colcap.runners.local import LocalRunner, Steps
from colcap.runners.make import MEDIA_NICENESS, caption_steps, media_steps, shared_room
from colcap.runners.plan import PREVIEW_TABLES, PartTodo, Plan, Redo
from colcap.runners.progress import EnhanceProgress, Progress
from colcap.runners.ray_cluster import own_node
from colcap.runners.ray_folder import RunFolder
from colcap.steps.media_rows import clip_of

T = TypeVar("T")

Row = dict[str, Any]
"""A part on its way through Ray: its number, what it needs (pickled by the driver), and what was counted."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every machine is told of a run. Small: no todo, no frames."""

    plan: Plan
    """The run and its choices; `todo` is empty, since each part brings its own."""
    root: Path | Url | None
    """Clips outside this folder become error rows."""
    folder: RunFolder
    """The run folder, as every machine has it; `plan.run` is the driver's."""
    cwd: Path
    """The driver's folder, which relative paths of models are meant from."""
    num_workers: int
    """Worker processes of one part's media."""
    engine_on_cpu: bool = False
    """Some of a machine's cores belong to its engine."""
    board: Any = None
    """Actor that counts the parts that are begun."""

    @contextmanager
    def begun(self, stage: str, todo: PartTodo) -> Iterator[Job]:
        """Say that a part is begun; gives the job as this machine has it, with the run folder to make the part in.

        Raises
        ------
        RunError : another writer has taken the run over.
        """
        with suppress(OSError):
            os.chdir(self.cwd)
        sets = [own.caption_set for own in self.plan.jobs]
        with self.folder.part(todo.part, sets, rewritten=todo.redo is not None) as run:
            if self.board is not None:
                self.board.begun.remote(stage, todo.part, own_node())
            yield replace(self, plan=replace(self.plan, run=run))


class Board:
    """Counts the parts that were begun, so that it can be told how many were begun twice, and by whom."""

    def __init__(self) -> None:
        self._begun: Counter[tuple[str, int]] = Counter()
        self._by: Counter[str] = Counter()

    def begun(self, stage: str, part: int, node: str) -> None:
        """Count one."""
        self._begun[stage, part] += 1
        self._by[node] += 1

    def by_node(self) -> dict[str, int]:
        """By machine, as Ray calls it, how many parts it has begun, each stage for itself."""
        return dict(self._by)

    def again(self) -> dict[str, int]:
        """By stage, how often a part was begun that had been begun before."""
        found: Counter[str] = Counter()
        for (stage, _), times in self._begun.items():
            found[stage] += times - 1
        return dict(found)


def guarded(work: Callable[[Row], Row], row: Row) -> Row:
    """Do a part; what stops a run comes back as a row, whose message the driver can raise as it is."""
    if row["failed"]:
        return row
    try:
        return work(row)
    except ColcapError as error:
        return {**row, "failed": pickle.dumps((type(error), store.as_given(str(error))))}
    except OSError as error:
        said = f"cannot go on with part {row['part']}: {store.as_given(str(error))}"
        return {**row, "failed": pickle.dumps((ColcapError, said))}


def media_todo(todo: PartTodo) -> PartTodo | None:
    """What a part needs that takes no engine; None where that is nothing."""
    redo = todo.redo and Redo(todo.redo.clips, todo.redo.previews)
    needed = todo.media or todo.previews or (redo and redo.rows)
    return replace(todo, captions={}, redo=redo) if needed else None


def caption_todo(run: Path, todo: PartTodo) -> PartTodo:
    """The captions a part needs once its media is there; of clips that were read again, all windows."""
    redo = todo.redo
    if redo is None:
        return replace(todo, media=False, previews=False)
    windows = pl.read_parquet(store.table_dir(run, "windows") / store.part_name(todo.part), columns=["window_id"])
    of_clips = {name for name in windows["window_id"] if clip_of(name) in redo.clips}
    captions = {name: redo.captions.get(name, frozenset()) | of_clips for name in todo.captions}
    return replace(todo, media=False, previews=False, redo=Redo(captions=captions))


def is_done(plan: Plan, todo: PartTodo) -> bool:
    """Whether an earlier attempt at this very work has committed it. Rows of a part made again cannot be told."""
    if todo.redo is not None:
        return False
    run, name = plan.run, store.part_name(todo.part)
    tables = (plan.media_tables if todo.media else ()) + (PREVIEW_TABLES if todo.previews else ())
    wanted = [(store.table_dir(run, table) / name, plan.fingerprint(table)) for table in tables]
    for job in plan.jobs:
        if attempt := todo.captions.get(job.caption_set):
            folder = store.table_dir(run, "captions", job.caption_set)
            wanted.append((folder / store.part_name(todo.part, attempt), job.fingerprint))
    return all((footer := store.read_footer(path)) and footer.fingerprint == made for path, made in wanted)


_pool_lock = threading.Lock()


def media_pool(num_workers: int, limits: Limits, cores: tuple[int, ...]) -> MediaPool:
    """The media workers of this process, kept from part to part: they take a second to start."""
    with _pool_lock:  # an actor's first parts arrive together
        return _media_pool(num_workers, limits, cores)


@cache
def _media_pool(num_workers: int, limits: Limits, cores: tuple[int, ...]) -> MediaPool:
    return MediaPool(
        num_workers,
        cores=cores,
        timeout_s=limits.timeout_s,
        max_memory_bytes=limits.max_worker_bytes,
        initializer=os.nice,
        initargs=(MEDIA_NICENESS,),
    )


class SharedPool:
    """A process's media workers as one part sees them: where it stops, its own tasks end, and not another part's."""

    def __init__(self, pool: MediaPool) -> None:
        self._pool = pool
        self._unfinished: set[Future[Any]] = set()

    def submit(self, fn: Callable[[pl.DataFrame], T], batch: pl.DataFrame, /) -> Future[T]:
        """See `MediaPool.submit`."""
        future = self._pool.submit(fn, batch)
        self._unfinished.add(future)
        future.add_done_callback(self._unfinished.discard)
        return future

    def kill(self) -> None:
        """End what was submitted."""
        for future in tuple(self._unfinished):
            future.cancel()


class SharedEngine(EngineHandle):
    """An engine that several parts use: where one of them fails, the others only hear that it was closed."""

    _why: BaseException | None = None

    def stop(self, why: BaseException) -> None:
        """Close it because a part failed."""
        self._why = self._why or why
        self.close()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Raise what the first part failed of in the place of what came of it."""
        try:
            yield
        except Exception as error:
            if self._why not in (None, error):
                raise self._why from error
            raise


def make_part(job: Job, todo: PartTodo, engine: SharedEngine, cores: tuple[int, ...]) -> Counter[str]:
    """Do one part as the one-machine runner would, and count what was made."""
    plan = replace(job.plan, todo=(todo,), jobs=job.plan.jobs if todo.captions else ())
    progress = Progress(1, 1, captioning=plan.captioning)
    pool = SharedPool(media_pool(job.num_workers, plan.config.limits, cores))
    steps = Steps(
        media=media_steps(plan, job.root, num_threads=1),
        with_room=partial(choices.with_room, room=shared_room(plan.jobs)),
        captions=partial(caption_steps, [plan.jobs], [engine]),
        cancel=engine.stop,
    )
    fed = caption_feeding([plan.jobs[0].config] if plan.jobs else [])
    LocalRunner(plan, steps, pool, progress, num_workers=job.num_workers, feeding=fed).run()
    return progress.counts + Counter({f"error {kind}": count for kind, count in progress.errors.items()})


def done_counts(plan: Plan, todo: PartTodo) -> Counter[str]:
    """What there is to count of a part that was done before."""
    counts: Counter[str] = Counter()
    for table in ("clips", "windows") if todo.media else ():
        path = store.table_dir(plan.run, table) / store.part_name(todo.part)
        counts[table] += pl.scan_parquet(path).select(pl.len()).collect().item()
    for name, attempt in todo.captions.items():
        path = store.table_dir(plan.run, "captions", name) / store.part_name(todo.part, attempt)
        counts["captions"] += pl.scan_parquet(path).select(pl.len()).collect().item()
    return counts


def worked(job: Job, todo: PartTodo, engine: SharedEngine, cores: tuple[int, ...]) -> Counter[str]:
    """Do a part, or see that it is done."""
    return done_counts(job.plan, todo) if is_done(job.plan, todo) else make_part(job, todo, engine, cores)


def add_counts(row: Row, counts: Mapping[str, int]) -> Row:
    """A part's row with these counts besides those that it has."""
    return {**row, "counts": dict(Counter(row["counts"]) + Counter(counts))}


def media_part(row: Row, job: Job) -> Row:
    """The media of a part, on cores that no engine has."""
    return guarded(partial(_media_part, job=job), row)


def _media_part(row: Row, job: Job) -> Row:
    todo = media_todo(pickle.loads(row["todo"]))
    if todo is None:
        return row
    with job.begun("media", todo) as here:
        return add_counts(row, worked(here, todo, SharedEngine(None), media_cores(job)))


def media_cores(job: Job) -> tuple[int, ...]:
    """Cores of this machine that are left by its engine, which takes the first ones: see `plan_cores`."""
    every = tuple(sorted(os.sched_getaffinity(0)))
    if not job.engine_on_cpu:
        return every
    return every[job.plan.config.runtime.engine_cores or max(1, len(every) // 2) :] or every


def own_machine(config: Config) -> Config:
    """The choices as one actor sees them: it has one engine, on the devices that Ray gave it."""
    return config.model_copy(update={"runtime": config.runtime.model_copy(update={"engines": 1})})


class CaptionParts:
    """An actor with an engine, which captions parts from their stored windows."""

    def __init__(self, job: Job) -> None:
        with suppress(OSError):
            os.chdir(job.cwd)
        # weights are where this machine has them, and are fetched once for all its actors: see models/files.py
        jobs = tuple(
            replace(own, config=(mine := own_machine(own.config)), model=choices.resolve_model(mine))
            for own in job.plan.jobs
        )
        self._job = replace(job, plan=replace(job.plan, jobs=jobs, config=own_machine(job.plan.config)))
        self._cores: CorePlan = engine_cores(jobs[0].config, jobs[0].config.captioning)
        self._engine = SharedEngine(partial(start_engine, jobs[0].config, jobs[0].model, self._cores))

    def __call__(self, row: Row) -> Row:
        """Caption a part."""
        return guarded(self._caption, row)

    def _caption(self, row: Row) -> Row:
        wanted: PartTodo = pickle.loads(row["todo"])
        if not wanted.captions:
            return row
        with self._engine.told(), self._job.begun("captions", wanted) as here:
            counts = worked(here, caption_todo(here.plan.run, wanted), self._engine, self._cores.media)
        counts["windows"] = 0 if media_todo(wanted) else counts["windows"]  # counted when they were made
        engine = self._engine.running
        said = {"ready_s": engine.stats.ready_s, "idle": engine.stats.idle_share} if engine else {}
        return {**add_counts(row, counts), **said}


class EnhanceParts:
    """An actor with a text engine, which enhances the captions of parts."""

    def __init__(self, folder: RunFolder, config: Config, cwd: Path) -> None:
        with suppress(OSError):
            os.chdir(cwd)
        self._folder, self._config = folder, own_machine(config)
        model = choices.resolve_text_model(self._config)
        cores = engine_cores(self._config, self._config.enhancement)
        self._engine = SharedEngine(partial(start_text_engine, self._config, model, cores))

    def __call__(self, row: Row) -> Row:
        """Enhance the captions of one set of a part."""
        return guarded(self._enhance, row)

    def _enhance(self, row: Row) -> Row:
        caption_set, todo = pickle.loads(row["todo"])
        assert isinstance(todo, EnhanceTodo)
        with self._engine.told(), self._folder.part(todo.part, [caption_set], rewritten=False) as run:
            return add_counts(row, self._enhanced(run, caption_set, todo))

    def _enhanced(self, run: Path, caption_set: str, todo: EnhanceTodo) -> Counter[str]:
        config = self._config.model_copy(update={"caption_set": caption_set})
        progress = EnhanceProgress(1, 1, captioning=True)
        enhancer = Enhancer(
            run,
            caption_set,
            partial(choices.enhance_step, config, self._engine.get),
            progress,
            feeding=enhance_feeding(config),
            cancel=self._engine.stop,
        )
        enhancer.run([todo])
        return progress.counts + Counter({f"error {kind}": count for kind, count in progress.errors.items()})
