"""What is asked of the media layer, and what it gives back. Values only: no behaviour, no libav."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from colcap.errors import RowError

if TYPE_CHECKING:
    from colcap.media.products import Recipe

Frames = NDArray[np.uint8]
"""RGB frames, (num_frames, height, width, 3), contiguous."""

Cut = Literal["whole", "copy", "encode"]
"""How a window's mp4 was made: the clip's own bytes, its packets copied, or its frames encoded again."""

MAX_WEBP_SIDE = 16383
"""Largest width or height that WebP can hold, in pixels."""


def _require(condition: bool, name: str, value: object, allowed: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")


@dataclass(frozen=True, slots=True)
class PreviewSpec:
    """How previews look."""

    target_fps: float = 1.0
    """Frames of the preview per second of video."""
    target_height: int = 240
    """Height in pixels; the width follows."""
    compression_level: int = 6
    """Effort of the encoder, 0 (fast) to 6 (small). It does not change what is kept of the picture."""
    quality: int = 50
    """0 (small) to 100 (close to the source); effort instead where `lossless`."""
    lossless: bool = False
    """Keep every pixel of the scaled frames, in RGB."""

    def __post_init__(self) -> None:
        _require(0 < self.target_fps <= 1000, "target_fps", self.target_fps, "above 0 and at most 1000")
        _require(1 <= self.target_height <= MAX_WEBP_SIDE, "target_height", self.target_height, "1 to 16383")
        _require(0 <= self.compression_level <= 6, "compression_level", self.compression_level, "0 to 6")
        _require(0 <= self.quality <= 100, "quality", self.quality, "0 to 100")


@dataclass(frozen=True, slots=True)
class SampleSpec:
    """Which frames a model sees, and how large; the defaults are Qwen2.5-VL's."""

    sampling_fps: float = 2.0
    """Frames taken per second of video."""
    factor: int = 28
    """Width and height are multiples of this many pixels."""
    min_pixels: int = 128 * 28 * 28
    """Least width times height of a frame."""
    max_pixels: int = 768 * 28 * 28
    """Most width times height of a frame."""
    total_pixels: int | None = 24576 * 28 * 28
    """Pixels of all frames of a window, where two frames count as one; None: no such budget."""
    resize: bool = True
    """False: frames keep the size of the source, and a model's own processor resizes them."""
    max_tokens: int | None = None
    """Most tokens the frames of a window may become in the prompt, timestamps included: larger frames are shrunk,
    down to `min_pixels`. None: no bound. Ignored where `resize` is False."""
    timestamp_tokens: tuple[int, ...] = ()
    """Tokens written around each pair of frames: the n-th where its second has n digits. Empty: none."""

    def __post_init__(self) -> None:
        _require(0 < self.sampling_fps <= 1000, "sampling_fps", self.sampling_fps, "above 0 and at most 1000")
        _require(self.factor >= 1, "factor", self.factor, "at least 1")
        _require(0 < self.min_pixels <= self.max_pixels, "min_pixels", self.min_pixels, "1 to max_pixels")
        _require(self.total_pixels is None or self.total_pixels > 0, "total_pixels", self.total_pixels, "positive")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The products to make of a clip."""

    window_size: int = 256
    """Frames per window."""
    remainder_threshold: int = 128
    """A leftover of at least this many frames is a window of its own."""
    cut: Literal["copy", "encode"] | None = "copy"
    """Make each window's mp4 by copying packets (exact), by encoding all frames again, or not at all."""
    preview: PreviewSpec | None = None
    """Make a preview of each window."""
    sample: SampleSpec | None = None
    """Sample frames of each window for a model."""
    others: tuple[Recipe, ...] = ()
    """Further products to make of each window, from the same decode."""
    num_threads: int = 1
    """Decoder and encoder threads."""

    def __post_init__(self) -> None:
        _require(self.window_size >= 4, "window_size", self.window_size, "at least 4")
        _require(self.remainder_threshold >= 1, "remainder_threshold", self.remainder_threshold, "at least 1")
        _require(self.cut in ("copy", "encode", None), "cut", self.cut, "copy, encode or None")
        _require(self.num_threads >= 1, "num_threads", self.num_threads, "at least 1")


@dataclass(frozen=True, slots=True)
class Probe:
    """What a clip is."""

    width: int
    """Pixels, as displayed: after rotation, before any stretch of non-square pixels."""
    height: int
    """Pixels, as displayed."""
    fps: float
    """Displayed frames per second, on average; finite and positive."""
    num_frames: int
    """Displayed frames, counted."""
    duration_s: float
    """Seconds from the first displayed frame to the end of the last."""
    codec: str
    """libav's name of the video codec."""
    rotation: int
    """Degrees the coded picture is turned clockwise for display: 0, 90, 180 or 270."""
    has_audio: bool
    """The container has an audio stream."""
    num_bytes: int
    """Encoded size of the clip."""
    warning: str | None = None
    """What is wrong with the clip though it could be used: truncated, damaged, discontinuous."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A small animated WebP of a window."""

    webp: bytes = field(repr=False)
    """The file."""
    num_frames: int
    """Frames shown."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    mean_luma: float
    """Mean brightness of the frames shown: 0 is black, 255 white."""
    motion: float | None
    """Mean absolute difference in brightness between a frame shown and the one before it, 0 to 255, over all pixels;
    None where one frame is shown."""
    warning: str | None = None
    """The source has less than was asked for, and what to do."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The frames of a window that a model sees."""

    frames: Frames = field(repr=False)
    """uint8 RGB, upright, (num_frames, height, width, 3), contiguous."""
    frame_indices: list[int]
    """Source frame of each sampled frame, counted from the window's first."""
    source_frames: int
    """Displayed frames of the window."""
    source_fps: float
    """Displayed frames per second of the clip."""
    content_id: str
    """Hash of the clip's file, the window's frames in it, and the sampling: equal only for the same frames sampled the
    same way. Those of a stored window, which is a file of its own, have another."""
    warning: str | None = None
    """Why the frames are smaller than the model's budget would have them."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a clip, with its products."""

    start_frame: int
    """First frame, counted from the clip's first displayed frame."""
    end_frame: int
    """Last frame, inclusive."""
    start_s: float
    """Seconds from the clip's first displayed frame to this window's."""
    end_s: float
    """Seconds from the clip's first displayed frame to where this window's last frame stops being shown."""
    num_frames: int
    """Displayed frames."""
    cut: Cut | None = None
    """How `mp4` was made; None: no cut was asked for, or it failed."""
    mp4: bytes | None = field(default=None, repr=False)
    """The window as a file that holds its video and nothing else."""
    warning: str | None = None
    """Why the window is not what was asked for, where it could still be made."""
    error: RowError | None = None
    """Why there is no `mp4` though one was asked for."""
    preview: Preview | RowError | None = None
    """The preview, or why there is none; None: not asked for."""
    sample: Sample | RowError | None = None
    """The sampled frames, or why there are none; None: not asked for."""
    others: dict[str, Any | RowError] = field(default_factory=dict, repr=False)
    """Further products by their recipes' names, or why there is none."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip's facts and its windows, in order."""

    probe: Probe
    """What the clip is."""
    windows: list[Window]
    """Its windows; never empty."""
