"""Listing clips: files as named, folders, globs and prefixes of object stores, trees of the reference."""

from __future__ import annotations

import glob
import io
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Final

import polars as pl

from colcap import curator_tree, objects
from colcap.errors import ManifestError, printable
from colcap.manifests.ids import hashed
from colcap.objects.match import matching

EXTENSIONS: Final = frozenset(
    ".3g2 .3gp .asf .avi .flv .m2ts .m4v .mj2 .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .rm .ts .vob .webm .wmv".split()
)
"""What a folder is searched for; a file that is named is kept whatever it is called."""


def from_sources(sources: Iterable[str]) -> pl.DataFrame:
    """List clips: files as named, folders searched for video files, glob patterns expanded, metas of a curator tree.

    Parameters
    ----------
    sources : paths, or URLs of objects, prefixes and patterns: `s3://bucket/clips`, `s3://bucket/clips/*.mp4`.

    Returns
    -------
    `clip_id` (the file's stem, with a hash where stems repeat; a tree's own), `uri` (absolute path or URL) and
    `num_bytes` (its size now), sorted by uri.

    Raises
    ------
    ManifestError : a source matches nothing; a file's name is not UTF-8; a tree's metas cannot be read, see
        `curator_tree.clips_of`.
    ConfigError : a URL is none of a known store, or has credentials in it.
    """
    given = list(sources)
    trees = {source: root for source in given if not objects.is_url(source) and (root := _tree(source))}
    sizes: dict[str, int | None] = {}
    for source in given:
        if source not in trees:
            sizes.update(_expand_url(source) if objects.is_url(source) else _expand(source))
    clips = {pair for root in trees.values() for pair in curator_tree.clips_of(root)}
    stems = Counter(PurePosixPath(uri).stem for uri in sizes)
    clips |= {(_readable_id(uri, unique=stems[PurePosixPath(uri).stem] == 1), uri) for uri in sizes}
    ordered = sorted(clips, key=lambda pair: pair[::-1])
    ids, uris = [pair[0] for pair in ordered], [pair[1] for pair in ordered]
    columns = {"clip_id": ids, "uri": uris, "num_bytes": [sizes[u] if u in sizes else _size(u) for u in uris]}
    return pl.DataFrame(columns, schema={"clip_id": pl.String, "uri": pl.String, "num_bytes": pl.Int64})


def write_manifest(clips: pl.DataFrame, output: Path | objects.Url) -> None:
    """Write a manifest's rows as Parquet, here or on an object store.

    Raises
    ------
    OSError : it cannot be written.
    """
    if isinstance(output, objects.Url):
        objects.require_library(output)
        data = io.BytesIO()
        clips.write_parquet(data)
        objects.put(output, data.getvalue())
    else:
        clips.write_parquet(output, mkdir=True)


def _tree(source: str) -> Path | None:
    return curator_tree.root_of(Path(source))


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None  # it vanished between being found and now: reading it will say so


def _expand(source: str) -> dict[str, int | None]:
    if os.path.isfile(source):
        found = [source]
    elif os.path.isdir(source):
        found = [str(p) for p in Path(source).rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file()]
    else:
        found = [path for path in glob.glob(source, recursive=True) if os.path.isfile(path)]
    if not found:
        raise ManifestError(f"{printable(source)}: no such file, and no video files in or under it")
    for path in found:
        if not path.isascii() and path.encode(errors="replace") != os.fsencode(path):
            raise ManifestError(f"{printable(path)}: its name is not UTF-8, which a table cannot hold: rename it")
    return {os.path.abspath(path): _size(path) for path in found}


def _expand_url(source: str) -> dict[str, int | None]:
    """An object as named, a pattern, or all video under a prefix; sizes come with the listing."""
    try:
        found = list(matching(source, EXTENSIONS))
    except OSError as error:
        raise ManifestError(f"{printable(str(error))}") from None
    if not found:
        raise ManifestError(f"{objects.Url.parse(source)}: no such object, and no video under it")
    return {str(meta.url): meta.size for meta in found}


def _readable_id(uri: str, *, unique: bool) -> str:
    stem = PurePosixPath(uri).stem
    return stem if unique else f"{stem}-{hashed(uri.encode(errors='surrogateescape'))[:8]}"
