"""Which frames a preview shows and a model sees: exact integer rules, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

FRAME_FACTOR: Final = 2
"""Qwen-VL models merge frames in pairs."""
MIN_SAMPLED: Final = 4
MAX_SAMPLED: Final = 768


def preview_indices(pts: Sequence[int], end: int, time_base: Fraction, fps: float) -> list[int]:
    """Frames that ffmpeg's `fps` filter (round=near) shows, some perhaps more than once.

    Parameters
    ----------
    pts : display time of each frame, increasing, in `time_base`.
    end : where the last frame stops being shown, in `time_base`.
    time_base : seconds per unit of `pts`.
    fps : frames per second to show.

    Returns
    -------
    Positions in `pts`, not decreasing; at least one, even where everything is shorter than half a period.

    Examples
    --------
    Ten frames at 4 fps, shown at 1 fps:

    >>> preview_indices(range(10), 10, Fraction(1, 4), 1.0)
    [1, 5, 9]
    """
    rate = rational(fps) * time_base
    slots = [_near((at - pts[0]) * rate) for at in pts]
    chosen, index = [], 0
    for slot in range(max(1, _near((end - pts[0]) * rate))):
        while index + 1 < len(slots) and slots[index + 1] <= slot:
            index += 1
        chosen.append(index)
    return chosen


def rational(fps: float) -> Fraction:
    """A frame rate as the nearest fraction of small terms, so that products of it stay exact.

    >>> rational(0.1), rational(30000 / 1001)
    (Fraction(1, 10), Fraction(30000, 1001))
    """
    return Fraction(fps).limit_denominator(1001)


def _near(value: Fraction) -> int:
    """Round a number that is not negative, halves up, as libav's ROUND_NEAR_INF does."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def smart_nframes(num_frames: int, source_fps: float, sampling_fps: float = 2.0) -> int:
    """How many frames a Qwen-VL model sees of a video.

    Parameters
    ----------
    num_frames : displayed frames.
    source_fps, sampling_fps : frames per second of the video, and to sample.

    Returns
    -------
    An even number: duration times `sampling_fps`, clamped to 4 … min(768, `num_frames`); one where there is
    only one frame. Source: the public qwen-vl-utils rule.

    Examples
    --------
    >>> smart_nframes(256, 30.0)
    18
    >>> smart_nframes(5, 30.0)
    4
    """
    most = min(MAX_SAMPLED, num_frames) // FRAME_FACTOR * FRAME_FACTOR
    asked = min(max(num_frames / source_fps * sampling_fps, MIN_SAMPLED), most)
    return max(1, round(asked / FRAME_FACTOR) * FRAME_FACTOR)


def spread(num_frames: int, count: int) -> list[int]:
    """Positions of `count` frames evenly over `num_frames`, first and last included, halves to even.

    >>> spread(10, 4)
    [0, 3, 6, 9]
    >>> spread(6, 3)
    [0, 2, 5]
    """
    if count == 1:
        return [0]
    return [round(Fraction(i * (num_frames - 1), count - 1)) for i in range(count)]
