"""The Parquet files of a manifest: one file, all of a folder, or those that a glob pattern finds, read as one table."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from colcap.errors import ManifestError, printable
from colcap.objects import Url, open_input
from colcap.objects.match import matching


@dataclass(frozen=True, slots=True)
class ManifestFiles:
    """A manifest's files, in the order of their names, whose columns agree."""

    given: Path | Url
    """What was asked for: a file, a folder or a pattern."""
    files: tuple[Path | Url, ...]
    """At least one."""
    schema: pa.Schema
    """Columns, in the order of the first file."""
    num_rows: int
    """Of all files."""

    def batches(
        self, *, batch_size: int = 65_536, columns: Sequence[str] | None = None
    ) -> Iterator[tuple[Path | Url, pa.RecordBatch]]:
        """Rows, each batch with the file it is from; memory is bounded by a batch."""
        names = list(columns or self.schema.names)
        for file in self.files:
            with open_parquet(file) as source:
                for batch in source.iter_batches(batch_size=batch_size, columns=names):
                    yield file, batch.select(names)


def open_manifest(given: Path | Url) -> ManifestFiles:
    """Find a manifest's files and see that they are one table.

    Parameters
    ----------
    given : a Parquet file, a folder (its `*.parquet`, in its subfolders too, but for hidden ones) or a glob pattern;
        here or on an object store.

    Raises
    ------
    ManifestError : no such file, none in the folder, not Parquet, or columns that differ between files.
    """
    files = _find(given)
    schemas, num_rows = [], 0
    for file in files:
        with open_parquet(file) as source:
            schemas.append(source.schema_arrow.remove_metadata())
            num_rows += source.metadata.num_rows
    for file, schema in zip(files, schemas, strict=True):
        if differing := _differences(schemas[0], schema):
            raise ManifestError(f"{file}: has other columns than {files[0]}: {', '.join(differing)}")
    return ManifestFiles(given, tuple(files), schemas[0], num_rows)


def open_parquet(path: Path | Url) -> pq.ParquetFile:
    """Open a Parquet file or say in plain words why it cannot be."""
    try:
        return pq.ParquetFile(open_input(path)) if isinstance(path, Url) else pq.ParquetFile(path, memory_map=True)
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file. `colcap manifest SRC... -o {path}` makes one.") from None
    except (OSError, pa.ArrowException) as error:
        raise ManifestError(f"{path}: is not a Parquet file ({printable(str(error))[:200]})") from None


def _find(given: Path | Url) -> list[Path | Url]:
    return list(_find_objects(given) if isinstance(given, Url) else _find_files(given))


def _find_objects(given: Url) -> list[Url]:
    try:
        found = sorted(meta.url for meta in matching(str(given), {".parquet"}))
    except OSError as error:
        raise ManifestError(str(error)) from None
    shown = [url for url in found if not (given.holds(url) and _is_hidden(Path(url.key), Path(given.key)))]
    if not shown:
        raise ManifestError(f"{given}: no such object, and no Parquet files (*.parquet) under it")
    return shown


def _find_files(given: Path) -> list[Path]:
    if given.is_dir():
        found = sorted(path for path in given.rglob("*.parquet") if path.is_file() and not _is_hidden(path, given))
        if not found:
            listing = f"`colcap manifest {given} -o clips.parquet` lists its clips in one"
            raise ManifestError(f"{given}: is a folder without Parquet files (*.parquet); {listing}")
        return found
    if given.exists() or not glob.has_magic(str(given)):
        return [given]
    found = sorted(Path(path) for path in glob.glob(str(given), recursive=True) if Path(path).is_file())
    if not found:
        raise ManifestError(f"{given}: matches no file")
    return found


def _is_hidden(path: Path, folder: Path) -> bool:
    """As writers of many files mark what is none of their data: `_temporary`, `.part-0.crc`."""
    return any(name.startswith((".", "_")) for name in path.relative_to(folder).parts)


def _differences(first: pa.Schema, other: pa.Schema) -> list[str]:
    here = dict(zip(other.names, other.types, strict=True))
    there = dict(zip(first.names, first.types, strict=True))
    return [
        f"{printable(name)} is {here.get(name, 'missing')} here, {there.get(name, 'missing')} there"
        for name in {**there, **here}
        if here.get(name) != there.get(name)
    ]
