"""The reference's output tree: previews/, metas/v0/ and, if wanted, clips/."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import polars as pl

from colcap import manifests, objects
from colcap.blobs import Blobs
from colcap.errors import RowError
from colcap.export.folder import Folder
from colcap.export.jsonl import line
from colcap.export.names import Names
from colcap.export.options import Options
from colcap.export.rows import PartRows
from colcap.models.registry import VARIANTS

ENHANCED_CAPTION: Final = "qwen_lm_enhanced_caption"
"""The reference's name for what a text model made of a caption, whichever model it was."""


def previews_folder(tree: Path, clip_id: str | None = None) -> Path:
    """Where the previews of an exported tree are, or those of one clip.

    Parameters
    ----------
    tree : the folder that was exported into.
    clip_id : a clip's id, which is not always the name of its folder.

    Examples
    --------
    >>> previews_folder(Path("tree"), "street").as_posix()
    'tree/previews/street'
    """
    if clip_id is None:
        return tree / "previews"
    marked = Names(alike=frozenset([clip_id.lower()]))(clip_id)
    name = marked if (tree / "metas" / "v0" / f"{marked}.json").exists() else Names()(clip_id)
    return tree / "previews" / name


def write(part: PartRows, folder: Folder, options: Options) -> Counter[str]:
    """Write a part's clips: their previews, their copies if wanted, and last of each its meta."""
    counts: Counter[str] = Counter()
    previews = part.blobs("previews_webp", "webp")
    inside = _blob_clips(part) if options.clips else {}
    for clip_id, group in groupby(part.rows.iter_rows(named=True), key=lambda row: row["clip_id"]):
        rows, name = list(group), options.names(clip_id)
        shown = [row for row in rows if row["window_id"] and _write_preview(folder, name, row, previews)]
        copied, problem = _copy(folder, name, rows[0], inside.get(clip_id), options) if options.clips else (False, None)
        made = meta(rows, location=f"clips/{name}.mp4" if copied else rows[0]["uri"], problem=problem)
        with folder.writing(f"metas/v0/{name}.json") as file:
            file.write(f"{line(made, indent=2)}\n".encode())
        counts.update(metas=1, windows=len(made["windows"]), previews=len(shown), clips=int(copied))
        counts["clips_not_copied"] += problem is not None
    return counts


def meta(rows: list[dict[str, Any]], *, location: str | None, problem: str | None = None) -> dict[str, Any]:
    """What `metas/v0/{clip}.json` says: the reference's fields. Frames are inclusive, errors have their text."""
    clip = rows[0]
    errors = dict(_errors(rows)) | ({"clips": problem} if problem else {})
    windows = [_window(row) for row in rows if row["window_id"] is not None]
    return {
        "span_uuid": clip["clip_id"],
        "source_video": clip["uri"],
        "duration_span": [0.0, clip["source_duration_s"]],
        "width_source": clip["source_width"],
        "height_source": clip["source_height"],
        "framerate_source": clip["source_fps"],
        "clip_location": location,
        "windows": windows,
        "errors": errors,
        "valid": bool(windows) and not any(name.startswith(("clip", "window")) for name in errors),
    }


def caption_field(model: str) -> str:
    """The name of a caption's field: the model's variant, as in the reference.

    >>> caption_field("Qwen/Qwen2.5-VL-7B-Instruct"), caption_field("My/Model-2")
    ('qwen_caption', 'My_Model_2_caption')
    """
    known = (name for name, variant in VARIANTS["vision"].items() if variant.id == model)
    return f"{next(known, re.sub(r'[^A-Za-z0-9]+', '_', model).strip('_'))}_caption"


def _window(row: dict[str, Any]) -> dict[str, Any]:
    window = {"start_frame": row["start_frame"], "end_frame": row["end_frame"]}
    if row["caption"] is not None:
        window[caption_field(row["model"] or "")] = row["caption"]
    if row["enhanced_caption"] is not None:
        window[ENHANCED_CAPTION] = row["enhanced_caption"]
    return window


def _errors(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for row in rows:
        for error in row["errors"]:
            text = f"{error['error_kind']}: {error['error']}"
            frames = f" {row['start_frame']}_{row['end_frame']}"
            yield error["step"] if error["step"] == "clip" else f"{error['step']}{frames}", text


def _write_preview(folder: Folder, name: str, row: dict[str, Any], previews: Blobs) -> bool:
    webp = previews.get(row["window_id"])
    if webp is None:
        return False
    with folder.writing(f"previews/{name}/{row['start_frame']}_{row['end_frame']}.webp") as file:
        file.write(webp)
    return True


def _copy(
    folder: Folder, name: str, clip: dict[str, Any], blob: bytes | None, options: Options
) -> tuple[bool, str | None]:
    """Copy a clip as it is; whether that was done, and if not what went wrong."""
    if any(error["step"] == "clip" for error in clip["errors"]):
        return False, None  # its error is told already
    try:
        with folder.writing(f"clips/{name}.mp4") as target:
            if blob is not None:
                target.write(blob)
            else:
                _stream(clip, target, options)
    except RowError as error:
        return False, str(error)
    return True, None


def _stream(clip: dict[str, Any], target: Any, options: Options) -> None:
    reader = manifests.ClipReader(root=options.root, max_bytes=0)
    try:
        if objects.is_url(clip["uri"]):
            target.writelines(_pieces(reader, clip["uri"]))
        else:
            with open(reader.path(clip["uri"]), "rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
    except OSError as error:
        if error.filename is None:  # a full disk is no fault of the clip's
            raise
        raise manifests.read_error(clip["uri"], error) from None
    if clip["source_bytes"] not in (None, target.tell()):
        raise RowError(
            "source_changed", f"{clip['uri']}: {target.tell()} bytes, {clip['source_bytes']} when it was read"
        )


def _pieces(reader: manifests.ClipReader, uri: str) -> Iterator[bytes]:
    try:
        yield from objects.pieces(reader.url(uri))
    except OSError as error:
        raise manifests.read_error(uri, error) from None


def _blob_clips(part: PartRows) -> dict[str, bytes]:
    """Clips that the manifest itself carries; memory is bounded by a part of them."""
    frozen = part.run / manifests.FROZEN
    if "mp4" not in pl.read_parquet_schema(frozen):
        return {}
    rows = next((rows for _, rows in manifests.iter_parts(frozen, [part.part])), pl.DataFrame())
    return {row["clip_id"]: row["mp4"] for row in rows.select("clip_id", "mp4").to_dicts() if row["mp4"] is not None}
