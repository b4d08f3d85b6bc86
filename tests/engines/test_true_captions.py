"""The embedded model says what is in the clips, whichever of our prompts it is asked with."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from tiny_windows import windows

from colcap import prompts
from colcap.engines.base import Engine, Generation, Request, Sampling
from colcap.models.tiny.scenes import Scene, caption, enhanced, random_scene, refined

COUNT = 60


def share_right(result: list[Generation], expected: list[str]) -> float:
    assert [answer.error for answer in result] == [None] * len(expected)
    assert {answer.finish_reason for answer in result} == {"stop"}
    return sum(answer.text == truth for answer, truth in zip(result, expected, strict=True)) / len(expected)


@pytest.mark.parametrize("variant", prompts.variants("caption"))
def test_captions(tiny_engine: Engine, variant: str) -> None:
    videos, scenes = windows(COUNT)
    requests = [Request(prompts.load(variant), video=video) for video in videos]

    result = tiny_engine.generate(requests, Sampling())

    assert share_right(result, [caption(scene) for scene in scenes]) >= 0.95


@pytest.mark.parametrize("variant", prompts.variants("stage2"))
def test_refined_captions(tiny_engine: Engine, variant: str) -> None:
    videos, scenes = windows(COUNT)
    ask = prompts.load(variant, "stage2")
    requests = [Request(ask + caption(scene), video=video) for video, scene in zip(videos, scenes, strict=True)]

    result = tiny_engine.generate(requests, Sampling())

    assert share_right(result, [refined(scene) for scene in scenes]) >= 0.95


@pytest.mark.parametrize("first", [caption, refined])
@pytest.mark.parametrize("variant", prompts.variants("enhance"))
def test_enhanced_captions(tiny_engine: Engine, variant: str, first: Callable[[Scene], str]) -> None:
    rng = random.Random(variant)
    scenes = [random_scene(rng) for _ in range(100)]
    requests = [Request(first(scene), system=prompts.load(variant, "enhance")) for scene in scenes]

    result = tiny_engine.generate(requests, Sampling())

    assert share_right(result, [enhanced(scene) for scene in scenes]) >= 0.95
