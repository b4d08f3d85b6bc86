"""The size at which a model sees frames."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colcap.media.resize import pixels_per_frame, smart_resize


@pytest.mark.parametrize(
    ("size", "factor", "budget", "expected"),
    [
        ((720, 1280), 28, (128 * 784, 768 * 784), (560, 1008)),
        ((1080, 1920), 28, (128 * 784, 768 * 784), (560, 1008)),
        ((240, 240), 28, (7840, 15680), (112, 112)),
        ((144, 176), 28, (128 * 784, 768 * 784), (308, 364)),
        ((100, 100), 28, (7840, 15680), (112, 112)),
        ((1080, 1920), 32, (128 * 1024, 768 * 1024), (640, 1152)),
        (
            (14, 1000),
            28,
            (784, 15680),
            (28, 1036),
        ),  # the rule's own: rounding a side up to the factor may exceed the budget
    ],
)
def test_size_of_sampled_frames(
    size: tuple[int, int], factor: int, budget: tuple[int, int], expected: tuple[int, int]
) -> None:
    result = smart_resize(*size, factor=factor, min_pixels=budget[0], max_pixels=budget[1])

    assert result == expected


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_sizes_are_multiples_of_the_factor(height: int, width: int) -> None:
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(ValueError, match="at most"):
            smart_resize(height, width, factor=28, min_pixels=100_352, max_pixels=602_112)
        return
    result = smart_resize(height, width, factor=28, min_pixels=100_352, max_pixels=602_112)

    assert all(side % 28 == 0 and side > 0 for side in result)


@pytest.mark.parametrize(("count", "expected"), [(4, 602_112), (64, 602_112), (200, 192_675), (768, 105_369)])
def test_budget_of_many_frames_is_shared(count: int, expected: int) -> None:
    result = pixels_per_frame(count, min_pixels=100_352, max_pixels=602_112, total_pixels=24576 * 784)

    assert result == expected
