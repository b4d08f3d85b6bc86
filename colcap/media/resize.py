"""The size at which a model sees frames: the public Qwen-VL rules, no I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from colcap.errors import RowError
from colcap.media.frame_choice import FRAME_FACTOR
from colcap.media.values import SampleSpec

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


def vision_tokens(num_frames: int, height: int, width: int, *, factor: int) -> int:
    """Tokens of a video in a Qwen-VL prompt, timestamps apart: one per `factor`-sided square of a pair of frames.

    >>> vision_tokens(18, 560, 1008, factor=28)
    6480
    """
    return -(-num_frames // FRAME_FACTOR) * (height // factor) * (width // factor)


@dataclass(frozen=True, slots=True)
class FrameSize:
    """How large a model sees the frames of a window."""

    width: int
    """Pixels."""
    height: int
    """Pixels."""
    tokens: int
    """Tokens that the frames become in the prompt, timestamps included."""
    warning: str | None = None
    """From what the frames were shrunk to this, and why; None where they were not."""


def frame_size(width: int, height: int, spec: SampleSpec, *, chosen: Sequence[int], fps: float) -> FrameSize:
    """The size of a window's frames: the model's usual one, or the largest that still fits into its context.

    Parameters
    ----------
    width, height : displayed source size in pixels.
    spec : the model's budgets, and the tokens that the prompt leaves for frames.
    chosen : the sampled frames, counted from the window's first.
    fps : displayed frames of the source per second.

    Raises
    ------
    ValueError
        One side is more than 200 times the other.
    RowError
        over_context: even frames of `min_pixels` are too many tokens.

    Examples
    --------
    >>> frames = range(0, 256, 15)
    >>> frame_size(1280, 720, SampleSpec(), chosen=frames, fps=30.0)
    FrameSize(width=1008, height=560, tokens=6480, warning=None)
    >>> frame_size(1280, 720, SampleSpec(max_tokens=4000), chosen=frames, fps=30.0).warning
    'frames shrunk from 1008x560 to 784x420: 6480 tokens, and the prompt leaves 4000 of the context'
    """
    pairs, around = -(-len(chosen) // FRAME_FACTOR), _timestamps(spec, chosen, fps)
    most = pixels_per_frame(
        len(chosen), min_pixels=spec.min_pixels, max_pixels=spec.max_pixels, total_pixels=spec.total_pixels
    )
    usual = _sized(width, height, spec, (min(spec.min_pixels, most), most), len(chosen), around)
    if spec.max_tokens is None or usual.tokens <= spec.max_tokens:
        return usual
    fitting = max(spec.min_pixels, (spec.max_tokens - around) // pairs * spec.factor**2)
    fitted = _sized(width, height, spec, (0, min(most, fitting)), len(chosen), around)  # small frames aren't enlarged
    if fitted.tokens > spec.max_tokens:
        raise RowError("over_context", _too_much(fitted, len(chosen), spec.max_tokens))
    return FrameSize(fitted.width, fitted.height, fitted.tokens, _shrunk(usual, fitted, spec.max_tokens))


def _sized(
    width: int, height: int, spec: SampleSpec, pixels: tuple[int, int], num_frames: int, around: int
) -> FrameSize:
    h, w = smart_resize(height, width, factor=spec.factor, min_pixels=pixels[0], max_pixels=pixels[1])
    return FrameSize(w, h, vision_tokens(num_frames, h, w, factor=spec.factor) + around)


def _timestamps(spec: SampleSpec, chosen: Sequence[int], fps: float) -> int:
    """Tokens of the times that some models write before each pair of frames: the mean of both, in seconds."""
    if not spec.timestamp_tokens:
        return 0
    pairs = zip(chosen[::FRAME_FACTOR], [*chosen[1::FRAME_FACTOR], chosen[-1]], strict=False)
    digits = [len(str(int(round((first + last) / 2 / fps, 1)))) for first, last in pairs]
    return sum(spec.timestamp_tokens[min(n, len(spec.timestamp_tokens)) - 1] for n in digits)


def _shrunk(usual: FrameSize, fitted: FrameSize, max_tokens: int) -> str:
    sizes = f"{usual.width}x{usual.height} to {fitted.width}x{fitted.height}"
    return f"frames shrunk from {sizes}: {usual.tokens} tokens, and the prompt leaves {max_tokens} of the context"


def _too_much(least: FrameSize, num_frames: int, max_tokens: int) -> str:
    return (
        f"{num_frames} frames are {least.tokens} tokens even at {least.width}x{least.height}, and the prompt leaves "
        f"{max(0, max_tokens)} of the context: lower sampling_fps or window_size, or shorten the prompt"
    )
