"""A request that cannot be answered is one error; those beside it are answered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_windows import window, windows

from colcap.engines import vllm
from colcap.engines.base import Engine, Request, Sampling, Video
from colcap.errors import ConfigError
from colcap.models.tiny.scenes import caption


def video(frames: np.ndarray, content_id: str) -> Video:
    count = len(frames)
    return Video(frames, list(range(count)), source_frames=count, source_fps=2.0, content_id=content_id)


ODD_SIZE = video(np.zeros((4, 100, 112, 3), np.uint8), "odd")
LONG = video(np.zeros((830, 112, 140, 3), np.uint8), "long")


@pytest.mark.parametrize(
    ("request_", "kind", "words"),
    [
        (Request("word " * 9000), "over_context", "the model takes 8192 with its answer"),
        (Request("Describe.", video=LONG), "over_context", "the model takes 8192 with its answer"),
        (Request("Describe.", video=ODD_SIZE), "rejected", "multiples of 28 pixels, got 112x100"),
        (Request("\ud800"), "rejected", "not valid Unicode"),
    ],
)
def test_one_bad_request(tiny_engine: Engine, request_: Request, kind: str, words: str) -> None:
    good, scene = window(2)

    before, result, after = tiny_engine.generate(
        [Request("Describe.", video=good), request_, Request("Describe.", video=good)], Sampling()
    )

    assert result.text is None
    assert result.error is not None
    assert result.error.kind == kind
    assert words in result.error.text
    assert before.text == after.text == caption(scene)


def test_a_video_that_was_refused_with_one_prompt_can_be_asked_with_another(tiny_engine: Engine) -> None:
    """Its frames were rendered and remembered, but never reached the engine."""
    video, scene = window(100)
    long_text = Request("a " * 8130, video=video)

    [refused] = tiny_engine.generate([long_text], Sampling())
    [result] = tiny_engine.generate([Request("Describe the video.", video=video)], Sampling())

    assert refused.error is not None
    assert refused.error.kind == "over_context"
    assert result.error is None
    assert result.text == caption(scene)


def test_an_answer_that_is_cut_says_so(tiny_engine: Engine) -> None:
    [result] = tiny_engine.generate([Request("Describe.", video=window(2)[0])], Sampling(max_output_tokens=3))

    assert (result.finish_reason, result.output_tokens, result.error) == ("length", 3, None)


def test_prompt_tokens_are_those_of_the_text_and_of_the_frames(tiny_engine: Engine) -> None:
    videos, _ = windows(12)
    [text_only] = tiny_engine.generate([Request("Describe.")], Sampling())

    result = tiny_engine.generate([Request("Describe.", video=v) for v in videos], Sampling())

    around = 2  # <|vision_start|> and <|vision_end|>
    pairs = [len(v.frames) // 2 * (v.frames.shape[1] // 28) * (v.frames.shape[2] // 28) for v in videos]
    assert [a.prompt_tokens for a in result] == [(text_only.prompt_tokens or 0) + around + n for n in pairs]


def test_videos_of_one_size_are_told_apart(tiny_engine: Engine) -> None:
    """Without ids of their own, an engine's caches once answered clip B with clip A's caption."""
    frames = [np.full((4, 112, 112, 3), 10, np.uint8) for _ in range(2)]
    for i, colour in enumerate([(222, 38, 38), (48, 84, 232)]):
        for t in range(4):
            frames[i][t, 30:80, 10 + 15 * t : 60 + 15 * t] = colour
    requests = [Request("Describe.", video=video(f, f"colour {i}")) for i, f in enumerate(frames)]

    result = [tiny_engine.generate([request], Sampling())[0].text for request in requests]

    assert result == [f"A {colour} square moves right across a black background." for colour in ("red", "blue")]


@pytest.mark.parametrize("wrong", [{"top_p": 0.0}, {"max_output_tokens": 0}, {"temperature": -1.0}])
def test_wrong_sampling_is_a_config_error(tiny_engine: Engine, wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong)).removesuffix("_output_tokens")):
        tiny_engine.generate([Request("Describe.")], replace(Sampling(), **wrong))


def test_fp8_on_a_cpu_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="fp8: needs a GPU"):
        vllm.check_available(fp8=True)


def test_a_video_says_its_shape_and_never_its_pixels() -> None:
    assert repr(ODD_SIZE) == "Video(frames=uint8 (4, 100, 112, 3), 4 source frames at 2 fps)"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": np.zeros((4, 2, 2, 4), np.uint8)}, "frames must be"),
        ({"frames": np.zeros((4, 2, 2, 3), np.float32)}, "frames must be"),
        ({"frames": np.zeros((0, 2, 2, 3), np.uint8)}, "frames must be"),
        ({"frame_indices": [0, 1]}, "as many frame_indices"),
        ({"frame_indices": [0, 1, 2, 9]}, "below self.source_frames = 4"),
        ({"source_fps": float("nan")}, "source_fps must be"),
        ({"content_id": ""}, "content_id"),
    ],
)
def test_a_video_that_makes_no_sense_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(ODD_SIZE, **change)
