"""A run's frozen copy of its manifest: checked as a whole, with ids and part numbers, and read by the part."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from colcap.errors import ConfigError, ManifestError, printable
from colcap.manifests.files import ManifestFiles, open_manifest, open_parquet
from colcap.manifests.ids import hashed
from colcap.manifests.reader import local_path
from colcap.objects import HTTP_SCHEMES, Url, is_url
from colcap.schema import CLIPS, JOINED
from colcap.store import sync

FROZEN: Final = "manifest.parquet"
MAX_ID_CHARS: Final = 512
_BATCH_ROWS: Final = 4096


def freeze(
    manifest: Path | Url, target: Path, *, clips_per_part: int, limit: int | None = None, http: bool = False
) -> int:
    """Copy a manifest into a run folder, with ids and part numbers, checked as a whole.

    Parameters
    ----------
    manifest : a Parquet file, a folder of them or a glob pattern, here or on an object store, read in the order of
        their names; with `uri` (absolute, `file://`, `s3://`, or relative to its manifest file) or `mp4` (the bytes),
        optionally `clip_id`, `prompt_text`, `num_bytes` (the size a clip should have: another one is
        `source_changed`) and columns of your own, which are kept.
    target : where the frozen copy goes; it appears whole or not at all.
    clips_per_part : rows per part.
    limit : take only the first rows.
    http : whether uris may be http(s).

    Returns
    -------
    Number of clips.

    Raises
    ------
    ManifestError : not Parquet, no rows, no `uri` or `mp4`, repeated or overlong ids, reserved column names, a uri of
        another kind or with credentials in it.
    """
    num_clips = 0
    temp = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        with pq.ParquetWriter(temp, _frozen_schema(open_manifest(manifest).schema)) as writer:
            for rows in checked_rows(manifest, clips_per_part=clips_per_part, limit=limit, http=http):
                writer.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(writer.schema))
                num_clips += rows.height
        sync(temp)  # a machine that loses power must not keep run.toml without this
        os.replace(temp, target)
        sync(target.parent)
    finally:
        temp.unlink(missing_ok=True)
    return num_clips


def checked_rows(
    manifest: Path | Url, *, clips_per_part: int, limit: int | None = None, http: bool = False
) -> Iterator[pl.DataFrame]:
    """A manifest's rows as `freeze` keeps them, in batches.

    Raises
    ------
    ManifestError : see `freeze`; some only after the rows before.
    """
    source = open_manifest(manifest)
    check_columns(source.schema, manifest)
    ids: set[str] = set()  # about 100 bytes an id, and the one thing here that grows with the manifest
    for file, row, frame in _numbered_batches(source, limit):
        frozen = _freeze_rows(frame, row, file, clips_per_part, http=http)
        _add_ids(ids, frozen["clip_id"], file)
        yield frozen
    if not ids:
        raise ManifestError(f"{manifest}: has no rows")


def check_columns(schema: pa.Schema, manifest: Path | Url) -> None:
    """Refuse a manifest by its columns alone.

    Raises
    ------
    ManifestError : neither `uri` nor `mp4` is there, a column has the name of one of ours, or another type.
    """
    names = set(schema.names)
    if not names & {"uri", "mp4"}:
        raise ManifestError(f"{manifest}: needs a column `uri` or `mp4`; it has {', '.join(schema.names)}")
    # SQL does not tell `Status` from `status`, so a query would see the wrong one
    taken = JOINED | CLIPS.keys()
    reserved = {name for name in names if name.lower() in taken} - {"clip_id", "uri", "num_bytes"}
    if reserved:
        raise ManifestError(f"{manifest}: rename these columns, colcap writes its own: {', '.join(sorted(reserved))}")
    for name in names & {"uri", "clip_id", "prompt_text"}:
        if not _is_text(schema.field(name).type):
            raise ManifestError(f"{manifest}: column {name} must be text, got {schema.field(name).type}")
    if "num_bytes" in names and not pa.types.is_integer(schema.field("num_bytes").type):
        raise ManifestError(
            f"{manifest}: column num_bytes must be a whole number, got {schema.field('num_bytes').type}"
        )
    if "mp4" in names and not _is_bytes(schema.field("mp4").type):
        raise ManifestError(f"{manifest}: column mp4 must be binary, got {schema.field('mp4').type}")


def _is_text(kind: pa.DataType) -> bool:
    return str(kind) in ("string", "large_string", "string_view")


def _is_bytes(kind: pa.DataType) -> bool:
    return str(kind) in ("binary", "large_binary", "binary_view")


def _frozen_schema(schema: pa.Schema) -> pa.Schema:
    own = [("clip_id", pa.large_string()), ("uri", pa.large_string()), ("part", pa.int32())]
    rest = [field for field in schema if field.name not in ("clip_id", "uri", "part")]
    return pa.schema([*(pa.field(*pair) for pair in own), *rest])


def _numbered_batches(source: ManifestFiles, limit: int | None) -> Iterator[tuple[Path | Url, int, pl.DataFrame]]:
    has_blobs = "mp4" in source.schema.names
    row = 0
    for file, batch in source.batches(batch_size=16 if has_blobs else _BATCH_ROWS):
        frame = pl.from_arrow(pa.Table.from_batches([batch]))
        assert isinstance(frame, pl.DataFrame)
        if limit is not None:
            frame = frame.head(max(0, limit - row))
        if frame.is_empty():
            return
        yield file, row, frame
        row += frame.height


def _freeze_rows(
    frame: pl.DataFrame, row: int, manifest: Path | Url, clips_per_part: int, *, http: bool
) -> pl.DataFrame:
    uris = frame["uri"].to_list() if "uri" in frame.columns else [None] * frame.height
    blobs = frame["mp4"].to_list() if "mp4" in frame.columns else [None] * frame.height
    given = frame["clip_id"].to_list() if "clip_id" in frame.columns else [None] * frame.height
    for offset, (uri, blob) in enumerate(zip(uris, blobs, strict=True)):
        if uri is None and blob is None:
            raise ManifestError(f"{manifest}: row {row + offset + 1} (the first is 1) has neither a uri nor mp4 bytes")
    ids = [i or hashed(u.encode() if u else b) for i, u, b in zip(given, uris, blobs, strict=True)]
    parts = [(row + offset) // clips_per_part for offset in range(frame.height)]
    own = pl.DataFrame(
        {"clip_id": ids, "uri": [u and _absolute(u, manifest, http=http) for u in uris], "part": parts},
        schema={"clip_id": pl.String, "uri": pl.String, "part": pl.Int32},
    )
    return pl.concat([own, frame.drop("clip_id", "uri", strict=False)], how="horizontal")


def _absolute(uri: str, manifest: Path | Url, *, http: bool) -> str:
    """A uri that means the same from anywhere.

    Raises
    ------
    ManifestError : of a kind that is not read, or with what must not be written down.
    """
    if is_url(uri):
        return str(_allowed(uri, http=http))
    path = local_path(uri)
    if os.path.isabs(path):
        return path
    if isinstance(manifest, Url):
        try:
            return str(manifest.parent.resolve(path))
        except ConfigError as error:
            raise ManifestError(str(error)) from None
    return os.path.normpath(os.path.join(manifest.absolute().parent, path))


def _allowed(uri: str, *, http: bool) -> Url:
    try:
        url = Url.parse(uri)
    except ConfigError as error:
        raise ManifestError(str(error)) from None
    if url.scheme in HTTP_SCHEMES and not http:
        raise ManifestError(f"{printable(str(url))[:200]}: {url.scheme}:// is read with --allow-http only")
    return url


def _add_ids(ids: set[str], new: pl.Series, manifest: Path | Url) -> None:
    for clip_id in new.to_list():
        if clip_id in ids:
            raise ManifestError(f"{manifest}: clip_id {printable(clip_id)[:200]!r} appears twice; ids must be unique")
        if len(clip_id) > MAX_ID_CHARS:
            raise ManifestError(f"{manifest}: clip_id {printable(clip_id)[:60]!r}… is longer than {MAX_ID_CHARS}")
        ids.add(clip_id)


def extra_columns(frozen: Path) -> pl.Schema:
    """The manifest's own further columns, which the clips table carries along untouched."""
    schema = pl.read_parquet_schema(frozen)
    return pl.Schema({n: t for n, t in schema.items() if n not in (*CLIPS, "mp4")})


def iter_parts(frozen: Path | pq.ParquetFile, wanted: Iterable[int]) -> Iterator[tuple[int, pl.DataFrame]]:
    """The frozen manifest's rows of each wanted part, in order; memory is bounded by a part and a row group."""
    todo = sorted(wanted)
    source = open_parquet(frozen) if isinstance(frozen, Path) else frozen
    rest: pl.DataFrame | None = None
    for group in range(source.num_row_groups):
        if not todo:
            return
        if _last_part(source, group) < todo[0]:
            continue
        frame = pl.from_arrow(source.read_row_group(group))
        assert isinstance(frame, pl.DataFrame)
        rest = frame if rest is None else pl.concat([rest, frame])
        is_last = group + 1 == source.num_row_groups
        while todo and (is_last or todo[0] < _last_part(source, group)):
            part = todo.pop(0)
            yield part, rest.filter(pl.col("part") == part)
        rest = rest.filter(pl.col("part") >= todo[0]) if todo else None


def _last_part(source: pq.ParquetFile, group: int) -> int:
    return int(source.metadata.row_group(group).column(2).statistics.max)


def with_ids(clips: pl.DataFrame) -> pl.DataFrame:
    """Rows of any frame with `uri` or `mp4`, given a `clip_id` where they have none.

    Raises
    ------
    ManifestError : neither column is there.
    """
    if not {"uri", "mp4"} & set(clips.columns):
        raise ManifestError(f"the frame needs a column `uri` or `mp4`; it has {', '.join(clips.columns)}")
    if "clip_id" in clips.columns:
        return clips
    keys = [row.get("uri") or row.get("mp4") or b"" for row in clips.iter_rows(named=True)]
    ids = [hashed(key.encode() if isinstance(key, str) else key) for key in keys]
    return clips.with_columns(pl.Series("clip_id", ids, dtype=pl.String))
