"""A run in other people's formats: one file a format, `write` in each. A further format is a file and a line here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import polars as pl

from colcap.errors import ConfigError, RunError, counted
from colcap.export import curator, jsonl, parquet, webdataset
from colcap.export.folder import Folder, opened
from colcap.export.names import Names, alike
from colcap.export.options import COLUMNS, Media, Options, Write
from colcap.export.rows import Choice, PartRows, check_set, parts, read_part
from colcap.manifests import FROZEN, open_parquet
from colcap.objects import Url
from colcap.qa.views import caption_sets
from colcap.store import as_given, list_parts

Format = Literal["curator", "webdataset", "jsonl", "parquet"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What is particular to a format."""

    write: Write
    """Writes one part."""
    version: int = 1
    """Raised when the same rows would give other bytes or counts: then nothing of an older export is kept."""
    media: tuple[Media, ...] = ("none",)
    """What bytes of windows it can carry, the default first."""
    several_sets: bool = False
    """Whether a window may have a row for each caption set."""
    clips: bool = False
    """Whether it has room for the clips themselves."""


FORMATS: Final[Mapping[Format, Kind]] = {
    "curator": Kind(curator.write, clips=True),
    "webdataset": Kind(webdataset.write, media=("mp4", "webp", "both")),
    "jsonl": Kind(jsonl.write, several_sets=True),
    "parquet": Kind(parquet.write, version=2, media=("none", "mp4", "webp", "both"), several_sets=True),
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What is in the folder now, exactly."""

    path: Path | Url
    """The folder."""
    parts: int
    """Parts of the run that are in it."""
    kept: int
    """Those that an earlier export had written already."""
    counts: Mapping[str, int]
    """`clips`, `windows`, `rows`, rows by status, and what the format wrote."""

    def __str__(self) -> str:
        rows, clips, windows = (self.counts.get(name, 0) for name in ("rows", "from_clips", "from_windows"))
        statuses = [f"{self.counts[name]:,} {name[5:]}" for name in sorted(self.counts) if name.startswith("rows_")]
        wrote = [
            f"{name.replace('_', ' ')} {count:,}"
            for name, count in self.counts.items()
            if count and not name.startswith(("rows", "from_"))
        ]
        return (
            f"{counted(rows, 'row')} of {counted(clips, 'clip')} and {counted(windows, 'window')} "
            f"({', '.join(statuses) or 'none'}): {', '.join(wrote) or 'nothing'} in {self.path} "
            f"({counted(self.parts, 'part')}, {self.kept:,} of them kept)"
        )


def export(
    run: Path,
    folder: Path,
    *,
    form: str,
    where: str | None = None,
    caption_set: str | None = None,
    media: str | None = None,
    clips: bool = False,
    root: Path | Url | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write a run's rows in another format, a file a part; parts that are there already are kept.

    Parameters
    ----------
    run : the run folder.
    folder : a new folder, or one of the same export, which goes on where it stopped.
    form : one of FORMATS.
    where : an SQL condition that chooses rows, over the columns of `qa.select.EVERYTHING`.
    caption_set : whose captions. Without it, those of all sets in `jsonl` and `parquet`; the others need it where a
        run has several.
    media : `none`, `mp4`, `webp` or `both`: bytes of windows that go along. Default: mp4 in `webdataset`, else none.
    clips : copy the clips, in `curator`.
    root : clips outside this folder are not copied.
    tell : given a line for each part.

    Raises
    ------
    ColcapError : the folder is another's, the condition is wrong, the run lacks what was asked for, the disk is full.
    """
    names = Names(_alike(run), dots=form != "webdataset")
    kind = _kind(run, form, media=media, clips=clips)
    chosen_media = media or kind.media[0]
    choice = Choice(run, where, _set(run, form, kind, caption_set))
    captioned = bool(caption_sets(run))
    options = Options(names, chosen_media, captioned, clips, root)  # type: ignore[arg-type]
    chosen = choice.chosen()
    asked = {"format": form, "version": kind.version, "run": as_given(str(run.resolve()))} | {
        "where": where, "caption_set": choice.caption_set, "media": chosen_media, "clips": clips,
    }  # fmt: skip
    with opened(folder, asked) as target:
        return _export(target, kind, choice, options, chosen, tell)


def _export(
    target: Folder,
    kind: Kind,
    choice: Choice,
    options: Options,
    chosen: pl.DataFrame | None,
    tell: Callable[[str], None],
) -> Exported:
    numbers = parts(choice.run)
    kept, counts = 0, Counter[str]()
    for done, number in enumerate(numbers, 1):
        rows = read_part(choice, number, chosen)
        note = target.kept(number, rows.digest)
        if note and note.counts.get("clips_not_copied"):  # whatever was in the way may be gone
            note = None
        kept += note is not None
        if note is None:
            found = _count(rows)
            found.update(kind.write(rows, target, options) if rows.rows.height else ())
            note = target.finish(number, rows.digest, found)
        counts.update(note.counts)
        tell(f"parts {done}/{len(numbers)} · rows {counts['rows']:,} · kept {kept}")
    return Exported(target.path, len(numbers), kept, dict(counts))


def _count(part: PartRows) -> Counter[str]:
    rows = part.rows
    by_status = {f"rows_{status}": count for status, count in rows["status"].value_counts().sort("status").iter_rows()}
    windows = rows["window_id"].drop_nulls().n_unique()
    return Counter(
        {"rows": rows.height, "from_clips": rows["clip_id"].n_unique(), "from_windows": windows, **by_status}
    )


def _kind(run: Path, form: str, *, media: str | None, clips: bool) -> Kind:
    if form not in FORMATS:
        raise ConfigError(f"format: got {form!r}; one of {', '.join(get_args(Format))}")
    kind = FORMATS[form]  # type: ignore[index]
    if media is not None and media not in kind.media:
        raise ConfigError(f"media: {form} takes {', '.join(kind.media)}, got {media!r}")
    if clips and not kind.clips:
        raise ConfigError(f"clips: {form} has no place for them; --format curator has")
    for column, table in COLUMNS.items():
        if (media or kind.media[0]) in (column, "both") and not list_parts(run / table):
            raise ConfigError(f"{run}: has no table {table}{_HINTS[column]}")
    return kind


_HINTS: Final = {
    "mp4": " (it was made with --no-store-mp4): `--media webp` takes the previews instead",
    "webp": " (it has no previews): `colcap preview` makes them",
}


def _set(run: Path, form: str, kind: Kind, wanted: str | None) -> str | None:
    check_set(run, wanted)
    there = caption_sets(run)
    if wanted is None and len(there) > 1 and not kind.several_sets:
        raise ConfigError(f"{form} holds one caption a window and {run} has several sets: --set {' or '.join(there)}")
    return wanted


def _alike(run: Path) -> frozenset[str]:
    """Asked of the whole manifest, so that names stay as they are while the run goes on."""
    if not (run / FROZEN).is_file():
        raise RunError(f"{run}: is not a run folder, it has no {FROZEN}")
    batches = open_parquet(run / FROZEN).iter_batches(columns=["clip_id"])
    return alike(clip_id for batch in batches for clip_id in batch.column(0).to_pylist())
