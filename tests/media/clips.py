"""Clips made for tests: small, textured and moving, in every shape of file the media layer has to deal with."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from hashlib import blake2b

import av
import numpy as np
from av.stream import Disposition
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
    file = io.BytesIO()
    with av.open(file, "w", format=made.container, options=made.muxer) as output:
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
                output.mux(sound.encode(_silence(i, made.fps)))
        output.mux(stream.encode(None))
        if sound is not None:
            output.mux(sound.encode(None))
    return file.getvalue()


def _video_stream(output: av.container.OutputContainer, made: Made) -> av.VideoStream:
    options = dict(made.options)
    if made.codec in ("libx264", "libx265"):
        options.setdefault("preset", "veryfast")
        options[made.codec.removeprefix("lib") + "-params"] = made.x264 + (
            "log-level=none" if made.codec == "libx265" else ""
        )
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


def _silence(i: int, fps: int) -> av.AudioFrame:
    samples = 44100 // fps
    frame = av.AudioFrame.from_ndarray(np.zeros((2, samples), np.float32), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = 44100, i * samples, Fraction(1, 44100)
    return frame


def remux(data: bytes, container: str, *, first: int = 0, muxer: dict[str, str] | None = None) -> bytes:
    """Copy a clip's packets into another container; packets before `first` get negative times (an edit list)."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format=container, options=muxer or {}) as output:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        start = sorted(packet.pts for packet in packets)[first]
        stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
        for packet in packets:
            packet.pts, packet.dts = packet.pts - start, packet.dts - start
            packet.stream = stream
            output.mux(packet)
    return file.getvalue()


X264 = "bframes=3:b-adapt=0:scenecut=0:"
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}

COPIED = {
    "h264 gop 250": Made(x264=X264 + "keyint=250"),
    "h264 gop 12": Made(x264=X264 + "keyint=12"),
    "h264 open gop": Made(x264=X264 + "keyint=15:open-gop=1:b-pyramid=normal"),
    "h264 open gop ts": Made(x264=X264 + "keyint=15:open-gop=1", container="mpegts"),
    "h264 without b": Made(x264="bframes=0:keyint=20"),
    "h264 intra refresh": Made(x264="bframes=0:keyint=20:intra-refresh=1"),
    "h264 intra refresh ts": Made(x264="bframes=0:keyint=20:intra-refresh=1", container="mpegts"),
    "h264 interlaced": Made(x264=X264 + "keyint=20:tff=1"),
    "h264 interlaced ts": Made(x264=X264 + "keyint=20:tff=1", container="mpegts"),
    "h264 mkv": Made(x264=X264 + "keyint=30", container="matroska"),
    "h264 mov": Made(x264=X264 + "keyint=30", container="mov"),
    "h264 flv": Made(x264=X264 + "keyint=30", container="flv"),
    "h264 ts": Made(x264=X264 + "keyint=30", container="mpegts"),
    "h264 fragmented": Made(x264=X264 + "keyint=30", muxer=FRAGMENTED),
    "h264 vfr": Made(x264=X264 + "keyint=30", times=lambda i: 2 * i + i // 7 * 3 + (i % 3 == 1)),
    "h264 audio": Made(x264=X264 + "keyint=30", audio=True),
    "h264 flv audio": Made(x264=X264 + "keyint=30", audio=True, container="flv"),
    "h264 rotated": Made(x264=X264 + "keyint=30", rotation=90),
    "h264 mirrored": Made(x264=X264 + "keyint=30", mirrored=True),
    "h264 odd 444": Made(x264=X264 + "keyint=30", pix_fmt="yuv444p", width=131, height=97),
    "h264 10 bit": Made(x264=X264 + "keyint=30", pix_fmt="yuv420p10le"),
    "h264 pixel aspect": Made(x264=X264 + "keyint=30", aspect=Fraction(4, 3)),
    "h264 full range 709": Made(x264=X264 + "keyint=30", color=(1, 2)),
    "hevc": Made("libx265", x264="bframes=3:keyint=20:open-gop=0:"),
    "hevc open gop": Made("libx265", x264="bframes=3:keyint=20:open-gop=1:"),
    "hevc open gop ts": Made("libx265", "mpegts", x264="bframes=3:keyint=20:open-gop=1:"),
    "vp9 webm": Made("libvpx-vp9", "webm", options={"g": "20", "deadline": "realtime", "cpu-used": "5"}),
    "vp9 mp4 alt ref": Made(
        "libvpx-vp9", options={"g": "40", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5"}
    ),
    "av1 mp4": Made("libsvtav1", options={"g": "20", "preset": "12"}),
    "av1 webm": Made("libsvtav1", "webm", options={"g": "20", "preset": "12"}),
    "mpeg4": Made("mpeg4", options={"g": "15", "bf": "2"}),
    "mpeg4 avi": Made("mpeg4", "avi", options={"g": "15"}),
    "mpeg2 ts": Made("mpeg2video", "mpegts", options={"g": "15", "bf": "2"}),
    "mpeg2 mpg": Made("mpeg2video", "mpeg", options={"g": "15", "bf": "2"}),
    "mjpeg avi": Made("mjpeg", "avi", pix_fmt="yuvj420p"),
    "mjpeg mkv": Made("mjpeg", "matroska", pix_fmt="yuvj420p"),
}
"""Clips whose windows are copied."""

ENCODED = {
    "vp8 webm": Made("libvpx", "webm", options={"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "2M"}),
    "mpeg1 mpg": Made("mpeg1video", "mpeg", options={"g": "15", "bf": "2"}),
    "ffv1 mkv": Made("ffv1", "matroska"),
    "wmv2 asf": Made("wmv2", "asf", options={"b": "2M"}),
    "flv1": Made("flv", "flv", options={"b": "2M"}),
    "h264 avi": Made(x264=X264 + "keyint=30", container="avi"),
    "prores mov": Made("prores_ks", "mov", pix_fmt="yuv422p10le"),
    "png mov": Made("png", "mov", pix_fmt="rgb24"),
}
"""Clips whose windows are encoded again: mp4 cannot hold the codec, or packets have no times."""


@cache
def clip(name: str) -> bytes:
    """A clip of COPIED or ENCODED, or one of the remuxed ones, by name."""
    if name == "edit list":
        return remux(clip("h264 gop 12"), "mp4", first=7)
    if name == "edit list in gop 250":
        return remux(clip("h264 gop 250"), "mov", first=31)
    return make({**COPIED, **ENCODED}[name])


REMUXED = ("edit list", "edit list in gop 250")


def decoded(data: bytes) -> list[av.VideoFrame]:
    """Every frame that PyAV shows of a file, as a plain reader would."""
    with av.open(io.BytesIO(data)) as container:
        return list(container.decode(video=0))


def frame_hashes(data: bytes) -> list[str]:
    """A hash of the pixels of every displayed frame, without row padding."""
    return [_frame_hash(frame) for frame in decoded(data)]


def _frame_hash(frame: av.VideoFrame) -> str:
    digest = blake2b(f"{frame.width}x{frame.height} {frame.format.name}".encode(), digest_size=12)
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        used = plane.width * (2 if "10le" in frame.format.name else 3 if frame.format.name == "rgb24" else 1)
        digest.update(np.ascontiguousarray(rows[:, :used]))
    return digest.hexdigest()


def psnr(ours: Sequence[Picture], theirs: Sequence[Picture]) -> float:
    """Peak signal to noise in dB of 8-bit pictures."""
    error = np.mean((np.stack(ours).astype(float) - np.stack(theirs).astype(float)) ** 2)
    return float(99 if error == 0 else 10 * np.log10(255**2 / error))


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4.0,\nhttp://127.0.0.1:9/clip.ts\n"


def sound_only() -> bytes:
    """An mp4 with a second of silence."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        stream = output.add_stream("aac", rate=44100)
        for i in range(25):
            output.mux(stream.encode(_silence(i, 25)))
        output.mux(stream.encode(None))
    return file.getvalue()


def with_cover(data: bytes | None) -> bytes:
    """An mp4 whose first video stream is a cover picture, before a clip's video or alone."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        sound = output.add_stream("aac", rate=44100) if data is None else None
        packets = cover.encode(av.VideoFrame(32, 32, "yuvj420p")) + cover.encode(None)
        if data is not None:
            with av.open(io.BytesIO(data)) as source:
                stream = output.add_stream_from_template(source.streams.video[0], opaque=True)
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.stream = stream
                        packets.append(packet)
        if sound is not None:
            packets += sound.encode(_silence(0, 25)) + sound.encode(None)
        output.mux(packets)
    return file.getvalue()
