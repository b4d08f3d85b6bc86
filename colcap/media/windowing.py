"""Which frames of a clip make a window: one pure function."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

MIN_FRAMES: Final = 4
"""A clip of fewer displayed frames has no window."""


def windows(num_frames: int, *, size: int = 256, remainder_threshold: int = 128) -> list[range]:
    """Split a clip's frames into windows.

    Parameters
    ----------
    num_frames : displayed frames of the clip.
    size : frames per window.
    remainder_threshold : a leftover of at least this many frames is its own window; a shorter one
        joins the window before it.

    Returns
    -------
    One range of frame indices per window (stop exclusive), covering every frame once; none for a
    clip of fewer than MIN_FRAMES.

    Examples
    --------
    >>> windows(1020)
    [range(0, 256), range(256, 512), range(512, 768), range(768, 1020)]
    >>> windows(300)
    [range(0, 300)]
    """
    if num_frames < MIN_FRAMES:
        return []
    starts = list(range(0, num_frames, size))
    if len(starts) > 1 and 0 < num_frames % size < remainder_threshold:
        starts.pop()
    return [range(*pair) for pair in pairwise([*starts, num_frames])]
