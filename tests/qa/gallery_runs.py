"""Runs with pictures: real animated WebPs, two caption sets, and texts that a page must not take at their word."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import polars as pl
import qa_runs
from PIL import Image, ImageDraw

SCRIPT = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"
TEXTS = {
    "street:00000": "A delivery van stops beside the market hall and its driver unloads two crates of oranges.",
    "street:00001": "The van leaves; rain falls on the empty pavement while a cyclist in a yellow coat waits.",
    "street:00002": "The van leaves; rain falls on the empty pavement and",
    "hostile:00000": SCRIPT,
    "hostile:00001": "]]></script></style></textarea>{{ 7 * 7 }} ${7 * 7} \u202eevil\u202c 'a' \"b\" &amp; \x00\x1b[",
    "harbour:00000": "Ein Kran hebt einen roten Container vom Schiff, Möwen kreisen über dem Kai.",
    "harbour:00001": "港で赤いコンテナが船から降ろされる。",
}
SCENES = list(TEXTS)
CLIPS = ["harbour", "hostile", "street"]


def webp(seed: int, *, frames: int = 5, width: int = 426, height: int = 240) -> bytes:
    """A disc that crosses a sky, animated."""
    pictures = []
    for frame in range(frames):
        picture = Image.new("RGB", (width, height), f"hsl({seed * 47 % 360}, 45%, 60%)")
        x = width * (frame + 0.5) / frames
        draw = ImageDraw.Draw(picture)
        draw.rectangle((0, height * 0.7, width, height), fill=f"hsl({seed * 47 % 360}, 30%, 30%)")
        draw.ellipse((x - 34, 70, x + 34, 138), fill=f"hsl({seed * 83 % 360}, 80%, 55%)")
        pictures.append(picture)
    data = io.BytesIO()
    pictures[0].save(data, "webp", save_all=True, append_images=pictures[1:], duration=400, loop=0, quality=50)
    return data.getvalue()


def small(run: Path) -> Path:
    """Three clips with seven windows, two caption sets, a clip that could not be read, one with a hostile name."""
    names = {f"clip-{name}" if name != "hostile" else SCRIPT: name for name in CLIPS}
    windows = [_window(clip, name, text) for clip, name in names.items() for text in SCENES if text.startswith(name)]
    clips = [_clip(clip, f"/videos/{clip}.mp4") for clip in names]
    broken = {"status": "error", "error_kind": "unreadable", "error": f"moov atom not found {SCRIPT}"}
    write(run, [*clips, _clip("broken", "/videos/broken.mp4") | broken], windows, {})
    captions = [_say(w["window_id"], text) for w, text in zip(windows, _texts(windows), strict=True)]
    captions[-1] |= {"finish_reason": "length", "output_tokens": 512}
    captions[1] |= {"status": "error", "error_kind": "over_context", "error": "32,912 tokens, at most 32,768 fit"}
    captions[1] |= {"caption": None, "output_tokens": None}
    terse = [row | {"caption_set": "terse", "caption": _shorter(row["caption"])} for row in captions]
    enhanced = {
        key: captions[-2][key] for key in ("window_id", "caption_set", "attempt", "model", "status", "output_tokens")
    }
    enhanced["caption_attempt"] = enhanced["attempt"]
    enhanced["enhanced_caption"] = "In steady rain the van pulls away from the hall; a cyclist in a yellow coat waits."
    tables = {"captions": captions, "enhanced": [enhanced]}
    return write(run, [], [], tables | {"terse": terse})


def _texts(windows: list[dict[str, object]]) -> list[str]:
    return [TEXTS[str(w["mp4_sha256"])] for w in windows]


def _shorter(text: object) -> str | None:
    return text.replace("empty pavement", "square").replace("two crates", "crates") if isinstance(text, str) else None


def large(run: Path, *, windows: int = 2000, size: int = 0) -> Path:
    """Many windows, ten a clip; `size`: bytes that each preview is padded to."""
    clips = [_clip(f"clip-{c:04d}", f"/videos/clip-{c:04d}.mp4") for c in range(windows // 10)]
    rows = [_window(str(clips[i // 10]["clip_id"]), f"{i % 10}", f"x:{i % 10:05d}") for i in range(windows)]
    captions = [
        _say(row["window_id"], f"Scene number {i}: {list(TEXTS.values())[i % 3]}") for i, row in enumerate(rows)
    ]
    return write(run, clips, rows, {"captions": captions}, size=size)


def write(
    run: Path,
    clips: list[dict[str, object]],
    windows: list[dict[str, object]],
    said: dict[str, list[dict[str, object]]],
    *,
    size: int = 0,
) -> Path:
    """Write rows as part 0 of their tables."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "run.toml").touch()
    part = {"part": 0}
    if clips:
        pictures = [webp(seed) for seed in range(min(12, len(windows)))]
        images = [(str(w["window_id"]), _padded(pictures[i % len(pictures)], size, i)) for i, w in enumerate(windows)]
        ids = [str(clip["clip_id"]) for clip in clips]
        manifest = {"clip_id": ids, "uri": ids, "part": pl.Series([0] * len(ids), dtype=pl.Int32), "camera": ids}
        pl.DataFrame(manifest).write_parquet(run / "manifest.parquet")
        rows = qa_runs.rows("clips", [clip | part for clip in clips]).with_columns(camera=pl.col("clip_id"))
        qa_runs.write_part(run / qa_runs.path("clips", 0), rows)
        _write(run, "windows", windows)
        _write(run, "previews", [_preview(name, data) for name, data in images])
        _write(run, "previews_webp", [{"window_id": name, "webp": data} for name, data in images])
    for name, rows in said.items():
        table, caption_set = ("captions", name) if name == "terse" else (name, "default")
        qa_runs.write_part(run / qa_runs.path(table, 0, caption_set=caption_set), qa_runs.rows(table, rows))
    return run


def _write(run: Path, table: str, rows: list[dict[str, object]]) -> None:
    qa_runs.write_part(run / qa_runs.path(table, 0), qa_runs.rows(table, rows))


def _padded(data: bytes, size: int, number: int) -> bytes:
    """No two are the same bytes. Decoders stop at the length that the file's head gives."""
    return data + number.to_bytes(4, "big") + bytes(max(0, size - len(data) - 4))


def _clip(clip_id: str, uri: str) -> dict[str, object]:
    return {"clip_id": clip_id, "uri": uri, "status": "ok", "width": 1280, "height": 720, "fps": 30.0, "num_windows": 1}


def _window(clip: str, name: str, scene: str) -> dict[str, object]:
    index = int(scene[-5:])
    return {
        "window_id": f"{clip}:{index:05d}",
        "clip_id": clip,
        "window_index": index,
        "start_s": index * 8.5,
        "end_s": index * 8.5 + 8.5,
        "num_frames": 256,
        "cut": "copy",
        "mp4_sha256": scene,
        "status": "ok",
    }


def _preview(window_id: str, data: bytes) -> dict[str, object]:
    if window_id.endswith("harbour:00001"):
        return {"window_id": window_id, "status": "error", "error_kind": "encode_failed", "error": "no frames"}
    warning = (
        "source height 144 is below target_height 240: lower target_height" if "street:00001" in window_id else None
    )
    facts = {"window_id": window_id, "num_frames": 5, "width": 426, "height": 240, "webp_bytes": len(data)}
    return facts | {"webp_sha256": hashlib.sha256(data).hexdigest(), "warning": warning, "status": "ok"}


def _say(window_id: object, text: str) -> dict[str, object]:
    return {
        "window_id": window_id,
        "caption_set": "default",
        "attempt": 1,
        "caption": text,
        "prompt_tokens": 1400,
        "output_tokens": len(text.split()) * 4 // 3,
        "finish_reason": "stop",
        "model": "Qwen/Qwen2.5-VL-7B-Instruct",
        "status": "ok",
    }
