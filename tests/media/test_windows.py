"""Which frames make a window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colcap.media import windows


@pytest.mark.parametrize(
    ("num_frames", "expected"),
    [
        (0, []),
        (3, []),
        (4, [4]),
        (256, [256]),
        (383, [383]),
        (384, [256, 128]),
        (512, [256, 256]),
        (639, [256, 383]),
        (1020, [256, 256, 256, 252]),
    ],
)
def test_every_frame_is_in_one_window(num_frames: int, expected: list[int]) -> None:
    result = windows(num_frames)

    assert [len(w) for w in result] == expected
    assert [i for w in result for i in w] == list(range(num_frames if expected else 0))


@given(st.integers(4, 5000), st.integers(4, 600), st.integers(1, 600))
def test_any_sizes_cover_every_frame_once(num_frames: int, size: int, threshold: int) -> None:
    result = windows(num_frames, size=size, remainder_threshold=threshold)

    assert [i for w in result for i in w] == list(range(num_frames))
    assert all(len(w) == size for w in result[:-1])
    assert len(result) == 1 or min(size, threshold) <= len(result[-1]) < size + threshold
