"""WebDataset shards: one tar a part; a sample a window, with its bytes, its caption as txt and its facts as json."""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

from colcap.blobs import Blobs
from colcap.export.folder import Folder
from colcap.export.jsonl import line
from colcap.export.options import COLUMNS, Options
from colcap.export.rows import PartRows


def write(part: PartRows, folder: Folder, options: Options) -> Counter[str]:
    """Write `part-000000.tar`, if the part has any sample.

    A window without its bytes, or without a caption where the run has captions, is no sample: it is counted as left
    out. `__key__` is the clip's name and the window's number.
    """
    blobs = {column: part.blobs(COLUMNS[column], column) for column in options.columns}
    rows = [row for row in part.rows.iter_rows(named=True) if _is_sample(row, options)]
    counts = Counter(samples=len(rows), left_out=part.rows.height - len(rows))
    if rows:
        with (
            folder.writing(f"part-{part.part:06d}.tar") as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for row in rows:
                for name, data in _members(row, blobs, options):
                    _add(tar, name, data)
    return counts


def _is_sample(row: dict[str, Any], options: Options) -> bool:
    sizes = {"mp4": "mp4_bytes", "webp": "webp_bytes"}
    has_bytes = all(row[sizes[column]] is not None for column in options.columns)
    return row["window_id"] is not None and has_bytes and (bool(row["caption"]) or not options.captioned)


def _members(row: dict[str, Any], blobs: dict[str, Blobs], options: Options) -> Iterator[tuple[str, bytes]]:
    key = f"{options.names(row['clip_id'])}-{row['window_index']:05d}"
    for column, table in blobs.items():
        yield f"{key}.{column}", table[row["window_id"]]
    if row["caption"]:
        yield f"{key}.txt", row["caption"].encode()
    yield f"{key}.json", line(row).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Nothing of this machine or this hour is in a member: the same rows give the same bytes."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))
