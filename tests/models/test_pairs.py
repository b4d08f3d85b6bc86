"""Two shapes in a clip: the one that moves is told of first, and neither ever covers the other."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from colcap import prompts
from colcap.engines.base import Engine, Request, Sampling
from colcap.models.tiny.pairs import Pair, is_held_out_pair, pair_caption, pair_frames, pair_paths, random_pair
from colcap.models.tiny.scenes import Scene, is_held_out
from colcap.models.tiny.training.clips import look_at_two
from colcap.models.tiny.training.fresh import fresh_pairs
from colcap.models.tiny.training.losses import NUM_SEEN, PARTS, seeing_loss, truths
from colcap.models.weights import resolve

COUNT = 64


def test_the_embedded_model_tells_of_both(tiny_engine: Engine) -> None:
    windows = fresh_pairs(COUNT, resolve("tiny", model_dir=Path("models")), seed=7)

    result = tiny_engine.generate([Request(prompts.load("default"), video=video) for video, _ in windows], Sampling())

    right = [answer.text == pair_caption(pair) for answer, (_, pair) in zip(result, windows, strict=True)]
    assert sum(right) / COUNT >= 0.85


@pytest.mark.parametrize(("width", "height"), [(320, 240), (240, 240), (240, 426)])
def test_they_never_touch(width: int, height: int) -> None:
    for seed in range(200):
        rng = random.Random(seed)

        moving, still = pair_paths(random_pair(rng), 12, width, height, rng)

        gap = np.hypot(*(moving - still)[:, :2].T) - moving[:, 2] - still[:, 2]
        assert gap.min() > 0
        for path in (moving, still):
            assert (path[:, :2] - path[:, 2:] >= -1e-6).all()
            assert (path[:, :2] + path[:, 2:] <= np.array([width, height]) + 1e-6).all()
        assert np.ptp(still, axis=0).max() == 0
        assert np.ptp(moving[:, :2], axis=0).max() > 0.2 * min(width, height)


def test_the_same_seed_draws_the_same_clip() -> None:
    pair = random_pair(random.Random(1))

    first, again, other = (np.stack(list(pair_frames(pair, 6, 96, 64, random.Random(seed)))) for seed in (2, 2, 3))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_held_out_pairs_are_never_shown() -> None:
    seen = [look_at_two((1, 1), 4, random.Random(seed)).scene for seed in range(100)]

    assert not any(is_held_out_pair(pair) or any(map(is_held_out, pair.scenes)) for pair in seen)
    rng = random.Random(0)
    assert 0.2 < sum(is_held_out_pair(random_pair(rng)) for _ in range(1000)) / 1000 < 0.35


def test_a_token_is_asked_about_the_shape_near_to_it() -> None:
    pair = Pair(Scene("red", "star", "black", "left"), Scene("blue", "circle", "black", "still"))
    places = torch.tensor([[0.25, 0.5, 0.2], [0.75, 0.5, 0.2]])[None, :, None, None].expand(1, 2, 1, 2, 3)
    color = torch.full((1, 1, 2, PARTS["color"]), -9.0)
    color[0, 0, 0, 0] = color[0, 0, 1, 2] = 9.0  # red at the left, blue at the right
    rest = torch.zeros(1, 1, 2, NUM_SEEN - PARTS["color"])

    right = seeing_loss(torch.cat([color, rest], -1), truths([pair.scenes], places), (1, 2))
    wrong = seeing_loss(torch.cat([color.flip(2), rest], -1), truths([pair.scenes], places), (1, 2))

    assert wrong - right > 15
