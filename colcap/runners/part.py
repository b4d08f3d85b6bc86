"""A part in hand: what is made of it until it is committed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from colcap import manifests, store
from colcap.prompts import unindented
from colcap.runners.plan import PREVIEW_TABLES, PartTodo, Plan
from colcap.runners.rewrite import Rewrite
from colcap.steps.media import clip_rows, table_rows
from colcap.steps.media_rows import clip_of


@dataclass(slots=True, eq=False)
class OpenPart:
    """A part's rows on their way to its tables. Media rows come first, from one thread; captions from several."""

    plan: Plan
    todo: PartTodo
    extras: pl.DataFrame
    """The manifest's own further columns, with clip_id."""
    commit: store.PartCommit | Rewrite | None
    """Its clips, windows and previews; None where only captions are missing."""
    prompts: dict[str, str]
    """Clip id -> the row's own prompt."""
    complete: bool = False
    """All its windows are known; only captions may still be under way."""
    _wanted: Counter[str] = field(default_factory=Counter)
    _captions: dict[str, list[pl.DataFrame]] = field(default_factory=lambda: defaultdict(list))
    _made: list[pl.DataFrame] = field(default_factory=list)
    _made_bytes: int = 0

    def add_media(self, made: pl.DataFrame) -> None:
        """Keep media rows. They are taken apart by the row group: for every clip alone it costs a small decode."""
        self._made.append(made)
        self._made_bytes += int(made.estimated_size())
        if self._made_bytes >= store.ROW_GROUP_BYTES:
            self._write()

    def samples(self, made: pl.DataFrame) -> list[tuple[list[str], pl.DataFrame]]:
        """The windows to caption of some media rows, one a row, with the sets that want them."""
        samples = table_rows(made, "samples")
        clip_ids = [clip_of(window_id) for window_id in samples["window_id"]]
        own = pl.Series("prompt_text", [self.prompts.get(clip_id) for clip_id in clip_ids], dtype=pl.String)
        sets = [self.todo.sets_for(window_id) for window_id in samples["window_id"]]
        self._wanted.update(name for names in sets for name in names)
        rows = samples.hstack([own]).iter_slices(1)
        return [(names, row) for names, row in zip(sets, rows, strict=True) if names]

    def add_captions(self, caption_set: str, rows: pl.DataFrame) -> None:
        """Keep the caption rows of one window: one, and one more for each time it was asked again."""
        self._captions[caption_set].append(rows)

    @property
    def is_captioned(self) -> bool:
        """Every window that was to be captioned has been."""
        return self.complete and all(len(self._captions[name]) >= count for name, count in self._wanted.items())

    def own_prompts(self, batch: pl.DataFrame) -> list[str | None]:
        """The prompts that a batch's clips, or its windows' clips, bring themselves."""
        return [self.prompts.get(clip_id) for clip_id in batch["clip_id"]]

    def commit_media(self) -> dict[str, int]:
        """Make clips, windows and previews visible; returns rows per table."""
        self._write()
        return self.commit.commit() if self.commit else {}

    def commit_captions(self) -> None:
        """Make the part's captions visible, set by set."""
        for job in self.plan.jobs:
            attempt = self.todo.captions.get(job.caption_set)
            rows = self._captions.pop(job.caption_set, [])
            if attempt is not None and (rows or self.todo.redo is None):
                scope = "part" if self.todo.redo is None else "selection"
                number = Attempt(self.plan.run, "captions", job.caption_set, self.todo.part, attempt)
                number.commit(rows, fingerprint=job.fingerprint, scope=scope)

    def _write(self) -> None:
        if self.commit and self._made:
            made = pl.concat(self._made)
            for table in self.commit.tables:
                self.commit.append(table, self._rows(made, table))
        self._made, self._made_bytes = [], 0

    def _rows(self, made: pl.DataFrame, table: str) -> pl.DataFrame:
        if table == "clips":
            return clip_rows(made).join(self.extras, on="clip_id", how="left", maintain_order="left")
        rows = table_rows(made, table)
        if table != "previews":
            return rows
        return rows.with_columns(pl.lit(self.plan.fingerprint(table)).alias("fingerprint"))


@dataclass(frozen=True, slots=True)
class Attempt:
    """A first attempt at captions or enhanced captions of a part, and those that follow it at once."""

    run: Path
    table: str
    caption_set: str
    part: int
    number: int
    """Of the first attempt; rows count from 1 within a commit."""

    def commit(self, rows: Sequence[pl.DataFrame], *, fingerprint: str, scope: str = "part", basis: str = "") -> None:
        """Commit the rows, a file an attempt, in the order of their windows. Only the first can be the whole part."""
        every = pl.concat(rows) if rows else pl.DataFrame(schema={"attempt": pl.Int32})
        numbers = sorted({1, *every["attempt"]})
        files = {str(n): self._file(n, fingerprint, scope if n == 1 else "selection", basis) for n in numbers}
        commit = store.PartCommit(self.run, self.part, files)
        for n in numbers if rows else ():
            mine = every.filter(pl.col("attempt") == n)
            renumbered = mine.with_columns(pl.lit(self.number + n - 1, pl.Int32).alias("attempt"))
            commit.append(str(n), renumbered.sort("window_id"))
        commit.commit()

    def _file(self, number: int, fingerprint: str, scope: str, basis: str) -> store.TableFile:
        name = store.part_name(self.part, self.number + number - 1)
        path = store.table_dir(self.run, self.table, self.caption_set) / name
        return store.TableFile(self.table, path, fingerprint, scope, basis)


def open_part(plan: Plan, todo: PartTodo, rows: pl.DataFrame | None) -> OpenPart:
    """Start on a part.

    Parameters
    ----------
    plan : the run's plan.
    todo : what the part lacks.
    rows : its slice of the manifest; None where the sources are not read.
    """
    extra = manifests.extra_columns(plan.run / manifests.FROZEN)
    extras = rows if rows is not None else pl.DataFrame(schema={"clip_id": pl.String, **extra})
    prompts = {}
    if "prompt_text" in extra and todo.captions:
        prompts = _named(rows if rows is not None else _stored_prompts(plan, todo.part))
    return OpenPart(plan, todo, extras.select("clip_id", *extra), _commit(plan, todo, extra), prompts)


def _commit(plan: Plan, todo: PartTodo, extra: Mapping[str, pl.DataType]) -> store.PartCommit | Rewrite | None:
    tables = _tables(plan, todo)
    if not tables:
        return None
    files = {table: _file(plan, todo, table) for table in tables}
    commit = store.PartCommit(plan.run, todo.part, files, extra=extra)
    return Rewrite(plan, todo.part, todo.redo, commit) if todo.redo else commit


def _file(plan: Plan, todo: PartTodo, table: str) -> store.TableFile:
    """A file of a part; some rows made again by other choices do not make it another part."""
    path = store.table_dir(plan.run, table) / store.part_name(todo.part)
    there = store.read_footer(path) if todo.redo else None
    return store.TableFile(table, path, there.fingerprint if there else plan.fingerprint(table))


def _tables(plan: Plan, todo: PartTodo) -> tuple[str, ...]:
    """The media tables that a part gets, or gets anew."""
    if todo.redo is None:
        return (plan.media_tables if todo.media else ()) + (PREVIEW_TABLES if todo.previews else ())
    has_previews = (store.table_dir(plan.run, "previews") / store.part_name(todo.part)).exists()
    again = bool(todo.redo.clips)
    return (plan.media_tables if again else ()) + (
        PREVIEW_TABLES if has_previews and (again or todo.redo.previews) else ()
    )


def _stored_prompts(plan: Plan, part: int) -> pl.DataFrame:
    path = store.table_dir(plan.run, "clips") / store.part_name(part)
    return pl.read_parquet(path, columns=["clip_id", "prompt_text"])


def _named(rows: pl.DataFrame) -> dict[str, str]:
    there = rows.drop_nulls("prompt_text")
    return dict(zip(there["clip_id"], map(unindented, there["prompt_text"]), strict=True))
