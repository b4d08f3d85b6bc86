"""The size at which a model sees frames: the public Qwen-VL rules, no I/O."""

from __future__ import annotations

import math
from typing import Final

from colcap.media.frame_choice import FRAME_FACTOR

MAX_RATIO: Final = 200
"""The processor refuses frames that are longer than this many times their other side."""


def smart_resize(height: int, width: int, *, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Height and width nearest to the source's that a model's budget allows.

    Parameters
    ----------
    height, width : displayed source size in pixels.
    factor : both results are multiples of it.
    min_pixels, max_pixels : least and most height times width.

    Returns
    -------
    (height, width). Source: the public Qwen2-VL image processor.

    Raises
    ------
    ValueError
        One side is more than 200 times the other.

    Examples
    --------
    >>> smart_resize(720, 1280, factor=28, min_pixels=128 * 28**2, max_pixels=768 * 28**2)
    (560, 1008)
    """
    if max(height, width) > MAX_RATIO * min(height, width):
        raise ValueError(f"sides may differ by a factor of {MAX_RATIO} at most, got {width}x{height}")
    rounded = [max(factor, round(side / factor) * factor) for side in (height, width)]
    if rounded[0] * rounded[1] > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rounded = [max(factor, math.floor(side / shrink / factor) * factor) for side in (height, width)]
    elif rounded[0] * rounded[1] < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rounded = [math.ceil(side * grow / factor) * factor for side in (height, width)]
    return rounded[0], rounded[1]


def pixels_per_frame(count: int, *, min_pixels: int, max_pixels: int, total_pixels: int | None) -> int:
    """Most pixels of each of `count` frames under the budget of all of them together.

    Frames are merged in pairs, so the total is over pairs; however many there are, a frame may keep 1.05 times
    `min_pixels`. Source: the public qwen-vl-utils rule.

    >>> pixels_per_frame(16, min_pixels=100_352, max_pixels=602_112, total_pixels=24576 * 784)
    602112
    >>> pixels_per_frame(200, min_pixels=100_352, max_pixels=602_112, total_pixels=24576 * 784)
    192675
    """
    if total_pixels is None:
        return max_pixels
    shared = max(min(max_pixels, total_pixels * FRAME_FACTOR // count), int(min_pixels * 1.05))
    return min(max_pixels, shared)
