"""Small run folders, written file by file, so that a test can damage any of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from colcap.schema import SET_TABLES, TABLES
from colcap.store import PART_NAME

Tables = dict[str, pl.DataFrame]
"""Path inside the run -> rows."""

CLIPS: dict[str, tuple[int, list[int]]] = {"a": (0, [256, 200]), "b": (0, [90]), "gone": (0, []), "d": (1, [100])}
"""Clip id -> its part and the frames of its windows; `gone` could not be read."""

FINGERPRINT = "f" * 16


def path(table: str, part: int, *, caption_set: str = "default", attempt: int = 1) -> str:
    """Where a part of a table is."""
    folder = f"{table}/set={caption_set}" if table in SET_TABLES else table
    return f"{folder}/part-{part:06d}{f'.a{attempt}' if attempt > 1 else ''}.parquet"


def rows(table: str, facts: list[dict[str, object]]) -> pl.DataFrame:
    """Rows of a table; columns that are not given are null."""
    return pl.DataFrame([{**dict.fromkeys(TABLES[table]), **row} for row in facts], schema=TABLES[table], orient="row")


def media() -> Tables:
    """Clips, windows and previews with their bytes: two parts, a clip that failed, a preview that failed."""
    tables: Tables = {}
    for part in (0, 1):
        mine = {name: lengths for name, (where, lengths) in CLIPS.items() if where == part}
        tables[path("clips", part)] = rows("clips", [_clip(name, part, lengths) for name, lengths in mine.items()])
        windows = [row for name, lengths in mine.items() for row in _windows(name, lengths)]
        tables[path("windows", part)] = rows("windows", windows)
        previews = [_preview(str(window["window_id"])) for window in windows]
        tables[path("previews", part)] = rows("previews", previews)
        for table, blob, facts in (("windows_mp4", "mp4", windows), ("previews_webp", "webp", previews)):
            there = [
                {"window_id": r["window_id"], blob: _bytes(r["window_id"], blob)} for r in facts if r["status"] == "ok"
            ]
            tables[path(table, part)] = rows(table, there)
    return tables


def full() -> Tables:
    """A run whose every step ran: captions in set `default`, and an enhancement of them."""
    tables = media()
    for part in (0, 1):
        names = tables[path("windows", part)]["window_id"].to_list()
        tables[path("captions", part)] = captions([(name, f"A red circle moves, number {name}.") for name in names])
        enhanced = [
            _label(name, 1, "default")
            | {"caption_attempt": 1, "enhanced_caption": f"A warm red circle moves, and more, number {name}."}
            for name in names
        ]
        tables[path("enhanced", part)] = rows("enhanced", enhanced)
    return tables


def only(*tables: str) -> Tables:
    """A run that has these tables, and the bytes of those that have bytes."""
    bytes_of = {"windows": "windows_mp4", "previews": "previews_webp"}
    names = {*tables, *(bytes_of.get(name, name) for name in tables)}
    return {path: rows for path, rows in full().items() if path.partition("/")[0] in names}


def captions(texts: list[tuple[str, str]], *, attempt: int = 1, caption_set: str = "default") -> pl.DataFrame:
    """Ok caption rows of window ids and texts."""
    return rows("captions", [_label(name, attempt, caption_set) | {"caption": text} for name, text in texts])


def _label(name: str, attempt: int, caption_set: str) -> dict[str, object]:
    return {
        "window_id": name,
        "caption_set": caption_set,
        "attempt": attempt,
        "prompt_tokens": 100,
        "output_tokens": 12,
        "finish_reason": "stop",
        "model": "tiny",
        "fingerprint": FINGERPRINT,
        "status": "ok",
    }


def _clip(name: str, part: int, lengths: list[int]) -> dict[str, object]:
    facts: dict[str, object] = {"clip_id": name, "uri": f"/clips/{name}.mp4", "part": part, "num_windows": len(lengths)}
    if not lengths:
        return facts | {"status": "error", "error_kind": "unreadable", "error": "no such file"}
    seen = {"num_frames": sum(lengths), "fps": 30.0, "duration_s": sum(lengths) / 30, "codec": "h264"}
    return facts | seen | {"width": 64, "height": 48, "status": "ok"}


def _windows(clip: str, lengths: list[int]) -> list[dict[str, object]]:
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    return [
        {
            "window_id": (name := f"{clip}:{index:05d}"),
            "clip_id": clip,
            "window_index": index,
            "start_frame": start,
            "end_frame": start + length - 1,
            "start_s": start / 30,
            "end_s": (start + length) / 30,
            "num_frames": length,
            "cut": "copy",
            "mp4_bytes": len(_bytes(name, "mp4")),
            "mp4_sha256": hashlib.sha256(_bytes(name, "mp4")).hexdigest(),
            "status": "ok",
        }
        for index, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]


def _preview(name: str) -> dict[str, object]:
    if name.startswith("b"):
        return {"window_id": name, "status": "error", "error_kind": "encode_failed", "error": "no room"}
    data = _bytes(name, "webp")
    facts = {"webp_bytes": len(data), "webp_sha256": hashlib.sha256(data).hexdigest(), "warning": "lower target_height"}
    return {"window_id": name, "num_frames": 4, "status": "ok", **facts}


def _bytes(name: object, kind: str) -> bytes:
    return f"{kind} of {name}".encode() * 10


def manifest() -> pl.DataFrame:
    """The frozen manifest, with two columns of its own."""
    own = {"title": [name.upper() for name in CLIPS], 'it\'s "odd"': list(range(len(CLIPS)))}
    parts = pl.Series([part for part, _ in CLIPS.values()], dtype=pl.Int32)
    uris = [f"/clips/{name}.mp4" for name in CLIPS]
    return pl.DataFrame({"clip_id": list(CLIPS), "uri": uris, "part": parts, **own})


def write(run: Path, tables: Mapping[str, pl.DataFrame], *, with_manifest: bool = True) -> Path:
    """Write a run folder."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "run.toml").touch()
    if with_manifest:
        manifest().write_parquet(run / "manifest.parquet")
    for name, frame in tables.items():
        write_part(run / name, frame)
    return run


def write_part(file: Path, frame: pl.DataFrame, **footer: str) -> None:
    """Write one part with its footer; `footer` overrides what it says."""
    match = PART_NAME.fullmatch(file.name)
    assert match
    said = {"part": str(int(match[1])), "rows": str(frame.height), "fingerprint": FINGERPRINT} | footer
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    metadata = {f"colcap.{key}": value for key, value in said.items() if value}
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), file)
