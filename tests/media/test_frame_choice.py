"""Which frames a preview shows and a model sees."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import av
import clips
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colcap.media.frame_choice import preview_indices, smart_nframes, spread
from colcap.media.timeline import Timeline, frame_rate, timeline_of


@pytest.mark.parametrize(
    ("num_frames", "source_fps", "sampling_fps", "expected"),
    [
        (256, 30.0, 2.0, 18),
        (256, 29.97002997002997, 2.0, 18),
        (5, 30.0, 2.0, 4),
        (4, 30.0, 2.0, 4),
        (90, 30.0, 2.0, 6),
        (75, 30.0, 2.0, 4),  # 5 frames asked: halves of 2.5 pairs go to the even 2
        (105, 30.0, 2.0, 8),  # 7 asked: 3.5 pairs go to the even 4
        (100_000, 30.0, 2.0, 768),
        (7, 1.0, 2.0, 6),
        (3, 30.0, 2.0, 2),
        (1, 30.0, 2.0, 1),
    ],
)
def test_number_of_sampled_frames(num_frames: int, source_fps: float, sampling_fps: float, expected: int) -> None:
    assert smart_nframes(num_frames, source_fps, sampling_fps) == expected


@given(st.integers(4, 2000), st.data())
def test_sampled_frames_are_spread_from_first_to_last(num_frames: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(2, min(num_frames, 768)))
    result = spread(num_frames, count)

    assert (result[0], result[-1], len(set(result))) == (0, num_frames - 1, count)
    gaps = {b - a for a, b in pairwise(result)}
    assert max(gaps) - min(gaps) <= 2


@pytest.mark.parametrize(
    ("pts", "end", "time_base", "fps", "expected"),
    [
        (range(10), 10, Fraction(1, 4), 1.0, [1, 5, 9]),  # 2.5 s: the third period has begun
        (range(4), 4, Fraction(1, 30), 1.0, [3]),  # shorter than half a period: one frame, the last of its slot
        (range(3), 3, Fraction(1, 1), 2.0, [0, 0, 1, 1, 2, 2]),  # fewer frames than periods: repeated
        ([0, 1000, 1010, 5000], 5040, Fraction(1, 1000), 1.0, [0, 2, 2, 2, 2]),
    ],
)
def test_preview_frames(pts: list[int], end: int, time_base: Fraction, fps: float, expected: list[int]) -> None:
    assert preview_indices(pts, end, time_base, fps) == expected


@pytest.mark.parametrize("fps", ["1", "3", "7.5", "25", "30", "30000/1001"])
@pytest.mark.parametrize("name", ["h264 gop 12", "h264 vfr", "vp9 webm", "edit list", "mpeg2 ts"])
def test_preview_frames_are_those_of_ffmpegs_fps_filter(name: str, fps: str) -> None:
    frames = clips.decoded(clips.clip(name))
    time_base = frames[0].time_base
    timeline = timeline_of([frame.pts for frame in frames], frames[-1].duration, time_base)

    result = preview_indices(timeline.pts, timeline.end, time_base, float(Fraction(fps)))

    assert result == filtered(frames, fps)


def filtered(frames: list[av.VideoFrame], fps: str) -> list[int]:
    """Numbers of the frames that libavfilter's fps filter lets through; each frame carries its own as its pixels."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=2, height=2, format="gray", time_base=frames[0].time_base)
    graph.link_nodes(source, graph.add("fps", f"fps={fps}"), graph.add("buffersink")).configure()
    for number, frame in enumerate(frames):
        numbered = av.VideoFrame.from_ndarray(np.full((2, 2), number, np.uint8), format="gray")
        numbered.pts = frame.pts - frames[0].pts  # a window starts at 0
        numbered.time_base, numbered.duration = frame.time_base, frame.duration
        source.push(numbered)
    source.push(None)
    found = []
    while True:
        try:
            found.append(int(graph.pull().to_ndarray()[0, 0]))
        except (av.error.EOFError, av.error.BlockingIOError):
            return found


@pytest.mark.parametrize(
    ("declared", "expected"),
    [(Fraction(25), 25.0), (Fraction(2502, 100), 25.02), (Fraction(90000), 25.0), (Fraction(0), 25.0), (None, 25.0)],
)
def test_frame_rate_is_declared_or_measured(declared: Fraction | None, expected: float) -> None:
    timeline = Timeline(range(0, 1000, 40), 1000, Fraction(1, 1000))

    assert frame_rate(declared, timeline) == expected
