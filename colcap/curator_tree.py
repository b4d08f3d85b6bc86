"""The reference's output tree as a source of clips: metas/v0/*.json, and clips/ beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any, Final

from colcap.errors import ManifestError, printable

METAS: Final = "metas/v0"
CLIPS: Final = "clips"
MAX_META_BYTES: Final = 64 << 20
"""A larger meta is not read: hours of windows with long captions are a tenth of it."""


def root_of(folder: Path) -> Path | None:
    """The tree that a folder is, or is the metas of; None where it is neither.

    >>> root_of(Path("no-such-folder"))
    """
    candidates = [folder, *(Path(os.path.abspath(folder)).parents[:2] if folder.name in ("metas", "v0") else ())]
    return next((root for root in candidates if (root / METAS).is_dir()), None)


def clips_of(root: Path) -> list[tuple[str, str]]:
    """Ids and uris of a tree's clips, failed ones too: `clips/{name}.mp4` where it is there, else `clip_location`.

    Raises
    ------
    ManifestError : a meta is none, has no id or no clip, or names one outside the tree by a relative path.
    """
    metas = sorted((root / METAS).glob("*.json"))
    known = {meta.stem for meta in metas}
    others = [clip for clip in sorted((root / CLIPS).glob("*.mp4")) if clip.is_file() and clip.stem not in known]
    return [_clip(root, meta) for meta in metas] + [(clip.stem, os.path.abspath(clip)) for clip in others]


def _clip(root: Path, path: Path) -> tuple[str, str]:
    meta = _read(path)
    clip_id, location = meta.get("span_uuid"), meta.get("clip_location")
    if not isinstance(clip_id, str):
        raise ManifestError(f"{printable(str(path))}: has no span_uuid")
    beside = root / CLIPS / f"{path.stem}.mp4"
    if beside.is_file():
        return clip_id, os.path.abspath(beside)
    if not isinstance(location, str) or not location:
        raise ManifestError(f"{printable(str(path))}: has no clip_location, and there is no {CLIPS}/{path.stem}.mp4")
    return clip_id, _resolved(root, location, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            meta = json.loads(file.read(MAX_META_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError(f"{printable(str(path))}: cannot be read as JSON: {printable(str(error))[:200]}") from None
    if not isinstance(meta, dict):
        raise ManifestError(f"{printable(str(path))}: is no meta of a clip")
    return meta


def _resolved(root: Path, location: str, path: Path) -> str:
    if "://" in location or os.path.isabs(location):
        return location
    if ".." in PurePosixPath(location).parts:
        raise ManifestError(f"{printable(str(path))}: clip_location {printable(location)[:200]!r} leaves the tree")
    return os.path.abspath(root / location)
