"""When each displayed frame of a clip is shown: exact integers in the stream's time base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Final

HOLE: Final = 3
"""Usual gaps between frames that make a hole."""
AGREEMENT: Final = Fraction(1, 200)
"""How far a declared frame rate may be from the measured one."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Display times of frames, in display order."""

    pts: Sequence[int]
    """When each frame appears, in `time_base`; strictly increasing, never empty."""
    end: int
    """When the last frame stops being shown, in `time_base`; after the last pts."""
    time_base: Fraction
    """Seconds per unit."""

    def __len__(self) -> int:
        return len(self.pts)

    def at(self, index: int) -> int:
        """When frame `index` appears; for the length, when the last one stops being shown."""
        return self.pts[index] if index < len(self.pts) else self.end

    def seconds(self, index: int) -> float:
        """`at(index)` in seconds from the first frame."""
        return float((self.at(index) - self.pts[0]) * self.time_base)

    def part(self, frames: range) -> Timeline:
        """The timeline of some frames in a row."""
        return Timeline(self.pts[frames.start : frames.stop], self.at(frames.stop), self.time_base)

    def lasting(self, duration_s: float) -> Timeline:
        """The same frames, where the last one is shown until `duration_s` seconds after the first appears."""
        end = self.pts[0] + round(Fraction(duration_s) / self.time_base)
        return replace(self, end=max(end, self.pts[-1] + 1))


def timeline_of(pts: Sequence[int], last_duration: int, time_base: Fraction) -> Timeline:
    """A timeline whose last frame is shown for `last_duration`; as long as most others where that cannot be true.

    >>> timeline_of([0, 40, 80], 0, Fraction(1, 1000)).end
    120
    """
    gaps = sorted(after - before for before, after in pairwise(pts))
    usual = gaps[len(gaps) // 2] if gaps else 1
    return Timeline(pts, pts[-1] + (last_duration if 2 * last_duration >= usual else usual), time_base)


def is_increasing(values: Sequence[int]) -> bool:
    """Whether every value is above the one before.

    >>> is_increasing([1, 2, 4]), is_increasing([1, 1])
    (True, False)
    """
    return all(a < b for a, b in pairwise(values))


def has_hole(pts: Sequence[int]) -> bool:
    """Whether some frame is shown for more than HOLE times as long as most others, as if the next ones were lost.

    >>> has_hole([0, 40, 80, 120]), has_hole([0, 40, 80, 240])
    (False, True)
    """
    gaps = sorted(after - before for before, after in pairwise(pts))
    return bool(gaps) and gaps[-1] > HOLE * gaps[len(gaps) // 2]


def frame_rate(declared: Fraction | None, timeline: Timeline) -> float:
    """Frames per second: as declared where the frames agree to half a percent, else as measured.

    Declared rates are exact fractions, but some containers guess them from a few frames, or declare their clock's.

    >>> t = Timeline(range(0, 300, 10), 300, Fraction(1, 300))
    >>> frame_rate(Fraction(30000, 1001), t), frame_rate(Fraction(90000), t), frame_rate(None, t)
    (29.97002997002997, 30.0, 30.0)
    """
    measured = len(timeline) / ((timeline.end - timeline.pts[0]) * timeline.time_base)
    if declared and abs(declared / measured - 1) <= AGREEMENT:
        return float(declared)
    return float(measured)
