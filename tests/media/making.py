"""How clips are made: encoded, copied into other containers, and put together."""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
NUM_FRAMES = 90
FRAME_DURATION = 1 << 8
"""AV_CODEC_FLAG_FRAME_DURATION: packets last as long as their frames."""
os.environ.setdefault("SVT_LOG", "1")  # errors only


@dataclass(frozen=True)
class Made:
    """How to make a clip."""

    codec: str = "libx264"
    container: str = "mp4"
    num_frames: int = NUM_FRAMES
    width: int = 160
    height: int = 112
    pix_fmt: str = "yuv420p"
    fps: int = 25
    x264: str = ""
    options: dict[str, str] = field(default_factory=dict)
    muxer: dict[str, str] = field(default_factory=dict)
    audio: bool = False
    rotation: int = 0
    mirrored: bool = False
    aspect: Fraction | None = None
    color: tuple[int, int] | None = None
    """(colorspace, color_range) tags."""
    times: Callable[[int], int] = int
    """Display time of frame i in units of 1/fps/8 is 8 * times(i)."""


def pictures(made: Made) -> Iterator[Picture]:
    """Texture that moves, over flat colour, with a cut in the middle."""
    rng = np.random.default_rng(7)
    small = rng.integers(0, 255, (2, made.height // 8 + 1, made.width // 8 + 1, 3), dtype=np.uint8)
    base = small.repeat(8, 1).repeat(8, 2)[:, : made.height, : made.width]
    for i in range(made.num_frames):
        picture = np.roll(base[2 * i // made.num_frames], (i, 3 * i), (0, 1)).copy()
        picture[: made.height // 3, : made.width // 3] = (200, 30, 20)
        picture[-8:, (i * 5) % (made.width - 8) :][:, :8] = 255
        yield picture


def make(made: Made) -> bytes:
    """Encode a clip."""
    try:
        return _encoded(made)
    finally:
        # SVT-AV1 gives whoever starts it realtime priority, where it may; all that tests start later would inherit it
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _encoded(made: Made) -> bytes:
    file = io.BytesIO()
    options = {"fflags": "bitexact", **made.muxer}  # no random ids: the same clip in every run
    with av.open(file, "w", format=made.container, options=options) as output:
        stream = _video_stream(output, made)
        sound = (
            output.add_stream("aac" if made.container != "flv" else "libmp3lame", rate=44100) if made.audio else None
        )
        for i, picture in enumerate(pictures(made)):
            frame = _frame(picture, made)
            frame.pts, frame.time_base = 8 * made.times(i), Fraction(1, 8 * made.fps)
            frame.duration = 8 * (made.times(i + 1) - made.times(i))
            output.mux(stream.encode(frame))
            if sound is not None:
                output.mux(sound.encode(silence(i, made.fps)))
        output.mux(stream.encode(None))
        if sound is not None:
            output.mux(sound.encode(None))
    return file.getvalue()


def _video_stream(output: av.container.OutputContainer, made: Made) -> av.VideoStream:
    options = dict(made.options)
    if made.codec in ("libx264", "libx265"):
        options.setdefault("preset", "veryfast" if made.codec == "libx264" else "ultrafast")
        fixed = "log-level=none" if made.codec == "libx265" else "mbtree=0"  # whose AVX-512 code is not the same twice
        options[made.codec.removeprefix("lib") + "-params"] = ":".join(filter(None, [made.x264.strip(":"), fixed]))
    stream = output.add_stream(made.codec, rate=made.fps, options=options)
    stream.width, stream.height, stream.pix_fmt = made.width, made.height, made.pix_fmt
    context = stream.codec_context
    if (
        made.codec in ("libx264", "libx265", "libvpx", "libvpx-vp9") and made.container != "avi"
    ):  # others take the frame rate's, or write empty frames
        context.time_base = Fraction(1, 8 * made.fps)
    context.flags |= FRAME_DURATION
    if made.aspect is not None:
        context.sample_aspect_ratio = made.aspect
    if made.color is not None:
        context.colorspace, context.color_range = made.color
    if made.rotation or made.mirrored:
        stream.set_display_rotation(made.rotation, hflip=made.mirrored)
    return stream


def _frame(picture: Picture, made: Made) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    space, color_range = made.color or (None, None)
    return frame.reformat(
        format=made.pix_fmt, dst_colorspace=space, dst_color_range=color_range, interpolation="BICUBIC"
    )


def silence(i: int, fps: int) -> av.AudioFrame:
    """The sound of frame i."""
    samples = 44100 // fps
    frame = av.AudioFrame.from_ndarray(np.zeros((2, samples), np.float32), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 44100, i * samples, Fraction(1, 44100)
    return frame


def remux(
    data: bytes,
    container: str,
    *,
    first: int = 0,
    muxer: dict[str, str] | None = None,
    retime: Callable[[int], int] = int,
) -> bytes:
    """Copy a clip's packets into another container, where their times may differ.

    Packets before `first` get negative times (an edit list); `retime` changes the others.
    """
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format=container, options=muxer or {}) as output:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        start = sorted(packet.pts for packet in packets)[first]
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in packets:
            packet.pts, packet.dts = retime(packet.pts - start), retime(packet.dts - start)
            packet.stream = stream
            output.mux(packet)
    return file.getvalue()


def two_videos(first: bytes, second: bytes) -> bytes:
    """A Matroska file with the videos of two clips."""
    file = io.BytesIO()
    with (
        av.open(io.BytesIO(first)) as one,
        av.open(io.BytesIO(second)) as two,
        av.open(file, "w", format="matroska") as output,
    ):
        streams = [output.add_stream_from_template(each.streams.video[0], opaque=True) for each in (one, two)]
        for packets in zip(one.demux(video=0), two.demux(video=0), strict=True):
            for packet, stream in zip(packets, streams, strict=True):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)
    return file.getvalue()


def by_ffmpeg(options: str) -> bytes:
    """A clip that the ffmpeg command encodes, for encoders that PyAV has not."""
    source = make(Made("ffv1", "matroska"))
    command = ["ffmpeg", "-v", "error", "-i", "-", *options.split(), "-"]
    return subprocess.run(command, input=source, capture_output=True, check=True).stdout
