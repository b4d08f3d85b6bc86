"""What users of the reference lost without being told, and do not lose here."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import polars as pl
import pytest

import colcap
from colcap.engines.base import EngineStats, Generation, Request, Sampling

sys.path.append(str(Path(__file__).parents[1] / "media"))

import clips
import making


class Gathering:
    """An engine that answers nobody before it holds this many windows at once, or has waited for 20 s."""

    model, revision = "gathering", None

    def __init__(self, wanted: int) -> None:
        self.stats = EngineStats()
        self.wanted, self.held, self.most = wanted, 0, 0
        self.change = threading.Condition()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        with self.change:
            self.held += len(requests)
            self.most = max(self.most, self.held)
            self.change.notify_all()
            self.change.wait_for(lambda: self.most >= self.wanted, timeout=20)
            self.held -= len(requests)
        return [Generation("a clip", 1, 2, "stop") for _ in requests]

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> colcap.Run:
    """A run without captions of one part, in which one clip is broken and one is too wide for a preview."""
    folder = tmp_path_factory.mktemp("defects")
    data = {
        "broken": b"no video",
        "fragmented": clips.clip("h264 fragmented"),
        "short": making.make(making.Made(num_frames=3)),
        "webm": clips.clip("vp9 webm"),
        "wide": making.make(making.Made(num_frames=4, width=1024, height=16)),
    }
    pl.DataFrame({"clip_id": list(data), "mp4": list(data.values())}).write_parquet(folder / "m.parquet")
    return colcap.run(folder / "m.parquet", folder / "out", generate_captions=False, preview={"target_height": 320})


def test_short_webm_and_fragmented_clips_have_rows_beside_one_that_is_broken(run: colcap.Run) -> None:
    result = run.clips.select("clip_id", "status", "error_kind", "num_windows").collect().sort("clip_id").rows()

    assert [row[:2] for row in result] == [
        ("broken", "error"),
        ("fragmented", "ok"),
        ("short", "skipped"),
        ("webm", "ok"),
        ("wide", "ok"),
    ]
    assert result[2][2] == "too_short"
    assert run.previews.collect().height == sum(row[3] for row in result)  # though there are no captions


def test_a_preview_that_fails_is_a_row_that_says_why(run: colcap.Run) -> None:
    previews = run.previews.collect()
    failed = previews.filter(status="error").select("window_id", "error_kind", "error").rows()

    why = "1024x16 at height 320 is wider than WebP's 16383: lower target_height"
    assert failed == [("wide:00000", "unsupported", why)]
    assert previews.filter(status="ok").height == previews.height - 1


def test_no_prompt_is_indented() -> None:
    folder = files("colcap.prompts")
    prompts = {path.name: path.read_text("utf-8") for path in folder.iterdir() if path.name.endswith(".txt")}

    assert prompts
    assert [
        name for name, text in prompts.items() if any(line[:1].isspace() for line in text.splitlines() if line)
    ] == []


def test_the_engine_holds_windows_of_several_clips_at_once(tmp_path: Path) -> None:
    clip = making.make(making.Made(num_frames=8))  # one window each
    pl.DataFrame({"clip_id": list("abcdefgh"), "mp4": [clip] * 8}).write_parquet(tmp_path / "m.parquet")
    engine = Gathering(wanted=4)

    run = colcap.run(
        tmp_path / "m.parquet",
        tmp_path / "out",
        engine=engine,
        captioning={"model_variant": "tiny"},
        generate_previews=False,
    )

    assert run.captions.collect()["status"].to_list() == ["ok"] * 8
    assert engine.most >= 4
