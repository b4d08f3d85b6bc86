"""Frames that would not fit into the model's context are shrunk; those that fit are left alone."""

from __future__ import annotations

import clips
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colcap.errors import RowError
from colcap.media import Sample, SampleSpec, Wanted, process_clip
from colcap.media.frame_choice import smart_nframes, spread
from colcap.media.resize import FrameSize, frame_size

QWEN3 = {"factor": 32, "min_pixels": 128 * 1024, "max_pixels": 768 * 1024, "total_pixels": 24576 * 1024}
sides = st.integers(40, 4000)


@given(sides, sides, st.integers(4, 5000), st.integers(0, 40_000), st.sampled_from([1.0, 2.0, 30.0]))
def test_a_window_that_fits_is_unchanged_and_another_fits_afterwards(
    width: int, height: int, num_frames: int, max_tokens: int, fps: float
) -> None:
    chosen = spread(num_frames, smart_nframes(num_frames, 30.0, fps))
    usual = frame_size(width, height, SampleSpec(), chosen=chosen, fps=30.0)
    room = SampleSpec(max_tokens=max_tokens)

    if max_tokens < min(usual.tokens, len(chosen) // 2 * 128):
        result = _fitted_or_refused(width, height, room, chosen)
        assert result is None or result.tokens <= max_tokens
        return
    fitted = frame_size(width, height, room, chosen=chosen, fps=30.0)
    assert fitted.tokens <= max_tokens
    assert (fitted == usual) == (usual.tokens <= max_tokens) == (fitted.warning is None)
    assert fitted.width % 28 == fitted.height % 28 == 0


def _fitted_or_refused(width: int, height: int, spec: SampleSpec, chosen: list[int]) -> FrameSize | None:
    """Below the least budget, rounding down may still find a size."""
    try:
        return frame_size(width, height, spec, chosen=chosen, fps=30.0)
    except RowError:
        return None


def test_timestamps_count_by_the_digits_of_their_seconds() -> None:
    spec = SampleSpec(**QWEN3, timestamp_tokens=(10, 11, 12))
    chosen = spread(600, 40)  # 20 pairs over 20 s: half of them below 10 s

    result = frame_size(640, 360, spec, chosen=chosen, fps=30.0)

    assert result.tokens == 20 * (640 // 32) * (352 // 32) + 10 * 10 + 10 * 11


def test_a_clips_frames_are_shrunk_and_say_so() -> None:
    data = clips.clip("h264 gop 12")
    tiny = {"min_pixels": 7840, "max_pixels": 15680}

    [window] = process_clip(data, Wanted(sample=SampleSpec(**tiny, max_tokens=50), cut=None)).windows
    [refused] = process_clip(data, Wanted(sample=SampleSpec(**tiny, max_tokens=3), cut=None)).windows

    assert isinstance(window.sample, Sample)
    assert window.sample.frames.shape == (8, 56, 112, 3)
    assert window.sample.warning == (
        "frames shrunk from 140x84 to 112x56: 60 tokens, and the prompt leaves 50 of the context"
    )
    assert isinstance(refused.sample, RowError)
    assert refused.sample.kind == "over_context"


@pytest.mark.parametrize("max_tokens", [0, -100])
def test_a_prompt_that_leaves_no_room(max_tokens: int) -> None:
    with pytest.raises(RowError, match=r"4 frames are 240 tokens even at .* leaves 0 of the context"):
        frame_size(640, 360, SampleSpec(max_tokens=max_tokens), chosen=[0, 10, 20, 30], fps=30.0)
