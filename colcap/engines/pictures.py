"""Sampled frames as data URLs: compressed pictures or a video, as servers take them."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, Final, Literal

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream
from numpy.typing import NDArray

from colcap.engines.base import Video

Format = Literal["jpeg", "png"]

ENCODERS: Final[dict[Format, tuple[str, str, dict[str, str]]]] = {
    "jpeg": ("mjpeg", "yuvj444p", {"qmin": "2", "qmax": "2"}),  # colours at full resolution: small things keep theirs
    "png": ("png", "rgb24", {"compression_level": "1", "pred": "sub"}),
}
"""Of each format: libav's encoder, its pixel format, and its options."""


def image_urls(video: Video, form: Format) -> list[str]:
    """Each frame as a data URL of its own."""
    return [f"data:image/{form};base64,{text}" for text in _pictures(video.frames, form)]


def sequence_url(video: Video, form: Format) -> str:
    """All frames in one data URL, as vLLM takes a video whose frames are chosen already.

    It goes by `video/jpeg` whatever the format: each picture's own first bytes say what it is.
    """
    return f"data:video/jpeg;base64,{','.join(_pictures(video.frames, form))}"


def video_url(video: Video) -> str:
    """The frames as H.264 in mp4, shown at the rate they were sampled at."""
    return f"data:video/mp4;base64,{b64encode(_mp4(video)).decode()}"


def sampled_fps(video: Video) -> float:
    """Frames per second of the sample, as processors derive it: its share of the window's frames.

    >>> frames = np.zeros((4, 28, 28, 3), np.uint8)
    >>> sampled_fps(Video(frames, frame_indices=[0, 15, 30, 45], source_frames=60, source_fps=30.0, content_id="w"))
    2.0
    """
    return len(video.frames) / video.source_frames * video.source_fps


def _pictures(frames: NDArray[np.uint8], form: Format) -> Iterator[str]:
    name, pixels, options = ENCODERS[form]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.height, encoder.width = frames.shape[1:3]
    encoder.pix_fmt, encoder.options, encoder.time_base = pixels, options, Fraction(1)
    encoder.thread_count = 1  # with more, pictures come out late
    for packet in _encoded(encoder, frames, pixels):
        yield b64encode(bytes(packet)).decode()


def _mp4(video: Video) -> bytes:
    _, height, width, _ = video.frames.shape
    halves = "yuv444p" if height % 2 or width % 2 else "yuv420p"
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        rate = Fraction(sampled_fps(video)).limit_denominator(1000)
        stream = output.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "10", "bf": "0"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = height, width, halves
        stream.codec_context.thread_count = 1
        for packet in _encoded(stream, video.frames, halves):
            packet.stream = stream
            output.mux(packet)
    return file.getvalue()


def _encoded(encoder: Any, frames: Sequence[Any] | NDArray[np.uint8], pixels: str) -> Iterator[Any]:
    for number, pixels_rgb in enumerate(frames):
        frame = av.VideoFrame.from_ndarray(pixels_rgb, format="rgb24").reformat(format=pixels)
        frame.pts = number
        yield from encoder.encode(frame)
    yield from encoder.encode(None)
