"""A part in hand: what it is made from, and what is made of it until it is committed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from colcap import manifests, store
from colcap.runners.plan import MEDIA_TABLES, PREVIEW_TABLES, PartTodo, Plan
from colcap.steps.media import clip_rows, table_rows


@dataclass(slots=True, eq=False)
class OpenPart:
    """A part's rows on their way to its tables. Media rows come first, from one thread; captions from several."""

    plan: Plan
    todo: PartTodo
    extras: pl.DataFrame
    """The manifest's own further columns, with clip_id."""
    commit: store.PartCommit | None
    """Its clips, windows and previews; None where only captions are missing."""
    prompts: dict[str, str]
    """Clip id -> the row's own prompt."""
    num_windows: int = 0
    """Windows to caption so far."""
    complete: bool = False
    """All its windows are known; only captions may still be under way."""
    captions: list[pl.DataFrame] = field(default_factory=list)
    _made: list[pl.DataFrame] = field(default_factory=list)
    _made_bytes: int = 0

    def add_media(self, made: pl.DataFrame) -> None:
        """Keep media rows. They are taken apart by the row group: for every clip alone it costs a small decode."""
        self._made.append(made)
        self._made_bytes += int(made.estimated_size())
        if self._made_bytes >= store.ROW_GROUP_BYTES:
            self._write()

    def samples(self, made: pl.DataFrame) -> pl.DataFrame:
        """The windows to caption of some media rows, with their rows' own prompts."""
        samples = table_rows(made, "samples")
        self.num_windows += samples.height
        clip_ids = [window_id.rpartition(":")[0] for window_id in samples["window_id"]]
        return samples.hstack([pl.Series("prompt_text", [self.prompts.get(i) for i in clip_ids], dtype=pl.String)])

    def own_prompts(self, batch: pl.DataFrame) -> list[str | None]:
        """The prompts that a batch's clips, or its windows' clips, bring themselves."""
        return [self.prompts.get(clip_id) for clip_id in batch["clip_id"]]

    def commit_media(self) -> None:
        """Make clips, windows and previews visible."""
        self._write()
        if self.commit:
            self.commit.commit()

    def commit_captions(self) -> None:
        """Make the part's captions visible, in the order of their windows."""
        plan, todo = self.plan, self.todo
        assert todo.captions is not None
        assert plan.caption_fingerprint is not None
        folder = store.table_dir(plan.run, "captions", plan.config.caption_set)
        file = store.PartFile(todo.part, todo.captions, folder / store.part_name(todo.part, todo.captions))
        commit_attempt(plan.run, "captions", file, self.captions, fingerprint=plan.caption_fingerprint)
        self.captions.clear()

    def _write(self) -> None:
        if self.commit and self._made:
            made = pl.concat(self._made)
            for table in self.commit.tables:
                self.commit.append(table, self._clips(made) if table == "clips" else table_rows(made, table))
        self._made, self._made_bytes = [], 0

    def _clips(self, made: pl.DataFrame) -> pl.DataFrame:
        return clip_rows(made).join(self.extras, on="clip_id", how="left", maintain_order="left")


def commit_attempt(
    run: Path, table: str, file: store.PartFile, rows: Sequence[pl.DataFrame], *, fingerprint: str
) -> None:
    """Commit one attempt of a part's captions or enhanced captions, in the order of their windows."""
    commit = store.PartCommit(run, file.part, {table: file.path}, fingerprints={table: fingerprint})
    if rows:
        numbered = pl.concat(rows).with_columns(pl.lit(file.attempt, pl.Int32).alias("attempt"))
        commit.append(table, numbered.sort("window_id"))
    commit.commit()


def open_part(plan: Plan, todo: PartTodo, rows: pl.DataFrame | None) -> OpenPart:
    """Start on a part.

    Parameters
    ----------
    plan : the run's plan.
    todo : what the part lacks.
    rows : its slice of the manifest; None where its windows are stored already.
    """
    extra = manifests.extra_columns(plan.run / manifests.FROZEN)
    extras = rows if rows is not None else pl.DataFrame(schema={"clip_id": pl.String, **extra})
    prompts = {}
    if "prompt_text" in extra and todo.captions:
        prompts = _named(rows if rows is not None else _stored_prompts(plan, todo.part))
    return OpenPart(plan, todo, extras.select("clip_id", *extra), _commit(plan, todo, extra), prompts)


def _commit(plan: Plan, todo: PartTodo, extra: pl.Schema) -> store.PartCommit | None:
    tables = (MEDIA_TABLES if todo.media else ()) + (PREVIEW_TABLES if todo.previews else ())
    if not tables:
        return None
    prints = {t: plan.media_fingerprint if t in MEDIA_TABLES else plan.preview_fingerprint for t in tables}
    paths = {table: store.table_dir(plan.run, table) / store.part_name(todo.part) for table in tables}
    return store.PartCommit(plan.run, todo.part, paths, fingerprints=prints, extra=extra)


def clip_batches(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """A clip a batch: a crash or a timeout then costs one row."""
    columns = [name for name in ("clip_id", "uri", "part", "mp4") if name in rows.columns]
    return rows.select(columns).iter_slices(1)


def window_batches(plan: Plan, part: int) -> Iterator[pl.DataFrame]:
    """A part's stored windows with their bytes, in order, one a batch; one whose cut failed has null bytes."""
    name = store.part_name(part)
    facts = pl.read_parquet(store.table_dir(plan.run, "windows") / name)
    blobs = _blobs(store.table_dir(plan.run, "windows_mp4") / name)
    for row in facts.iter_slices(1):
        mp4 = next(blobs) if row["status"].item() == "ok" else None
        yield row.with_columns(pl.Series("mp4", [mp4], dtype=pl.Binary))


def _blobs(path: Path) -> Iterator[bytes]:
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        for blob in file.read_row_group(group, columns=["mp4"])["mp4"]:
            yield blob.as_py()


def _stored_prompts(plan: Plan, part: int) -> pl.DataFrame:
    path = store.table_dir(plan.run, "clips") / store.part_name(part)
    return pl.read_parquet(path, columns=["clip_id", "prompt_text"])


def _named(rows: pl.DataFrame) -> dict[str, str]:
    there = rows.drop_nulls("prompt_text")
    return dict(zip(there["clip_id"], there["prompt_text"], strict=True))
