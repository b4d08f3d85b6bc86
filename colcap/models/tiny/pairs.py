"""Two shapes in one clip: one that moves and is told of first, and one that stays still in the other half."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

from colcap.models.tiny.scenes import COLORS, SHAPES, Scene, caption, is_held_out, random_scene, subject
from colcap.models.tiny.synth import Frames, drawn, travel

WAYS: Final = ("left", "right", "up", "down")
RADII: Final = (0.17, 0.21)
"""Least and most radius as shares of the shorter side: two shapes must fit beside each other and still be seen."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What a clip of two shapes shows. Motion says which is which, so the order of the sentence is never a choice.

    >>> Pair(Scene("red", "star", "gray", "still"), Scene("blue", "star", "gray", "still"))
    Traceback (most recent call last):
    ...
    ValueError: one shape must move and the other stay still, got still and still
    """

    moving: Scene
    """The shape that moves left, right, up or down."""
    still: Scene
    """The shape that stays where it is: of another colour, before the same background."""

    def __post_init__(self) -> None:
        motions = self.moving.motion, self.still.motion
        if motions[0] not in WAYS or motions[1] != "still":
            raise ValueError(f"one shape must move and the other stay still, got {motions[0]} and {motions[1]}")
        if self.moving.background != self.still.background or self.moving.color == self.still.color:
            raise ValueError(f"two shapes need one background and two colours, got {self}")

    @property
    def scenes(self) -> tuple[Scene, Scene]:
        """Both shapes, the moving one first."""
        return self.moving, self.still


def random_pair(rng: random.Random) -> Pair:
    """Draw a pair, every allowed one equally likely."""
    while (moving := random_scene(rng)).motion not in WAYS:
        pass
    colors = [color for color in COLORS if color not in (moving.color, moving.background)]
    return Pair(moving, Scene(rng.choice(colors), rng.choice(SHAPES), moving.background, "still"))


def is_held_out_pair(pair: Pair) -> bool:
    """Whether training never sees this pair: a fixed tenth of them, and those with a shape that is held out alone."""
    digest = blake2b(pair_caption(pair).encode(), digest_size=4).digest()
    return any(map(is_held_out, pair.scenes)) or int.from_bytes(digest) % 10 == 0


def pair_caption(pair: Pair) -> str:
    """Return the true caption: that of the moving shape, and the still one after it.

    >>> pair_caption(Pair(Scene("red", "circle", "black", "left"), Scene("orange", "square", "black", "still")))
    'A red circle moves left across a black background and an orange square stays still.'
    """
    return f"{caption(pair.moving).removesuffix('.')} and {subject(pair.still)} stays still."


def pair_paths(pair: Pair, num_frames: int, width: int, height: int, rng: random.Random) -> list[NDArray[np.float64]]:
    """Return x, y and radius in pixels of both shapes, (num_frames, 3) each.

    Each has a half of the frame for itself: upper and lower where the motion is sideways, else left and right.
    """
    sideways = pair.moving.motion in ("left", "right")
    along, across = (width, height) if sideways else (height, width)
    backwards = pair.moving.motion in ("left", "up")
    time = np.linspace(0, 1, num_frames)
    if rng.random() < 0.25:
        time = time * time * (3 - 2 * time)
    halves = rng.sample((0, 1), 2)
    paths = []
    for half, moves in zip(halves, (True, False), strict=True):
        radius = rng.uniform(*RADII) * min(width, height)
        low, high = 1.0 * radius, along - 1.0 * radius
        way = travel(low, high, time, backwards, rng) if moves else np.full(num_frames, rng.uniform(low, high))
        lane = half * across / 2 + rng.uniform(1.13 * radius, across / 2 - 1.13 * radius)
        there = np.full(num_frames, lane)
        places = (way, there) if sideways else (there, way)
        paths.append(np.stack([*places, np.full(num_frames, radius)], axis=1))
    return paths


def pair_frames(pair: Pair, num_frames: int, width: int, height: int, rng: random.Random) -> Iterator[Frames]:
    """Draw a pair one frame at a time: uint8 RGB of shape (height, width, 3)."""
    return drawn(pair.scenes, pair_paths(pair, num_frames, width, height, rng), width, height, rng)
