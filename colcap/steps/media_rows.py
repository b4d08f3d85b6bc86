"""Rows of `schema.MEDIA`: what the media layer made of clips and windows, or why it could not."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from colcap import media
from colcap.errors import RowError
from colcap.schema import CLIPS, MEDIA, PREVIEWS, SAMPLES, WINDOWS

OK: Final = {"status": "ok", "error_kind": None, "error": None}


def failure(error: RowError) -> dict[str, str]:
    """The status columns of a row that failed."""
    return {"status": error.status, "error_kind": error.kind, "error": error.text}


def window_id(clip_id: str, index: int) -> str:
    """Id of a clip's window; sorts with its clip.

    >>> window_id("street", 3)
    'street:00003'
    """
    return f"{clip_id}:{index:05d}"


def clip_of(window_id: str) -> str:
    """Id of a window's clip, which may have a colon in it itself.

    >>> clip_of("street:00003")
    'street'
    """
    return window_id.rpartition(":")[0]


def window_made(name: str, made: media.Window) -> dict[str, Any]:
    """The media row of a known window's products."""
    return _row(None, _only_id(name), None, *_products(name, made))


def window_failed(name: str, error: RowError, wanted: media.Wanted) -> dict[str, Any]:
    """The media row of a known window none of whose products could be made."""
    preview = error if wanted.preview else None
    sample = error if wanted.sample else None
    return _row(None, _only_id(name), None, *_preview(name, preview), *_sample(name, sample))


def clip_failed(clip: dict[str, Any], error: RowError, num_bytes: int | None = None) -> dict[str, Any]:
    """The media row of a clip that gave nothing."""
    facts = {"clip_id": clip["clip_id"], "uri": clip.get("uri"), "part": clip.get("part")}
    facts |= {"num_bytes": num_bytes, "num_windows": 0, **failure(error)}
    return _row({**dict.fromkeys(CLIPS), **facts}, None, None, None, None, None, None)


def clip_facts(clip: dict[str, Any], made: media.Clip) -> dict[str, Any]:
    """The clips row of a clip that has windows."""
    probe = made.probe
    return {
        "clip_id": clip["clip_id"],
        "uri": clip.get("uri"),
        "part": clip.get("part"),
        **{name: getattr(probe, name) for name in _PROBED},
        "num_windows": len(made.windows),
        **OK,
    }


_PROBED: Final = [
    "warning",
    "width",
    "height",
    "fps",
    "num_frames",
    "duration_s",
    "codec",
    "rotation",
    "has_audio",
    "num_bytes",
]


def clip_window(clip: dict[str, Any], index: int, window: media.Window, probe: media.Probe) -> dict[str, Any]:
    """The media row of one of a clip's windows."""
    name = window_id(clip["clip_id"], index)
    facts = {
        "window_id": name,
        "clip_id": clip["clip_id"],
        "window_index": index,
        "start_frame": window.start_frame,
        "end_frame": window.end_frame,
        "start_s": window.start_s,
        "end_s": window.end_s,
        "num_frames": window.num_frames,
        "fps": probe.fps,
        "width": probe.width,
        "height": probe.height,
        "cut": window.cut,
        "mp4_bytes": None if window.mp4 is None else len(window.mp4),
        "mp4_sha256": None if window.mp4 is None else hashlib.sha256(window.mp4).hexdigest(),
        "warning": window.warning,
        **(OK if window.error is None else failure(window.error)),
    }
    return _row(clip, facts, window.mp4, *_products(name, window))


def _products(name: str, window: media.Window) -> tuple[Any, ...]:
    return (*_preview(name, window.preview), *_sample(name, window.sample))


def _preview(name: str, preview: media.Preview | RowError | None) -> tuple[dict[str, Any] | None, bytes | None]:
    if preview is None:
        return None, None
    blank = {**dict.fromkeys(PREVIEWS), "window_id": name}
    if isinstance(preview, RowError):
        return {**blank, **failure(preview)}, None
    facts = {
        "num_frames": preview.num_frames,
        "width": preview.width,
        "height": preview.height,
        "webp_bytes": len(preview.webp),
        "webp_sha256": hashlib.sha256(preview.webp).hexdigest(),
        "mean_luma": preview.mean_luma,
        "motion": preview.motion,
        "warning": preview.warning,
    }
    return {**blank, **facts, **OK}, preview.webp


def _sample(name: str, sample: media.Sample | RowError | None) -> tuple[dict[str, Any] | None, bytes | None]:
    if sample is None:
        return None, None
    blank = {**dict.fromkeys(_SAMPLE_FACTS), "window_id": name}
    if isinstance(sample, RowError):
        return {**blank, **failure(sample)}, None
    num_frames, height, width, _ = sample.frames.shape
    facts = {
        "num_frames": num_frames,
        "frame_width": width,
        "frame_height": height,
        "frame_indices": list(sample.frame_indices),
        "source_frames": sample.source_frames,
        "source_fps": sample.source_fps,
        "content_id": sample.content_id,
        "warning": sample.warning,
    }
    return {**blank, **facts, **OK}, sample.frames.tobytes()


_SAMPLE_FACTS: Final = tuple(name for name in SAMPLES if name != "frames")


def _only_id(name: str) -> dict[str, Any]:
    return {**dict.fromkeys(WINDOWS), "window_id": name}


def _row(*values: Any) -> dict[str, Any]:
    return dict(zip(MEDIA, values, strict=True))
