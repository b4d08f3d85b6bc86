"""Manifests: from files to a Parquet of clips, and from there to a run's frozen copy, its parts and clips."""

from colcap.manifests.files import ManifestFiles, open_manifest, open_parquet
from colcap.manifests.frozen import FROZEN, check_columns, checked_rows, extra_columns, freeze, iter_parts, with_ids
from colcap.manifests.listing import EXTENSIONS, from_sources, write_manifest
from colcap.manifests.reader import ClipReader, local_path, read_error

__all__ = [
    "EXTENSIONS",
    "FROZEN",
    "ClipReader",
    "ManifestFiles",
    "check_columns",
    "checked_rows",
    "extra_columns",
    "freeze",
    "from_sources",
    "iter_parts",
    "local_path",
    "open_manifest",
    "open_parquet",
    "read_error",
    "with_ids",
    "write_manifest",
]
