"""Which way up a frame is shown: display matrices, as phones write them."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a coded picture is turned for display: mirrored left to right first, then turned."""

    turns: int = 0
    """Quarter turns clockwise, 0 to 3."""
    mirrored: bool = False
    """Left and right are exchanged."""

    @property
    def degrees(self) -> int:
        """Clockwise turn: 0, 90, 180 or 270."""
        return self.turns * 90

    def displayed(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) as displayed of a coded size, or as coded of a displayed one."""
        return (height, width) if self.turns % 2 else (width, height)

    def upright(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn rows and columns, the first two axes."""
        return np.rot90(plane[:, ::-1] if self.mirrored else plane, -self.turns)


UPRIGHT = Orientation()


def orientation_of(frame: VideoFrame) -> Orientation:
    """How a decoded frame is to be turned; other angles than quarter turns go to the nearest one."""
    matrix = display_matrix(frame)
    return UPRIGHT if matrix is None else from_matrix(matrix)


def display_matrix(frame: VideoFrame) -> tuple[int, ...] | None:
    """A frame's display matrix, nine integers by row, or None.

    Not by `frame.side_data`: what that keeps refers to the frame, and its pixels then wait for the garbage collector.
    """
    found: Any = SideDataContainer(frame).get("DISPLAYMATRIX")  # type: ignore[call-arg]  # the stub lacks it
    return None if found is None else struct.unpack("=9i", bytes(found)[:36])


def from_matrix(matrix: Sequence[int]) -> Orientation:
    """Read a display matrix, (a, b, u, c, d, v, x, y, w), where x' = ax + cy and y' = bx + dy.

    >>> from_matrix((0, 1, 0, -1, 0, 0, 0, 0, 1))
    Orientation(turns=1, mirrored=False)
    >>> from_matrix((-1, 0, 0, 0, 1, 0, 0, 0, 1))
    Orientation(turns=0, mirrored=True)
    """
    a, b, _, c, d, *_ = matrix
    if a == b == c == d == 0:
        return UPRIGHT
    turns = round(math.degrees(math.atan2(-c, d)) / 90) % 4
    return Orientation(turns, a * d - b * c < 0)
