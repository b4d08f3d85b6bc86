"""Plans for single rows: windows that an SQL condition finds, and rows that failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from colcap import store
from colcap.qa import select
from colcap.runners.plan import PREVIEW_TABLES, Attempts, PartTodo, Plan, Redo, attempts, new_attempt


@dataclass(frozen=True, slots=True)
class Selection:
    """Windows that a condition found."""

    windows: Mapping[int, frozenset[str]]
    """By part."""
    unchanged: int = 0
    """Others that it found, whose caption would be the very same: they are left alone."""

    @property
    def count(self) -> int:
        """How many windows."""
        return sum(len(names) for names in self.windows.values())

    @property
    def ids(self) -> frozenset[str]:
        """Their ids."""
        return frozenset().union(*self.windows.values())


def select_windows(run: Path, where: str | None, *, caption_set: str = "", fingerprint: str = "") -> Selection:
    """Windows for which a condition holds; see `qa.select.windows_where`.

    Windows whose bytes could not be made are never among them.
    """
    found = select.windows_where(run, where, caption_set=caption_set, fingerprint=fingerprint)
    return Selection(_by_part(found.filter(~pl.col("is_there"))), unchanged=int(found["is_there"].sum()))


def _by_part(rows: pl.DataFrame) -> dict[int, frozenset[str]]:
    """`window_id` of rows, by their `part`."""
    found: dict[int, set[str]] = defaultdict(set)
    for name, part in rows.select("window_id", "part").iter_rows():
        found[part].add(name)
    return {part: frozenset(names) for part, names in found.items()}


def caption_todo(plan: Plan, selection: Selection) -> tuple[PartTodo, ...]:
    """Caption these windows again, in the set of the plan's one job."""
    (job,) = plan.jobs
    there = attempts(plan.run, "captions", job.caption_set)
    return tuple(
        PartTodo(
            part,
            captions={job.caption_set: new_attempt(there.get(part, []))},
            redo=Redo(captions={job.caption_set: names}),
        )
        for part, names in sorted(selection.windows.items())
    )


def preview_todo(plan: Plan, selection: Selection) -> tuple[PartTodo, ...]:
    """Make the previews of these windows again; a part that has none yet gets all of them."""
    made = {file.part for file in store.list_parts(store.table_dir(plan.run, PREVIEW_TABLES[0]))}
    return tuple(
        PartTodo(part, redo=Redo(previews=names)) if part in made else PartTodo(part, previews=True)
        for part, names in sorted(selection.windows.items())
    )


@dataclass(slots=True)
class _Failed:
    """What failed in one part."""

    clips: set[str] = field(default_factory=set)
    previews: set[str] = field(default_factory=set)
    captions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def redo(self) -> Redo:
        captions = {name: frozenset(windows) for name, windows in self.captions.items()}
        return Redo(frozenset(self.clips), frozenset(self.previews), captions)


def failed_rows(plan: Plan, where: str | None, *, again: bool = False) -> dict[int, Redo]:
    """By part, the rows that failed and that are to be made again, but for those that the plan makes anyway.

    Parameters
    ----------
    plan : with what is unfinished of it.
    where : a condition over `qa.select.FAILURES`' columns.
    again : clips and previews have been tried again just now; only captions are left.
    """
    unfinished = {todo.part: todo for todo in plan.todo}
    sets = {job.caption_set for job in plan.jobs}
    failed: dict[int, _Failed] = defaultdict(_Failed)
    for table, part, clip_id, window_id, caption_set in _failures(plan.run, where):
        if _is_made(unfinished.get(part), table, caption_set):
            continue
        if table in ("clips", "windows") and not again:
            failed[part].clips.add(clip_id)
        elif table == "previews" and not again:
            failed[part].previews.add(window_id)
        elif table == "captions" and caption_set in sets:  # other sets' choices are not known here
            failed[part].captions[caption_set].add(window_id)
    for caption_set in sets:
        for window_id, part in select.without_caption(plan.run, caption_set).iter_rows():
            if not _is_made(unfinished.get(part), "captions", caption_set):
                failed[part].captions[caption_set].add(window_id)
    return {part: failed[part].redo() for part in sorted(failed)}


def _is_made(todo: PartTodo | None, table: str, caption_set: str) -> bool:
    """Whether what a part needs anyway has the rows of a table in it."""
    if todo is None:
        return False
    made = {"previews": todo.previews, "captions": caption_set in todo.captions}
    return todo.media or made.get(table, False)


def retry_todo(plan: Plan, failed: Mapping[int, Redo]) -> tuple[PartTodo, ...]:
    """Make again what failed: clips and previews as rows of their parts, captions as further attempts.

    A clip that is read again is captioned again in all its windows: it may be another by now.
    """
    there = {job.caption_set: attempts(plan.run, "captions", job.caption_set) for job in plan.jobs}
    return tuple(_retry(there, part, redo) for part, redo in failed.items())


def _failures(run: Path, where: str | None) -> Iterable[tuple[str, int, str, str, str]]:
    columns = ("table_name", "part", "clip_id", "window_id", "caption_set")
    return select.failures(run, where).select(columns).iter_rows()


def _retry(there: Mapping[str, Attempts], part: int, redo: Redo) -> PartTodo:
    wanted = there if redo.clips else redo.captions
    return PartTodo(part, captions={name: new_attempt(there[name].get(part, [])) for name in wanted}, redo=redo)


def failed_enhancements(run: Path, where: str | None, caption_set: str) -> frozenset[str]:
    """Windows of a set whose enhancement failed and for which the condition holds."""
    found = select.failures(run, where).filter(table_name="enhanced", caption_set=caption_set)
    return frozenset(found["window_id"])
