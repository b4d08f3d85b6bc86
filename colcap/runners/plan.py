"""What a run has to do: its frozen manifest, its choices, and the parts that are not finished yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from colcap import manifests, store
from colcap.config import Config
from colcap.errors import RunError, printable
from colcap.fingerprints import fingerprint, media_facts, preview_facts
from colcap.footers import Part, read_footers
from colcap.runners.jobs import CaptionJob
from colcap.runners.runfile import read_run_file, saved_config
from colcap.steps.media_rows import clip_of

MEDIA_TABLES: Final = ("clips", "windows", "windows_mp4")
PREVIEW_TABLES: Final = ("previews", "previews_webp")


@dataclass(frozen=True, slots=True)
class Redo:
    """Rows of a committed part that are made again; all others stay as they are."""

    clips: frozenset[str] = frozenset()
    """Clips to read from their sources again, with all that comes of them."""
    previews: frozenset[str] = frozenset()
    """Windows, by id, whose preview is made again."""
    captions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By caption set, windows to caption again."""

    @property
    def rows(self) -> int:
        """How many rows are made again."""
        return len(self.clips) + len(self.previews) + sum(len(windows) for windows in self.captions.values())


@dataclass(frozen=True, slots=True)
class PartTodo:
    """What one part still needs."""

    part: int
    media: bool = False
    """Clips, windows and their bytes have to be made from the sources."""
    previews: bool = False
    """All its previews have to be made."""
    captions: Mapping[str, int] = field(default_factory=dict)
    """Of each caption set to make, the number the attempt will have."""
    redo: Redo | None = None
    """Only these rows; None: all of them."""

    def sets_for(self, window_id: str) -> list[str]:
        """The caption sets that need this window captioned."""
        redo = self.redo
        if redo is None or clip_of(window_id) in redo.clips:
            return list(self.captions)
        return [name for name in self.captions if window_id in redo.captions.get(name, ())]


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, what is wanted of it, and what is left to do."""

    run: Path
    config: Config
    num_clips: int
    jobs: tuple[CaptionJob, ...] = ()
    """Caption sets to make, from the same frames on the same engine; none where captions are not wanted."""
    todo: tuple[PartTodo, ...] = ()

    @property
    def num_parts(self) -> int:
        """Parts of the run, finished or not."""
        return -(-self.num_clips // self.config.clips_per_part)

    @property
    def media_tables(self) -> tuple[str, ...]:
        """Tables that are made with the windows."""
        return MEDIA_TABLES if self.config.store_mp4 else ("clips", "windows")

    @property
    def captioning(self) -> bool:
        """Something has to be captioned."""
        return any(todo.captions for todo in self.todo)

    def fingerprint(self, table: str) -> str:
        """Hash of the choices that decide a media or preview table's rows."""
        facts = media_facts(self.config)
        if table in MEDIA_TABLES:
            return fingerprint(facts)
        windows = {name: value for name, value in facts.items() if name != "store_mp4"}
        return fingerprint({**windows, **preview_facts(self.config)})


def empty_plan(run: Path, config: Config, jobs: Iterable[CaptionJob] = ()) -> Plan:
    """A run with nothing to do yet. Raises RunError where its copy of the manifest is damaged."""
    try:
        num_clips = pq.read_metadata(run / manifests.FROZEN).num_rows
    except (OSError, pa.ArrowException) as error:
        said = printable(str(error))[:200]
        raise RunError(f"{run}: its {manifests.FROZEN} cannot be read ({said}). Use a new run folder.") from None
    return Plan(run, config, num_clips, tuple(jobs))


def unfinished(plan: Plan) -> tuple[PartTodo, ...]:
    """Compare every part with what is wanted; a damaged or missing file is work to do."""
    known = _Known(plan)
    todo = (_todo(part, plan, known) for part in range(plan.num_parts))
    return tuple(part for part in todo if part.media or part.previews or part.captions)


class _Known:
    """The files a run has, with their footers, listed once."""

    def __init__(self, plan: Plan) -> None:
        tables = {table: store.table_dir(plan.run, table) for table in (*plan.media_tables, *PREVIEW_TABLES)}
        sets = {job.caption_set: store.table_dir(plan.run, "captions", job.caption_set) for job in plan.jobs}
        found = read_footers(plan.run, [*tables.values(), *sets.values()])
        self._made_by = {
            table: {one.file.part: one.footer.fingerprint for one in found[folder] if one.footer and one.is_its_own}
            for table, folder in tables.items()
        }
        self._wanted = {table: plan.fingerprint(table) for table in tables}
        self.captions = {name: _attempts(found[folder]) for name, folder in sets.items()}

    def has(self, part: int, tables: Sequence[str]) -> bool:
        """Whether all these tables have a sound file of this part made with the choices that are wanted."""
        return all(self._made_by[table].get(part) == self._wanted[table] for table in tables)


Attempts = dict[int, list[tuple[int, store.Footer]]]
"""Of each part, its sound attempts, oldest first: number and footer."""


def attempts(run: Path, table: str, caption_set: str) -> Attempts:
    """The sound attempts of one caption set: at captions, or at enhanced ones."""
    folder = store.table_dir(run, table, caption_set)
    return _attempts(read_footers(run, [folder])[folder])


def _attempts(parts: Iterable[Part]) -> Attempts:
    found: Attempts = {}
    for one in parts:
        if one.footer:
            found.setdefault(one.file.part, []).append((one.file.attempt, one.footer))
    return found


def newest_whole(there: Sequence[tuple[int, store.Footer]]) -> store.Footer | None:
    """The footer that says what a part's rows are now, hand-picked ones apart."""
    return next((footer for _, footer in reversed(there) if footer.scope != "selection"), None)


def new_attempt(there: Sequence[tuple[int, store.Footer]]) -> int:
    """The number that a further attempt would have."""
    return 1 + max((attempt for attempt, _ in there), default=0)


def _todo(part: int, plan: Plan, known: _Known) -> PartTodo:
    captions = {}
    for job in plan.jobs:
        there = known.captions[job.caption_set].get(part, [])
        whole = newest_whole(there)
        if whole is None or whole.fingerprint != job.fingerprint:
            captions[job.caption_set] = new_attempt(there)
    return PartTodo(
        part,
        media=not known.has(part, plan.media_tables),
        previews=plan.config.generate_previews and not known.has(part, PREVIEW_TABLES),
        captions=captions,
    )


def progress_of(run: Path) -> tuple[int, int]:
    """How many of a run's parts have a file in every table that its last start wanted, and how many there are."""
    said, config = read_run_file(run), saved_config(run)
    tables = [*(MEDIA_TABLES if config.store_mp4 else MEDIA_TABLES[:2])]
    tables += PREVIEW_TABLES if config.generate_previews else ()
    folders = [store.table_dir(run, table) for table in tables]
    folders += [
        store.table_dir(run, table, caption_set)
        for table, wanted in (("captions", config.generate_captions), ("enhanced", config.enhance_captions))
        for caption_set in config.caption_sets
        if wanted
    ]
    there = [{file.part for file in store.list_parts(folder)} for folder in folders]
    return len(set.intersection(*there)), -(-said["run"]["clips"] // said["run"]["clips_per_part"])
