"""How bright a preview's frames are and how much they differ: what tells a dark or a frozen window."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from colcap.media.scale import pixels

_BLACK, _WHITE = 16, 235
"""WebP's YUV is of limited range."""


class Seen:
    """Takes a preview's frames as they are scaled, and sums up what is seen.

    Parameters
    ----------
    times_shown : how often each frame is shown, by index.
    """

    def __init__(self, times_shown: Mapping[int, int]) -> None:
        self._times_shown = times_shown
        self._shown = sum(times_shown.values())
        self._light = 0.0
        self._difference = 0.0
        self._before: NDArray[np.uint8] | None = None

    def add(self, index: int, frame: VideoFrame) -> None:
        """Take a frame in yuv420p or bgra; they come in order, each once."""
        luma, black, white = _luma(frame)
        scale = 255 / (white - black)  # of the sums, not of each pixel, which would cost three times as much
        self._light += self._times_shown[index] * min(255.0, max(0.0, (float(luma.mean()) - black) * scale))
        if self._before is not None:
            self._difference += scale * float((np.maximum(luma, self._before) - np.minimum(luma, self._before)).mean())
        self._before = luma.copy()  # the frame's memory may be used again

    @property
    def mean_luma(self) -> float:
        """Mean brightness of what is shown, 0 to 255."""
        return self._light / self._shown

    @property
    def motion(self) -> float | None:
        """Mean absolute difference between one frame shown and the next, 0 to 255; None for a single one."""
        return min(255.0, self._difference / (self._shown - 1)) if self._shown > 1 else None


def _luma(frame: VideoFrame) -> tuple[NDArray[np.uint8], int, int]:
    """Brightness of each pixel, and what black and white are."""
    plane = pixels(frame.planes[0], frame.format.name)
    if frame.format.name != "bgra":
        return plane[..., 0], _BLACK, _WHITE
    blue, green, red = (plane[..., channel].astype(np.uint16) for channel in range(3))
    return ((29 * blue + 150 * green + 77 * red + 128) >> 8).astype(np.uint8), 0, 255  # BT.601's weights
