"""Synthetic clips show what their captions say."""

from __future__ import annotations

import io
import itertools
import random
from fractions import Fraction

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from colcap.models.tiny.scenes import BACKGROUNDS, COLORS, MOTIONS, SHAPES, Scene, as_seen, caption, enhanced, refined
from colcap.models.tiny.synth import Frames, clip, demo_clips, encode_mp4, render

SCENES = [
    Scene(color, shape, background, motion)
    for color, shape, background, motion in itertools.product(COLORS, SHAPES, BACKGROUNDS, MOTIONS)
    if color != background
]


def painted(frame: Frames) -> NDArray[np.bool_]:
    """Where the shape is: further from the top left corner's colour than a gradient goes."""
    return np.asarray(np.abs(frame.astype(int) - frame[0, 0]).max(axis=-1) > 40)


def decode(data: bytes) -> tuple[list[Frames], list[bool], Fraction]:
    with av.open(io.BytesIO(data), "r") as container:
        frames = list(container.decode(video=0))
        rate = container.streams.video[0].average_rate
        assert rate is not None
    return (
        [np.asarray(f.to_ndarray(format="rgb24"), np.uint8) for f in frames],
        [bool(f.key_frame) for f in frames],
        rate,
    )


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("size", [(320, 240), (240, 320)])
def test_the_shape_moves_as_the_caption_says(motion: str, size: tuple[int, int]) -> None:
    frames = render(Scene("red", "circle", "black", motion), 12, *size, random.Random(motion))

    (y0, x0), (y1, x1) = (np.argwhere(painted(frames[i])).mean(axis=0) for i in (0, -1))
    growth = painted(frames[-1]).sum() / painted(frames[0]).sum()
    result = {
        "left": x1 < x0 - 20,
        "right": x1 > x0 + 20,
        "up": y1 < y0 - 20,
        "down": y1 > y0 + 20,
        "still": bool((frames == frames[0]).all()),
        "grow": growth > 2,
        "shrink": growth < 0.5,
    }
    assert [name for name, seen in result.items() if seen] == [motion]


@pytest.mark.parametrize(
    ("shape", "expected"),
    # Area of the shape over the square of its radius; a star is 10 triangles of 1.12 * 0.46 * sin(36 deg) / 2.
    [("circle", np.pi), ("square", 1.76**2), ("triangle", 1.85), ("star", 1.514)],
)
def test_a_shape_has_its_proportions(shape: str, expected: float) -> None:
    frame = render(Scene("white", shape, "black", "still"), 1, 640, 640, random.Random(3))[0]
    circle = render(Scene("white", "circle", "black", "still"), 1, 640, 640, random.Random(3))[0]

    result = np.pi * painted(frame).sum() / painted(circle).sum()

    assert result == pytest.approx(expected, rel=0.03)


def test_an_edge_is_antialiased() -> None:
    frame = render(Scene("white", "star", "black", "still"), 1, 320, 240, random.Random(0))[0]

    levels = np.unique(frame[:, :, 0])

    assert len(levels) > 30


def test_every_scene_has_three_distinct_sentences() -> None:
    result = {(caption(s), refined(s), enhanced(s)) for s in SCENES}

    assert len(SCENES) == len(result) == (8 * 5 - 1) * 4 * 7
    assert len({sentence for three in result for sentence in three}) == 3 * len(SCENES)


def test_two_frames_show_no_motion_and_three_do() -> None:
    result = [
        [sentence(as_seen(scene, n)) for sentence in (caption, refined, enhanced)] for scene in SCENES for n in (2, 3)
    ]

    still_said = [three for three, scene in zip(result[1::2], SCENES, strict=True) if three[0] == caption(scene)]
    assert len(still_said) == len(SCENES)
    assert len({three[0] for three in result[::2]}) == (8 * 5 - 1) * 4
    assert not {text for three in result[::2] for text in three} & {text for three in result[1::2] for text in three}


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (("red", "star", "pink", "up"), "background must be one of .* got 'pink'"),
        (("white", "star", "white", "up"), "cannot be seen"),
    ],
)
def test_an_impossible_scene_is_refused(scene: tuple[str, str, str, str], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Scene(*scene)


def test_a_clip_shows_its_scenes_one_after_the_other() -> None:
    scenes = [(Scene("red", "circle", "black", "up"), 7), (Scene("blue", "square", "white", "still"), 5)]

    frames, _, rate = decode(clip(scenes, width=160, height=120, fps=Fraction(30000, 1001), rng=random.Random(1)))

    result = [bool(frame[0, 0].mean() > 128) for frame in frames]
    assert result == [False] * 7 + [True] * 5
    assert rate == Fraction(30000, 1001)


def test_a_frame_generator_is_encoded_with_the_wanted_keyframes() -> None:
    moving = render(Scene("red", "circle", "black", "up"), 20, 64, 64, random.Random(1))

    _, keys, rate = decode(encode_mp4(iter(moving), 25, gop=8))

    assert [i for i, key in enumerate(keys) if key] == [0, 8, 16]
    assert rate == 25


def test_odd_sides_are_refused() -> None:
    with pytest.raises(ValueError, match="got 63x64"):
        encode_mp4([np.zeros((64, 63, 3), np.uint8)], 25)


def test_the_same_seed_gives_the_same_bytes() -> None:
    one, two, other = (next(demo_clips(seed)).data for seed in (4, 4, 5))

    assert one == two != other


def test_demo_clips_have_one_truth_a_window_and_one_is_broken() -> None:
    broken = []
    windows = []
    for demo in demo_clips():
        if demo.broken:
            broken.append(demo.name)
            with pytest.raises(av.error.InvalidDataError):
                av.open(io.BytesIO(demo.data), "r")
            continue
        with av.open(io.BytesIO(demo.data), "r") as container:
            stream = container.streams.video[0]
            whole, rest = divmod(stream.frames, 256)
            assert rest == 0 or rest >= 128 or whole == 0
            sampled = [2 * n / float(stream.average_rate or 0) for n in [256] * whole + [rest] * bool(rest)]
        assert len(demo.truths) == len(sampled)
        assert all(4 <= n <= 24 for n in sampled)
        windows.append(len(sampled))
    assert broken == ["broken.mp4"]
    assert sorted(windows)[-3:] == [2, 2, 3]
