"""Windows too long for the model's context are shrunk, or are error rows before the engine sees them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

import colcap
from colcap.config import Config, parse
from colcap.engines.base import Engine, Request, Video
from colcap.engines.chat import ChatEncoder
from colcap.engines.prompt_tokens import PromptCounter
from colcap.models.tiny.scenes import Scene
from colcap.models.tiny.synth import clip
from colcap.models.weights import resolve
from colcap.qa.check import check
from colcap.runners import choices

TINY = resolve("tiny", model_dir=Path("models"))
MANY_FRAMES: dict[str, Any] = {"model_variant": "tiny", "window_size": 512, "sampling_fps": 30.0}
LONG, TOO_LONG = "Describe the video. " * 800, "Describe the video. " * 2000
"""Prompts of some 3,300 and 8,000 tokens; the context is 8,192."""


def config(**captioning: Any) -> Config:
    return parse({"captioning": {**MANY_FRAMES, **captioning}})


@pytest.fixture(scope="module")
def long_clip() -> bytes:
    """Of 512 frames, which are 5,120 tokens at the model's usual size."""
    return clip([(Scene("red", "circle", "black", "left"), 512)], width=300, height=240, fps=30, rng=random.Random(1))


@pytest.fixture(scope="module")
def run(long_clip: bytes, tiny_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> colcap.Run:
    """The same clip three times, with prompts of different lengths."""
    folder = tmp_path_factory.mktemp("budget")
    rows = {"clip_id": ["fits", "long", "too_long"], "mp4": [long_clip] * 3, "prompt_text": [None, LONG, TOO_LONG]}
    pl.DataFrame(rows, schema_overrides={"prompt_text": pl.String}).write_parquet(folder / "m.parquet")
    return colcap.run(
        folder / "m.parquet", folder / "out", engine=tiny_engine, generate_previews=False, captioning=MANY_FRAMES
    )


def test_a_window_is_shrunk_to_the_room_that_its_prompt_leaves(run: colcap.Run) -> None:
    fits, long, too_long = run.captions.collect().iter_rows(named=True)
    counter = PromptCounter(TINY.path)
    room = 8192 - 512 - counter.count(LONG)

    assert (fits["status"], fits["frame_width"], fits["frame_height"], fits["warning"]) == ("ok", 140, 112, None)
    assert fits["prompt_tokens"] == counter.count(choices.caption_prompt(Config())[0]) + 5120
    assert (long["status"], long["num_frames"]) == ("ok", 512)
    assert long["warning"] == (
        f"frames shrunk from 140x112 to {long['frame_width']}x{long['frame_height']}: 5120 tokens, "
        f"and the prompt leaves {room} of the context"
    )
    assert long["prompt_tokens"] + 512 <= 8192
    assert too_long["status"] == "error"
    assert too_long["error_kind"] == "over_context"
    assert "512 frames are 1536 tokens even at 84x56, and the prompt leaves 0" in too_long["error"]


def test_nothing_was_asked_of_the_engine_that_did_not_fit(run: colcap.Run, tiny_engine: Engine) -> None:
    """The run above again, with a new prompt for the clip without one: made from its stored windows this time."""
    before = tiny_engine.stats.requests_done

    colcap.run(
        run.path.parent / "m.parquet",
        run.path,
        engine=tiny_engine,
        generate_previews=False,
        captioning={**MANY_FRAMES, "prompt_text": "Describe this video."},
    )

    again = run.captions.filter(pl.col("attempt") == 2).collect()
    first = run.captions.filter(pl.col("attempt") == 1).collect()
    same = ["window_id", "frame_width", "frame_height", "warning", "status", "error"]
    assert again.select(same).equals(first.select(same))
    assert tiny_engine.stats.requests_done - before == 2


def test_the_second_pass_needs_room_for_the_first_caption() -> None:
    prompt = choices.caption_prompt(Config())[0]
    one = choices.context(config(), TINY)
    two = choices.context(config(generate_stage2_caption=True), TINY)
    wordy = choices.context(config(generate_stage2_caption=True, stage2_prompt_text=LONG), TINY)

    assert one is not None
    assert two is not None
    assert wordy is not None
    assert one.room(prompt) == 8192 - 512 - PromptCounter(TINY.path).count(prompt)
    assert two.room(prompt) == 8192 - 512 - PromptCounter(TINY.path).count("Please refine this caption: ") - 512
    assert wordy.room(prompt) == 8192 - 512 - PromptCounter(TINY.path).count(LONG) - 512


@pytest.mark.parametrize("text", ["Describe.", LONG, "", "<|im_end|> <|video_pad|> {{ x }}", "\\ ü 漢字 \U0001f3a5\n"])
def test_tokens_are_counted_as_the_engine_makes_them(text: str) -> None:
    video = Video(np.zeros((4, 28, 28, 3), np.uint8), [0, 1, 2, 3], source_frames=4, source_fps=2.0, content_id="v")

    result = PromptCounter(TINY.path)

    assert result.is_exact
    assert result.count(text) == len(ChatEncoder(TINY.path).encode(Request(text, video=video))) - 1
    assert result.count(text) <= PromptCounter(None).count(text)


def test_the_engines_options_decide_on_the_context_and_belong_to_no_fingerprint() -> None:
    small = parse({"captioning": MANY_FRAMES, "runtime": {"engine_kwargs": {"max_model_len": 2048}}})
    unknown = parse({"captioning": MANY_FRAMES, "runtime": {"engine_kwargs": {"max_model_len": "auto"}}})

    rooms = [choices.fitted_spec(c, TINY).max_tokens for c in (config(), small, unknown)]

    assert rooms[0] is not None
    assert rooms[1] is not None
    assert rooms[0] - rooms[1] == 8192 - 2048
    assert rooms[2] is None
    assert choices.caption_fingerprint(small, TINY) == choices.caption_fingerprint(config(), TINY)


def test_the_models_own_processor_decides_by_itself() -> None:
    assert choices.fitted_spec(config(model_does_preprocess=True), TINY).max_tokens is None


def test_a_run_of_before_the_warning_can_be_read_and_checked(run: colcap.Run) -> None:
    for file in (run.path / "captions" / "set=default").iterdir():
        older = pq.read_table(file).drop_columns(["caption_json", "warning"])
        pq.write_table(older.replace_schema_metadata(pq.read_metadata(file).metadata), file)

    assert run.captions.collect()["warning"].to_list() == [None] * run.captions.collect().height
    assert run.sql("select count(*) from captions_latest where warning is null").item() == 3
    assert check(run.path) == []
