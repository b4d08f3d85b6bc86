"""Sampled windows whose captions are known."""

from __future__ import annotations

import random
from functools import cache

import numpy as np

from colcap.engines.base import Video
from colcap.models.tiny import synth
from colcap.models.tiny.scenes import Scene, random_scene

SIZES = [(140, 112), (112, 112), (112, 140), (112, 84)]
"""Widths and heights within the embedded model's budget, all multiples of 28."""


@cache
def window(number: int) -> tuple[Video, Scene]:
    """A window sampled at 2 frames a second, and what it shows; drawn large and averaged down, as a scaler does."""
    rng = random.Random(number)
    scene, num_frames = random_scene(rng), rng.randrange(4, 18, 2)
    width, height = SIZES[number % len(SIZES)]
    drawn = synth.render(scene, num_frames, 2 * width, 2 * height, rng)
    video = Video(
        drawn.reshape(num_frames, height, 2, width, 2, 3).mean(axis=(2, 4)).astype(np.uint8),
        frame_indices=[15 * i for i in range(num_frames)],
        source_frames=15 * num_frames,
        source_fps=30.0,
        content_id=f"window {number}",
    )
    return video, scene


def windows(count: int) -> tuple[list[Video], list[Scene]]:
    """Several windows and what they show."""
    pairs = [window(number) for number in range(count)]
    return [video for video, _ in pairs], [scene for _, scene in pairs]
