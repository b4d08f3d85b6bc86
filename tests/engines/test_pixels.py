"""However pixels travel, the model sees the same, once normalised; and what a user chose is what happens."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, get_args

import numpy as np
import pytest
import torch
from renderers import rendered, renderer_of

from colcap import media
from colcap.config import PreprocessDtype, parse
from colcap.engines import pixels
from colcap.engines.base import Engine, Generation, Request, Sampling, Video
from colcap.engines.cores import plan_cores
from colcap.engines.pixels import FLOATS, Pixels, Sight
from colcap.errors import ConfigError
from colcap.models.tiny.scenes import random_scene
from colcap.models.tiny.synth import clip
from colcap.models.weights import ResolvedModel
from colcap.runners import choices
from colcap.runners.engine import start_engine

COUNT = 100
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def video_of(frames: np.ndarray) -> Video:
    return Video(frames, list(range(len(frames))), source_frames=len(frames), source_fps=2.0, content_id="v")


def test_every_type_is_what_frames_are_turned_into() -> None:
    frames = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    exact = (frames / 255 - CLIP_MEAN) / CLIP_STD

    result = {name: Pixels(name, 1 / 255, CLIP_MEAN, CLIP_STD).prepared(frames) for name in FLOATS}

    assert {name: made.dtype for name, made in result.items()} == {
        "float32": torch.float32,
        "float16": torch.float16,
        "bfloat16": torch.bfloat16,
    }
    off = [float(np.abs(result[name].double().numpy() - exact).max()) for name in ("float32", "float16", "bfloat16")]
    assert off[0] < 1e-5 < off[1] < 5e-3 < off[2] < 5e-2


@pytest.mark.parametrize("dtype", get_args(PreprocessDtype))
@pytest.mark.parametrize(("as_is", "shape"), [(False, (4, 112, 84, 3)), (True, (4, 201, 155, 3))])
def test_what_reaches_the_engine(tiny: ResolvedModel, dtype: PreprocessDtype, as_is: bool, shape: tuple[int]) -> None:
    video = video_of(np.full(shape, 200, np.uint8))

    result = rendered(tiny, video, dtype, model_does_preprocess=as_is)

    values = result["mm_kwargs"].get_data()["pixel_values_videos"]
    seen = values.float().reshape(len(values), 3, -1).mean(dim=(0, 2)).tolist()
    is_float = dtype in FLOATS
    assert values.dtype == (torch.bfloat16 if is_float else torch.uint8)  # the model's own type comes last
    normalised = [(200 / 255 - mean) / std for mean, std in zip(CLIP_MEAN, CLIP_STD, strict=True)]
    assert seen == pytest.approx(normalised if is_float else [200.0] * 3, abs=0.02)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pixels_that_would_be_normalised_twice_are_found_at_the_start(
    tiny: ResolvedModel, dtype: PreprocessDtype
) -> None:
    sight = Sight(dtype, False, tiny.factor)
    with renderer_of(tiny, sight) as renderer:
        right = pixels.pixels(renderer, sight)
        wrong = replace(right, dtype="float32" if dtype == "uint8" else "uint8")

        pixels.check(renderer, right, sight)
        with pytest.raises(ConfigError, match="200 grey should reach the engine as"):
            pixels.check(renderer, wrong, sight)


@pytest.mark.parametrize(
    ("dtype", "override", "words"),
    [
        ("uint8", {"mm_device_do_normalize": False}, "uint8: this engine cannot normalise on its device"),
        ("float32", {"mm_processor_kwargs": {"do_resize": False}}, "would arrive as .* runtime.engine_kwargs"),
    ],
)
def test_options_that_contradict_each_other(
    tiny: ResolvedModel, dtype: PreprocessDtype, override: dict[str, object], words: str
) -> None:
    sight = Sight(dtype, False, tiny.factor)

    with renderer_of(tiny, sight, override) as renderer, pytest.raises(ConfigError, match=words):
        pixels.check(renderer, pixels.pixels(renderer, sight), sight)


def test_floats_are_another_caption_and_bytes_are_the_default(tiny: ResolvedModel) -> None:
    prints = {
        dtype: choices.caption_fingerprint(parse({"captioning": {"preprocess_dtype": dtype}}), tiny)
        for dtype in get_args(PreprocessDtype)
    }

    assert prints["auto"] == prints["uint8"]
    assert len(set(prints.values())) == 4


# ---- the same captions


@cache
def clips() -> list[bytes]:
    """Clips whose sides are no multiples of anything."""
    rng = random.Random(5)
    sizes = [(rng.randrange(150, 330, 2), rng.randrange(150, 330, 2)) for _ in range(COUNT)]
    return [
        clip([(random_scene(rng), 2 * rng.randrange(4, 9))], width=width, height=height, fps=4, rng=rng)
        for width, height in sizes
    ]


@cache
def requests(tiny: ResolvedModel, *, as_is: bool) -> list[Request]:
    """A request per clip, its frames at the model's size or as they are."""
    config = parse({"captioning": {"model_does_preprocess": as_is}})
    wanted = choices.wanted(config, tiny, cut=False, preview=False, sample=True)
    samples = [media.process_clip(data, wanted).windows[0].sample for data in clips()]
    made = [
        Video(s.frames, s.frame_indices, s.source_frames, s.source_fps, s.content_id)
        for s in samples
        if isinstance(s, media.Sample)
    ]
    assert len(made) == COUNT
    return [Request("Describe the video.", video=video) for video in made]


@pytest.fixture(scope="module")
def expected(tiny_engine: Engine, tiny: ResolvedModel) -> list[Generation]:
    """The captions of frames that travel as bytes, at the model's size."""
    return tiny_engine.generate(requests(tiny, as_is=False), Sampling())


def right(result: list[Generation], expected: list[Generation]) -> float:
    assert [answer.error for answer in result] == [None] * COUNT
    return sum(a.text == b.text for a, b in zip(result, expected, strict=True)) / COUNT


@contextmanager
def started(tiny: ResolvedModel, dtype: PreprocessDtype, *, as_is: bool) -> Iterator[Any]:
    captioning = {"model_variant": "tiny", "preprocess_dtype": dtype, "model_does_preprocess": as_is}
    engine = start_engine(parse({"captioning": captioning}), tiny, plan_cores())
    yield engine
    engine.close()


def test_the_same_captions_from_floats(tiny: ResolvedModel, expected: list[Generation]) -> None:
    asked = requests(tiny, as_is=False)

    with started(tiny, "float32", as_is=False) as engine:
        rendering = engine._front._rendering
        result = {}
        for dtype in FLOATS:  # one engine for all: it gets bfloat16 from each
            rendering._pixels = replace(rendering._pixels, dtype=dtype)
            again = [replace(r, video=replace(r.video, content_id=f"{dtype} {i}")) for i, r in enumerate(asked)]
            result[dtype] = right(engine.generate(again, Sampling()), expected)

    assert min(result.values()) >= 0.98, result


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_the_same_captions_from_frames_as_they_are(
    tiny: ResolvedModel, dtype: PreprocessDtype, expected: list[Generation]
) -> None:
    with started(tiny, dtype, as_is=True) as engine:
        result = engine.generate(requests(tiny, as_is=True), Sampling())

    assert right(result, expected) >= 0.98
