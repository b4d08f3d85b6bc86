"""What users of the reference lost without being told, and do not lose here."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

import polars as pl

import colcap

sys.path.append(str(Path(__file__).parents[1] / "media"))

import clips


def test_short_webm_and_fragmented_clips_have_rows_beside_one_that_is_broken(tmp_path: Path) -> None:
    data = {
        "broken": b"no video",
        "fragmented": clips.clip("h264 fragmented"),
        "short": clips.make(clips.Made(num_frames=3)),
        "webm": clips.clip("vp9 webm"),
    }
    pl.DataFrame({"clip_id": list(data), "mp4": list(data.values())}).write_parquet(tmp_path / "m.parquet")

    run = colcap.run(tmp_path / "m.parquet", tmp_path / "out", generate_captions=False, preview={"target_height": 32})
    result = run.clips.select("clip_id", "status", "error_kind", "num_windows").collect().sort("clip_id").rows()

    assert [row[:2] for row in result] == [
        ("broken", "error"),
        ("fragmented", "ok"),
        ("short", "skipped"),
        ("webm", "ok"),
    ]
    assert result[2][2] == "too_short"
    previews = run.previews.collect()  # though there are no captions
    assert previews["status"].to_list() == ["ok"] * sum(row[3] for row in result)


def test_no_prompt_is_indented() -> None:
    folder = files("colcap.prompts")
    prompts = {path.name: path.read_text("utf-8") for path in folder.iterdir() if path.name.endswith(".txt")}

    assert prompts
    assert [
        name for name, text in prompts.items() if any(line[:1].isspace() for line in text.splitlines() if line)
    ] == []
