"""A clip's packets, read once, and what its container says about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NamedTuple

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from colcap.errors import RowError
from colcap.media.damage import damage
from colcap.media.libav import DECODERS, Log, complaints, media_error, open_clip
from colcap.media.limits import Limits
from colcap.media.random_access import is_random_access
from colcap.media.timeline import Timeline, has_hole, is_increasing, timeline_of

COUNTABLE_CODECS: Final = frozenset("h264 hevc vp9 av1 mpeg4 mpeg2video mpeg1video mjpeg".split())
"""In these a packet is a displayed frame. Others hide frames in packets of their own, or repeat one by an empty one."""

COUNTABLE_FORMATS: Final = frozenset(("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "flv"))
"""Containers whose packets carry their own display times. AVI's don't, nor do all of MPEG's: libav guesses them."""

UNCOUNTED_FORMATS: Final = frozenset(("mpegts", "flv"))
"""Containers that nowhere say how many packets there are: lost ones leave nothing but a hole."""

PICTURE_STREAMS: Final = Disposition.attached_pic | Disposition.timed_thumbnails
PROGRESSIVE: Final = (0, 1)
"""Field orders unknown and progressive; in the others a frame may come as two packets, one a field."""


class Times(NamedTuple):
    """A packet's times in the stream's time base, kept because muxing and decoding overwrite them."""

    pts: int
    dts: int
    duration: int


@dataclass(frozen=True, slots=True)
class Source:
    """An open clip whose video packets have all been read."""

    data: bytes
    container: InputContainer
    stream: VideoStream
    packets: list[Packet[VideoStream]]
    """In decode order."""
    times: list[Times]
    """Of each packet; empty where some packet has no display time."""
    shown: list[int]
    """Positions in `packets` of displayed frames, in display order; empty as `times` is."""
    sync: list[int]
    """Positions in `packets` where exact decoding may start, increasing."""
    damage: str | None
    """What was lost while reading: truncation, broken packets."""

    @property
    def codec(self) -> str:
        """libav's name of the codec, which is not always its decoder's."""
        return str(self.stream.codec_context.codec.canonical_name)

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of the stream's times."""
        return self.stream.time_base or Fraction(1, 1000)

    @property
    def has_audio(self) -> bool:
        """The container has an audio stream."""
        return len(self.container.streams.audio) > 0

    @property
    def changes_configuration(self) -> bool:
        """Some packets need another codec configuration than the stream's header holds."""
        return any(packet.has_sidedata("new_extradata") for packet in self.packets)

    def timeline(self) -> Timeline:
        """When frames are shown according to their packets; only where `shown` is not empty."""
        return timeline_of([self.times[i].pts for i in self.shown], self.times[self.shown[-1]].duration, self.time_base)

    def packet(self, position: int) -> Packet[VideoStream]:
        """A packet with its own times, whatever was done with it before."""
        packet = self.packets[position]
        if self.times:
            packet.pts, packet.dts, packet.duration = self.times[position]
            packet.time_base = self.time_base
        return packet


@contextmanager
def read_clip(data: bytes, limits: Limits, log: Log, *, num_threads: int = 1, probe: bool = True) -> Iterator[Source]:
    """Open a clip and read its video packets; closed on leaving.

    Parameters
    ----------
    data : the whole file.
    limits : bounds, checked before anything is decoded.
    log : where libav's lines are collected.
    num_threads : decoder threads.
    probe : False: only packets are wanted, nothing will be decoded.

    Raises
    ------
    RowError
        too_large, unreadable, unsupported, no_video (skipped), no_frames (skipped where the clip is sound), corrupt.
    """
    with open_clip(data, limits, log, probe=probe) as container:
        stream = _video_stream(container, limits, log)
        _prepare_decoder(stream, limits, num_threads)
        packets, trouble = _read_packets(container, stream, limits, log)
        yield _source(data, container, stream, packets, trouble)


def _video_stream(container: InputContainer, limits: Limits, log: Log) -> VideoStream:
    """The first video stream that is a film, not a cover picture; checked against the limits."""
    streams = [stream for stream in container.streams.video if not stream.disposition & PICTURE_STREAMS]
    if not streams:
        raise RowError("no_video", f"no video among {len(container.streams)} streams", skipped=True)
    stream, context = streams[0], streams[0].codec_context
    if context is None or context.codec.name not in DECODERS:
        name = "unknown" if context is None else context.codec.name
        raise media_error("unsupported", f"video codec {name} is not one that is decoded", log)
    if context.width * context.height > limits.max_pixels:
        raise RowError(
            "too_large",
            f"{context.width}x{context.height} pixels, at most {limits.max_pixels} in all are allowed (max_pixels)",
        )
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    return stream


def _prepare_decoder(stream: VideoStream, limits: Limits, num_threads: int) -> None:
    context = stream.codec_context
    context.thread_type = "AUTO" if num_threads > 1 else "SLICE"
    context.thread_count = num_threads
    context.options = {"max_pixels": str(limits.max_pixels)}  # holds for changes of size within the clip too


def _read_packets(
    container: InputContainer, stream: VideoStream, limits: Limits, log: Log
) -> tuple[list[Packet[VideoStream]], str | None]:
    packets: list[Packet[VideoStream]] = []
    trouble = None
    try:
        for packet in container.demux(stream):
            if packet.size:
                packets.append(packet)
            if len(packets) > limits.max_packets:
                raise RowError("too_large", f"more than {limits.max_packets} video packets (max_packets)")
    except FFmpegError as error:
        trouble = f"reading stops after {len(packets)} packets: {error.strerror}"
    except IndexError:
        pass  # at the end PyAV 18 also flushes streams that appeared while reading, and does not know them
    while packets and packets[-1].is_corrupt:
        packets.pop()
        trouble = trouble or "the last packet is cut off"
    if not packets:
        raise _empty(container, stream, trouble, log)
    return packets, trouble


def _empty(container: InputContainer, stream: VideoStream, trouble: str | None, log: Log) -> RowError:
    """The row of a clip without packets, which is sound where nothing speaks of some that are lost."""
    if trouble is not None:
        return media_error("corrupt", trouble, log)
    if stream.frames or complaints(log, container.format.name):
        return media_error("no_frames", f"the video stream is empty ({stream.frames} frames are declared)", log)
    return RowError("no_frames", "the video stream is empty", skipped=True)


def _source(
    data: bytes,
    container: InputContainer,
    stream: VideoStream,
    packets: list[Packet[VideoStream]],
    trouble: str | None,
) -> Source:
    times = _times(packets)
    displayed = [i for i, packet in enumerate(packets) if not packet.is_discard]
    shown = sorted(displayed, key=lambda i: times[i].pts) if times else []
    codec, extradata = stream.codec_context.codec.canonical_name, stream.codec_context.extradata
    sync = [i for i, p in enumerate(packets) if p.is_keyframe and is_random_access(codec, memoryview(p), extradata)]
    return Source(
        data, container, stream, packets, times, shown, sync, damage(container, stream, len(packets), trouble)
    )


def _times(packets: list[Packet[VideoStream]]) -> list[Times]:
    """Times of all packets; decode times that Matroska leaves out are the display times in order, moved back."""
    pts = [packet.pts for packet in packets if packet.pts is not None]
    if len(pts) < len(packets):
        return []
    dts = [packet.dts for packet in packets]
    if None in dts:
        ordered = sorted(pts)
        back = max(early - late for early, late in zip(ordered, pts, strict=True))
        dts = [at - max(0, back) for at in ordered]
    return [Times(p, d or 0, packet.duration or 0) for p, d, packet in zip(pts, dts, packets, strict=True)]


def doubts(source: Source) -> list[str]:
    """Why packets may not be displayed frames one to one; empty: they are."""
    packets, order = source.packets, [source.times[i].pts for i in source.shown]
    checks = {
        f"codec {source.codec}": source.codec not in COUNTABLE_CODECS,
        f"container {source.container.format.name}": source.container.format.name not in COUNTABLE_FORMATS,
        "packets without display time": not source.shown,
        "packets with equal display times": not is_increasing(order),
        "damage": source.damage is not None,
        "broken packets": any(packet.is_corrupt for packet in packets),
        "codec configuration changes": source.changes_configuration,
        "no keyframe at the start": source.sync[:1] != [0],
        "frames before the first keyframe": bool(order) and order[0] < source.times[0].pts,
        "a hole in their times": source.container.format.name in UNCOUNTED_FORMATS and has_hole(order),
        "fields": source.stream.codec_context.field_order not in PROGRESSIVE,
    }
    return [what for what, found in checks.items() if found]
