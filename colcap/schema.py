"""Every table's columns, once. Nothing is inferred: an all-null column keeps its type."""

from __future__ import annotations

from typing import Final, TypeAlias

import polars as pl

Columns: TypeAlias = dict[str, type[pl.DataType] | pl.DataType]

STATUS: Final[Columns] = {"status": pl.String, "error_kind": pl.String, "error": pl.String}
"""`status` is ok, skipped or error; `error_kind` is one of errors.ERROR_KINDS."""

CLIPS: Final = pl.Schema(
    {
        "clip_id": pl.String,
        "uri": pl.String,
        "part": pl.Int32,
        "warning": pl.String,
        "width": pl.Int32,
        "height": pl.Int32,
        "fps": pl.Float64,
        "num_frames": pl.Int64,
        "duration_s": pl.Float64,
        "codec": pl.String,
        "rotation": pl.Int32,
        "has_audio": pl.Boolean,
        "num_bytes": pl.Int64,
        "num_windows": pl.Int32,
        **STATUS,
    }
)
"""One row a clip; the manifest's own further columns follow."""

WINDOWS: Final = pl.Schema(
    {
        "window_id": pl.String,
        "clip_id": pl.String,
        "window_index": pl.Int32,
        "start_frame": pl.Int64,
        "end_frame": pl.Int64,
        "start_s": pl.Float64,
        "end_s": pl.Float64,
        "num_frames": pl.Int64,
        "fps": pl.Float64,
        "width": pl.Int32,
        "height": pl.Int32,
        "cut": pl.String,
        "mp4_bytes": pl.Int64,
        "mp4_sha256": pl.String,
        "warning": pl.String,
        **STATUS,
    }
)
"""One row a window; `end_frame` is inclusive, `end_s` is where the last frame stops being shown."""

WINDOWS_MP4: Final = pl.Schema({"window_id": pl.String, "mp4": pl.Binary})

PREVIEWS: Final = pl.Schema(
    {
        "window_id": pl.String,
        "num_frames": pl.Int32,
        "width": pl.Int32,
        "height": pl.Int32,
        "webp_bytes": pl.Int64,
        "webp_sha256": pl.String,
        "mean_luma": pl.Float64,
        "motion": pl.Float64,
        "warning": pl.String,
        "fingerprint": pl.String,
        **STATUS,
    }
)
"""One row a window; `mean_luma` and `motion` are of the frames shown, 0 to 255: see media.values.Preview."""

PREVIEWS_WEBP: Final = pl.Schema({"window_id": pl.String, "webp": pl.Binary})

SAMPLES: Final = pl.Schema(
    {
        "window_id": pl.String,
        "num_frames": pl.Int32,
        "frame_width": pl.Int32,
        "frame_height": pl.Int32,
        "frame_indices": pl.List(pl.Int64),
        "source_frames": pl.Int64,
        "source_fps": pl.Float64,
        "content_id": pl.String,
        "warning": pl.String,
        **STATUS,
        "frames": pl.Binary,
    }
)
"""What a caption step sees of a window: uint8 RGB, (num_frames, frame_height, frame_width, 3). Never stored."""

_MEDIA: Columns = {
    "clip": pl.Struct(dict(CLIPS)),
    "window": pl.Struct(dict(WINDOWS)),
    "mp4": pl.Binary,
    "preview": pl.Struct(dict(PREVIEWS)),
    "webp": pl.Binary,
    "sample": pl.Struct({name: kind for name, kind in SAMPLES.items() if name != "frames"}),
    "frames": pl.Binary,
}
MEDIA: Final = pl.Schema(_MEDIA)
"""What the media step gives: a row per window, facts in structs, bytes at the top level so that they move whole."""

CAPTIONS: Final = pl.Schema(
    {
        "window_id": pl.String,
        "caption_set": pl.String,
        "attempt": pl.Int32,
        "caption": pl.String,
        "caption_json": pl.String,
        "stage1_caption": pl.String,
        "prompt_tokens": pl.Int32,
        "output_tokens": pl.Int32,
        "finish_reason": pl.String,
        "num_frames": pl.Int32,
        "frame_width": pl.Int32,
        "frame_height": pl.Int32,
        "model": pl.String,
        "model_revision": pl.String,
        "prompt_variant": pl.String,
        "prompt_sha256": pl.String,
        "fingerprint": pl.String,
        "warning": pl.String,
        **STATUS,
    }
)
"""One row a window and attempt; `caption_json` is canonical JSON, where the captions obey a schema; `warning` says from
what size to what the frames were shrunk to fit the context."""

ENHANCED: Final = pl.Schema(
    {
        "window_id": pl.String,
        "caption_set": pl.String,
        "attempt": pl.Int32,
        "caption_attempt": pl.Int32,
        "enhanced_caption": pl.String,
        "prompt_tokens": pl.Int32,
        "output_tokens": pl.Int32,
        "finish_reason": pl.String,
        "model": pl.String,
        "model_revision": pl.String,
        "prompt_variant": pl.String,
        "prompt_sha256": pl.String,
        "fingerprint": pl.String,
        **STATUS,
    }
)

JOINED: Final = frozenset({*WINDOWS, *PREVIEWS, *CAPTIONS, *ENHANCED}) | {
    "window_status",
    "preview_num_frames",
    "preview_width",
    "preview_height",
    "preview_status",
    "enhanced_model",
    "enhanced_tokens",
    "enhanced_finish_reason",
    "errors",
    *(f"source_{name}" for name in ("width", "height", "fps", "num_frames", "duration_s", "codec", "bytes")),
}
"""What stands beside a clip's columns in exports and conditions: no column of a manifest's own can be named so."""


SURVEY: Final = pl.Schema(
    {
        "clip_id": pl.String,
        "num_bytes": pl.Int64,
        "num_frames": pl.Int64,
        "duration_s": pl.Float64,
        "width": pl.Int32,
        "height": pl.Int32,
        "sampled_frames": pl.Int32,
        "vision_tokens": pl.Int64,
        "prompt_tokens": pl.Int64,
        "warning": pl.String,
        **STATUS,
    }
)
"""What `explain` finds out: a row a window, or a row that says why a clip has none. `num_bytes` is the window's share
of its source; the status of a window is its caption's, as far as it shows in advance. Never stored."""

TABLES: Final = {
    "clips": CLIPS,
    "windows": WINDOWS,
    "windows_mp4": WINDOWS_MP4,
    "previews": PREVIEWS,
    "previews_webp": PREVIEWS_WEBP,
    "captions": CAPTIONS,
    "enhanced": ENHANCED,
}
"""The seven tables of a run folder, in the order of the pipeline."""

LATER_COLUMNS: Final = {"previews": ("mean_luma", "motion"), "captions": ("caption_json", "warning")}
"""Columns that older runs don't have: null where they are missing."""

BLOB_TABLES: Final = {"windows_mp4": "mp4", "previews_webp": "webp"}
"""Tables of bytes, kept apart from the facts, and their column."""

FACTS_OF: Final = {"windows_mp4": "windows", "previews_webp": "previews"}
"""Tables of bytes, and the tables that have their sizes and hashes."""

TIMINGS: Final = pl.Schema(
    {
        "part": pl.Int32,
        "attempt": pl.Int32,
        "stage": pl.String,
        "wall_s": pl.Float64,
        "cpu_s": pl.Float64,
        "rows": pl.Int64,
        "num_bytes": pl.Int64,
    }
)
"""What each stage took for each part. No data: a missing file is no damage."""

SIDE_TABLES: Final = {"timings": TIMINGS}
"""Tables about a run and not about its clips."""

SET_TABLES: Final = ("captions", "enhanced")
"""Tables with a folder for each caption set and a file for each attempt."""
