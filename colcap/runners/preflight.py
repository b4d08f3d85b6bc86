"""What must be there before the first clip is read: encoders and room on the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import av
import polars as pl

from colcap import manifests, store
from colcap.config import Config
from colcap.errors import ColcapError
from colcap.runners.plan import Plan

SAMPLED_SOURCES: Final = 1000
"""Files looked at to estimate how much a run will write."""

GROWTH: Final = 1.2
"""Windows are about another copy of the source; previews and tables come on top."""

SPARE_BYTES: Final = 64 << 20

PARTS_HERE: Final = 3
"""Parts of a run on an object store that are on this disk at once, until they are uploaded."""


def check_encoders(config: Config) -> None:
    """Refuse to start where an encoder that the run needs is missing. Raises ColcapError."""
    require_encoder("libx264", "windows of codecs that mp4 cannot carry")
    if config.generate_previews:
        require_encoder("libwebp", "previews")


def require_encoder(name: str, use: str) -> None:
    """Refuse to go on without one of FFmpeg's encoders, as PyAV brings them.

    Raises
    ------
    ColcapError : names the encoder, what needs it, and how to get it.
    """
    try:
        av.Codec(name, "w")
    except av.codec.codec.UnknownCodecError:
        raise ColcapError(
            f"the encoder {name} is missing, and {use} need it: this PyAV ({av.__version__}) was built without it. "
            "Install PyAV's own wheel: pip install --force-reinstall --only-binary av av"
        ) from None


def check_disk(plan: Plan) -> None:
    """Refuse to start a run that the disk has no room for.

    Raises
    ------
    ColcapError : says how much is needed, how much is free, and where.
    """
    fresh = [todo.part for todo in plan.todo if todo.media]
    if store.mirror_of(plan.run):
        fresh = fresh[:PARTS_HERE]
    needed = int(_source_bytes(plan.run, fresh) * GROWTH) + SPARE_BYTES
    free = shutil.disk_usage(plan.run).free
    if free < needed:
        raise ColcapError(
            f"{plan.run}: this run will write about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free there. "
            "Free some space, choose another folder, or take fewer clips with --limit."
        )


def _source_bytes(run: Path, parts: list[int]) -> float:
    """Bytes of the parts' sources, estimated from at most SAMPLED_SOURCES of them."""
    frozen = pl.scan_parquet(run / manifests.FROZEN)
    names = frozen.collect_schema().names()
    known = [pl.col("mp4").bin.size()] if "mp4" in names else []
    known += [pl.col("num_bytes")] if "num_bytes" in names else []
    size = pl.coalesce(*known, pl.lit(None, pl.Int64)).alias("size")
    rows = frozen.filter(pl.col("part").is_in(parts)).select("uri", size).collect()
    if rows.is_empty():
        return 0.0
    every = max(1, rows.height // SAMPLED_SOURCES)
    sizes = [_size(uri) if size is None else size for uri, size in rows.gather_every(every).iter_rows()]
    return sum(sizes) / len(sizes) * rows.height


def _size(uri: str | None) -> int:
    try:
        return os.stat(manifests.local_path(uri)).st_size if uri else 0  # of an object only num_bytes can tell
    except (OSError, ValueError):
        return 0  # it will be an error row
