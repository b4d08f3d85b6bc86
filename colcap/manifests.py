"""Manifests: from files to a Parquet of clips, and from there to a run's frozen copy and its parts."""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from colcap import curator_tree
from colcap.errors import ManifestError, RowError, printable
from colcap.manifest_files import ManifestFiles, open_manifest, open_parquet
from colcap.schema import CLIPS
from colcap.secrets import without_secrets

EXTENSIONS: Final = frozenset(
    ".3g2 .3gp .asf .avi .flv .m2ts .m4v .mj2 .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .rm .ts .vob .webm .wmv".split()
)
"""What a folder is searched for; a file that is named is kept whatever it is called."""

FROZEN: Final = "manifest.parquet"
MAX_ID_CHARS: Final = 512
_BATCH_ROWS: Final = 4096


def from_sources(sources: Iterable[str]) -> pl.DataFrame:
    """List clips: files as named, folders searched for video files, glob patterns expanded, metas of a curator tree.

    Returns
    -------
    `clip_id` (the file's stem, with a hash where stems repeat; a tree's own), `uri` (absolute path) and `num_bytes`
    (its size now), sorted by uri.

    Raises
    ------
    ManifestError : a source matches nothing; a tree's metas cannot be read, see `curator_tree.clips_of`.
    """
    given = list(sources)
    trees = {source: root for source in given if (root := curator_tree.root_of(Path(source)))}
    clips = {pair for root in trees.values() for pair in curator_tree.clips_of(root)}
    paths = {os.path.abspath(path) for source in given if source not in trees for path in _expand(source)}
    stems = Counter(Path(path).stem for path in paths)
    clips |= {(_readable_id(path, unique=stems[Path(path).stem] == 1), path) for path in paths}
    ordered = sorted(clips, key=lambda pair: pair[::-1])
    ids, uris = [pair[0] for pair in ordered], [pair[1] for pair in ordered]
    columns = {"clip_id": ids, "uri": uris, "num_bytes": [_size(uri) for uri in uris]}
    return pl.DataFrame(columns, schema={"clip_id": pl.String, "uri": pl.String, "num_bytes": pl.Int64})


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None  # it vanished between being found and now: reading it will say so


def _expand(source: str) -> list[str]:
    if os.path.isfile(source):
        return [source]
    if os.path.isdir(source):
        found = [str(p) for p in Path(source).rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file()]
    else:
        found = [path for path in glob.glob(source, recursive=True) if os.path.isfile(path)]
    if not found:
        raise ManifestError(f"{printable(source)}: no such file, and no video files in or under it")
    return found


def _readable_id(path: str, *, unique: bool) -> str:
    stem = Path(path).stem
    return stem if unique else f"{stem}-{_hash(path.encode(errors='surrogateescape'))[:8]}"


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def freeze(manifest: Path, target: Path, *, clips_per_part: int, limit: int | None = None) -> int:
    """Copy a manifest into a run folder, with ids and part numbers, checked as a whole.

    Parameters
    ----------
    manifest : a Parquet file, a folder of them or a glob pattern, read in the order of their names; with `uri`
        (absolute, `file://`, or relative to its manifest file) or `mp4` (the bytes), optionally `clip_id`,
        `prompt_text`, `num_bytes` (the size a clip should have: another one is `source_changed`) and columns of your
        own, which are kept.
    target : where the frozen copy goes; it appears whole or not at all.
    clips_per_part : rows per part.
    limit : take only the first rows.

    Returns
    -------
    Number of clips.

    Raises
    ------
    ManifestError : not Parquet, no rows, no `uri` or `mp4`, repeated or overlong ids, reserved column names.
    """
    num_clips = 0
    temp = target.parent / f".{target.name}.{os.getpid()}.tmp"
    try:
        with pq.ParquetWriter(temp, _frozen_schema(open_manifest(manifest).schema)) as writer:
            for rows in checked_rows(manifest, clips_per_part=clips_per_part, limit=limit):
                writer.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(writer.schema))
                num_clips += rows.height
        os.replace(temp, target)
    finally:
        temp.unlink(missing_ok=True)
    return num_clips


def checked_rows(manifest: Path, *, clips_per_part: int, limit: int | None = None) -> Iterator[pl.DataFrame]:
    """A manifest's rows as `freeze` keeps them, in batches.

    Raises
    ------
    ManifestError : see `freeze`; some only after the rows before.
    """
    source = open_manifest(manifest)
    _check_columns(source.schema, manifest)
    ids: set[str] = set()  # about 100 bytes an id, and the one thing here that grows with the manifest
    for file, row, frame in _numbered_batches(source, limit):
        frozen = _freeze_rows(frame, row, file, clips_per_part)
        _add_ids(ids, frozen["clip_id"], file)
        yield frozen
    if not ids:
        raise ManifestError(f"{manifest}: has no rows")


def _check_columns(schema: pa.Schema, manifest: Path) -> None:
    names = set(schema.names)
    if not names & {"uri", "mp4"}:
        raise ManifestError(f"{manifest}: needs a column `uri` or `mp4`; it has {', '.join(schema.names)}")
    # SQL does not tell `Status` from `status`, so a query would see the wrong one
    reserved = {name for name in names if name.lower() in CLIPS} - {"clip_id", "uri", "num_bytes"}
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


def _numbered_batches(source: ManifestFiles, limit: int | None) -> Iterator[tuple[Path, int, pl.DataFrame]]:
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


def _freeze_rows(frame: pl.DataFrame, row: int, manifest: Path, clips_per_part: int) -> pl.DataFrame:
    uris = frame["uri"].to_list() if "uri" in frame.columns else [None] * frame.height
    blobs = frame["mp4"].to_list() if "mp4" in frame.columns else [None] * frame.height
    given = frame["clip_id"].to_list() if "clip_id" in frame.columns else [None] * frame.height
    for offset, (uri, blob) in enumerate(zip(uris, blobs, strict=True)):
        if uri is None and blob is None:
            raise ManifestError(f"{manifest}: row {row + offset} has neither a uri nor mp4 bytes")
        if uri is not None:
            _check_uri(uri)
    ids = [i or _hash(u.encode() if u else b) for i, u, b in zip(given, uris, blobs, strict=True)]
    parts = [(row + offset) // clips_per_part for offset in range(frame.height)]
    own = pl.DataFrame(
        {"clip_id": ids, "uri": [u and _absolute(u, manifest) for u in uris], "part": parts},
        schema={"clip_id": pl.String, "uri": pl.String, "part": pl.Int32},
    )
    return pl.concat([own, frame.drop("clip_id", "uri", strict=False)], how="horizontal")


def _check_uri(uri: str) -> None:
    scheme = urlsplit(uri).scheme if "://" in uri else "file"
    if scheme.lower() != "file":
        raise ManifestError(
            f"{printable(without_secrets(uri))[:200]}: only local paths and file:// are read, "
            f"got {printable(scheme)}://"
        )


def _absolute(uri: str, manifest: Path) -> str:
    path = local_path(uri)
    return path if os.path.isabs(path) else os.path.normpath(os.path.join(manifest.absolute().parent, path))


def local_path(uri: str) -> str:
    """The path behind a `file://` uri; a plain path stays as it is.

    >>> local_path("file:///data/a%20b.mp4")
    '/data/a b.mp4'
    """
    return unquote(urlsplit(uri).path) if uri.lower().startswith("file://") else uri


def _add_ids(ids: set[str], new: pl.Series, manifest: Path) -> None:
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


def iter_parts(frozen: Path, wanted: Iterable[int]) -> Iterator[tuple[int, pl.DataFrame]]:
    """The frozen manifest's rows of each wanted part, in order; memory is bounded by a part and a row group."""
    todo = sorted(wanted)
    source = open_parquet(frozen)
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


class ClipReader:
    """Reads clips by uri, inside one folder if told so. Small enough to send to a worker process."""

    def __init__(self, *, root: Path | None = None, max_bytes: int) -> None:
        self.root = None if root is None else os.path.realpath(root)
        self.max_bytes = max_bytes

    def __call__(self, uri: str) -> bytes:
        """The clip's bytes.

        Raises
        ------
        RowError : `unreadable` (missing, not permitted, outside the root, not a regular file) or `too_large`.
        """
        try:
            with open(self.path(uri), "rb") as file:
                data = file.read(self.max_bytes + 1)
        except (OSError, ValueError) as error:
            raise RowError("unreadable", f"{uri}: {error}") from None
        if len(data) > self.max_bytes:
            raise RowError("too_large", f"{uri}: larger than limits.max_bytes ({self.max_bytes})")
        return data

    def path(self, uri: str) -> str:
        """The clip's path, with no links left in it.

        Raises
        ------
        RowError : `unreadable`: missing, outside the root, or not a regular file.
        """
        try:
            return self._checked(os.path.realpath(local_path(uri)), uri)
        except (OSError, ValueError) as error:
            raise RowError("unreadable", f"{uri}: {error}") from None

    def _checked(self, path: str, uri: str) -> str:
        if self.root is not None and os.path.commonpath([path, self.root]) != self.root:
            raise RowError("unreadable", f"{uri}: lies outside --root {self.root}")
        if not os.path.isfile(path):  # a device or a pipe could be read for ever
            raise RowError("unreadable", f"{uri}: {'is not a file' if os.path.exists(path) else 'no such file'}")
        return path


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
    ids = [_hash(key.encode() if isinstance(key, str) else key) for key in keys]
    return clips.with_columns(pl.Series("clip_id", ids, dtype=pl.String))
