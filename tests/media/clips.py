"""Clips made for tests: small, textured and moving, in every shape of file the media layer has to deal with."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from hashlib import md5

import av
import numpy as np
import paff
from av.stream import Disposition
from making import Made, Picture, by_ffmpeg, make, remux, silence, two_videos

X264 = "bframes=3:b-adapt=0:scenecut=0:"
BT2020 = "colorprim=bt2020:colormatrix=bt2020nc"
VPX = {"deadline": "realtime", "cpu-used": "5"}
DASH = {"movflags": "dash+frag_keyframe+empty_moov+default_base_moof"}
"""An initialization segment and its m4s segments, one after the other."""
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
    "h264 dash": Made(x264=X264 + "keyint=30", muxer=DASH),
    "h264 m2ts": Made(x264=X264 + "keyint=30", container="mpegts", muxer={"mpegts_m2ts_mode": "1"}),
    "h264 240 fps": Made(x264=X264 + "keyint=30", fps=240),
    "h264 1 fps": Made(x264=X264 + "keyint=30", fps=1),
    "h264 vfr": Made(x264=X264 + "keyint=30", times=lambda i: 2 * i + i // 7 * 3 + (i % 3 == 1)),
    "h264 pause ts": Made(x264=X264 + "keyint=30", container="mpegts", times=lambda i: i + 20 * (i >= 40)),
    "h264 pause flv": Made(x264=X264 + "keyint=30", container="flv", times=lambda i: i + 20 * (i >= 40)),
    "h264 audio": Made(x264=X264 + "keyint=30", audio=True),
    "h264 flv audio": Made(x264=X264 + "keyint=30", audio=True, container="flv"),
    "h264 rotated": Made(x264=X264 + "keyint=30", rotation=90),
    "h264 upside down": Made(x264=X264 + "keyint=30", rotation=180),
    "h264 rotated back": Made(x264=X264 + "keyint=30", rotation=-90),
    "h264 rotated and mirrored": Made(x264=X264 + "keyint=30", rotation=90, mirrored=True),
    "h264 mirrored": Made(x264=X264 + "keyint=30", mirrored=True),
    "h264 odd 444": Made(x264=X264 + "keyint=30", pix_fmt="yuv444p", width=131, height=97),
    "h264 422": Made(x264=X264 + "keyint=30", pix_fmt="yuv422p"),
    "h264 gray": Made(x264=X264 + "keyint=30", pix_fmt="gray"),
    "h264 10 bit": Made(x264=X264 + "keyint=30", pix_fmt="yuv420p10le"),
    "h264 pixel aspect": Made(x264=X264 + "keyint=30", aspect=Fraction(4, 3)),
    "h264 full range 709": Made(x264=X264 + "keyint=30", color=(1, 2)),
    "hevc": Made("libx265", x264="bframes=3:keyint=20:open-gop=0:"),
    "hevc open gop": Made("libx265", x264="bframes=3:keyint=20:open-gop=1:"),
    "hevc open gop ts": Made("libx265", "mpegts", x264="bframes=3:keyint=20:open-gop=1:"),
    "hevc ts": Made("libx265", "mpegts", x264="bframes=3:keyint=20:open-gop=0:"),
    "hevc flv": Made("libx265", "flv", x264="bframes=3:keyint=20:open-gop=0:"),
    "hevc pq": Made("libx265", pix_fmt="yuv420p10le", x264=f"keyint=20:{BT2020}:transfer=smpte2084:"),
    "hevc hlg 422 mkv": Made(
        "libx265", "matroska", pix_fmt="yuv422p10le", x264=f"keyint=20:{BT2020}:transfer=arib-std-b67:"
    ),
    "vp9 odd mkv": Made("libvpx-vp9", "matroska", width=131, height=97, options={**VPX, "g": "20"}),
    "vp9 webm": Made("libvpx-vp9", "webm", options={**VPX, "g": "20"}),
    "vp9 mp4 alt ref": Made(
        "libvpx-vp9", options={"g": "40", "auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5"}
    ),
    "av1 mp4": Made("libsvtav1", options={"g": "20", "preset": "12"}),
    "av1 webm": Made("libsvtav1", "webm", options={"g": "20", "preset": "12"}),
    "mpeg4": Made("mpeg4", options={"g": "15", "bf": "2"}),
    "mpeg4 avi": Made("mpeg4", "avi", options={"g": "15"}),
    "av1 10 bit": Made("libsvtav1", pix_fmt="yuv420p10le", options={"g": "20", "preset": "12"}),
    "mpeg4 3gp": Made("mpeg4", "3gp", options={"g": "15"}),
    "mpeg4 b avi": Made("mpeg4", "avi", options={"g": "15", "bf": "2"}),
    "mpeg2 interlaced": Made("mpeg2video", "mpegts", options={"g": "15", "bf": "2", "flags": "+ilme+ildct"}),
    "mpeg2 ts": Made("mpeg2video", "mpegts", options={"g": "15", "bf": "2"}),
    "mpeg2 mpg": Made("mpeg2video", "mpeg", options={"g": "15", "bf": "2"}),
    "mjpeg avi": Made("mjpeg", "avi", pix_fmt="yuvj420p"),
    "mjpeg mkv": Made("mjpeg", "matroska", pix_fmt="yuvj420p"),
    "mjpeg 422 mov": Made("mjpeg", "mov", pix_fmt="yuvj422p"),
}
"""Clips whose windows are copied."""

ENCODED = {
    "vp8 webm": Made("libvpx", "webm", options={"g": "20", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "2M"}),
    "mpeg1 mpg": Made("mpeg1video", "mpeg", options={"g": "15", "bf": "2"}),
    "vp8 mkv": Made("libvpx", "matroska", options={"b": "2M"}),
    "h264 asf": Made(x264=X264 + "keyint=30", container="asf"),
    "ffv1 mkv": Made("ffv1", "matroska"),
    "wmv2 asf": Made("wmv2", "asf", options={"b": "2M"}),
    "wmv1 asf": Made("wmv1", "asf", options={"b": "2M"}),
    "msmpeg4 avi": Made("msmpeg4", "avi", options={"b": "2M"}),
    "h263 3gp": Made("h263", "3gp", width=176, height=144, options={"b": "1M"}),
    "cinepak mov": Made("cinepak", "mov", pix_fmt="rgb24", num_frames=20),
    "real 1 rm": Made("rv10", "rm", options={"b": "2M"}),
    "real 2 rm": Made("rv20", "rm", options={"b": "2M"}),
    "sorenson mov": Made("svq1", "mov", pix_fmt="yuv410p"),
    "dv avi": Made("dvvideo", "avi", width=720, height=576, num_frames=40),
    "utvideo avi": Made("utvideo", "avi", pix_fmt="yuv422p"),
    "flv1": Made("flv", "flv", options={"b": "2M"}),
    "h264 avi": Made(x264=X264 + "keyint=30", container="avi"),
    "prores mov": Made("prores_ks", "mov", pix_fmt="yuv422p10le"),
    "png mov": Made("png", "mov", pix_fmt="rgb24"),
}
"""Clips whose windows are encoded again: mp4 cannot hold the codec, or packets have no times."""


REMUXED: dict[str, Callable[[], bytes]] = {
    "edit list": lambda: remux(clip("h264 gop 12"), "mp4", first=7),
    "edit list in gop 250": lambda: remux(clip("h264 gop 250"), "mov", first=31),
    "two videos": lambda: two_videos(clip("h264 gop 12"), clip("h264 odd 444")),
    "h264 fields": lambda: paff.clip("mp4"),
    "h264 fields mkv": lambda: paff.clip("matroska"),
}
"""Clips made of others, whose windows are copied."""

RETIMED: dict[str, Callable[[], bytes]] = {
    "repeated times": lambda: remux(clip("h264 without b"), "matroska", retime=lambda at: at // 1024 * 1024),
    "one time for all": lambda: remux(clip("h264 without b"), "matroska", retime=lambda at: 0),
    "h264 fields ts": lambda: paff.clip("mpegts"),
}
"""Clips made of others, whose windows are encoded again."""

FFMPEG = {
    "theora ogv": "-c:v libtheora -q:v 7 -g 20 -f ogg",
    "vp9 10 bit webm": "-c:v libvpx-vp9 -pix_fmt yuv420p10le -deadline realtime -cpu-used 5 -g 20 -f webm",
}
"""Clips that only the ffmpeg command can make: its options."""

COPIED_NAMES = [*COPIED, *REMUXED, *(["vp9 10 bit webm"] if shutil.which("ffmpeg") else [])]
ENCODED_NAMES = [*ENCODED, *RETIMED, *(["theora ogv"] if shutil.which("ffmpeg") else [])]


@cache
def clip(name: str) -> bytes:
    """A clip of the tables above, by name."""
    if name in FFMPEG:
        return by_ffmpeg(FFMPEG[name])
    others = {**REMUXED, **RETIMED}
    return others[name]() if name in others else make({**COPIED, **ENCODED}[name])


def decoded(data: bytes) -> list[av.VideoFrame]:
    """Every frame that PyAV shows of a file, as a plain reader would."""
    with av.open(io.BytesIO(data)) as container:
        return list(container.decode(video=0))


def frame_hashes(data: bytes) -> list[str]:
    """A hash of the pixels of every displayed frame, without row padding; the same as `ffmpeg_hashes`."""
    return [_frame_hash(frame) for frame in decoded(data)]


def _frame_hash(frame: av.VideoFrame) -> str:
    digest = md5(usedforsecurity=False)
    packed = frame.format.is_rgb or len(frame.planes) == 1
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        bits = frame.format.padded_bits_per_pixel if packed else 8 * ((frame.format.components[0].bits + 7) // 8)
        digest.update(np.ascontiguousarray(rows[:, : plane.width * bits // 8]))
    return digest.hexdigest()


def ffmpeg_hashes(data: bytes) -> list[str]:
    """The same, as the ffmpeg command decodes the first video of a file."""
    command = "ffmpeg -v error -noautorotate -i - -map 0:v:0 -fps_mode passthrough -f framehash -hash md5 -"
    said = subprocess.run(command.split(), input=data, capture_output=True, check=True).stdout.decode()
    return [line.rsplit(",", 1)[1].strip() for line in said.splitlines() if not line.startswith("#")]


def psnr(ours: Sequence[Picture], theirs: Sequence[Picture]) -> float:
    """Peak signal to noise in dB of 8-bit pictures."""
    error = np.mean((np.stack(ours).astype(float) - np.stack(theirs).astype(float)) ** 2)
    return float(99 if error == 0 else 10 * np.log10(255**2 / error))


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4.0,\nhttp://127.0.0.1:9/clip.ts\n"


def sound_only(container: str = "mp4", *, empty_video: bool = False) -> bytes:
    """A second of silence, perhaps with a video stream that has no frames, which mp4 leaves out."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        if empty_video:
            video = output.add_stream("mpeg4", rate=25)
            video.width, video.height, video.pix_fmt = 160, 112, "yuv420p"
        stream = output.add_stream("aac", rate=44100)
        for i in range(25):
            output.mux(stream.encode(silence(i, 25)))
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
            packets += sound.encode(silence(0, 25)) + sound.encode(None)
        output.mux(packets)
    return file.getvalue()
