"""The displayed frames of a clip: how many, when, and decoded as wanted. Two ways to know them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Final, Protocol

from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from colcap.media.demux import Source, doubts, read_clip
from colcap.media.headers import has_whole_headers
from colcap.media.libav import Log, media_error
from colcap.media.limits import Limits
from colcap.media.timeline import Timeline, is_increasing, timeline_of

SKIPS_EXACTLY: Final = frozenset(("h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video"))
"""Decoders that can leave out frames nobody refers to, with every other frame the same; others read the setting at
start only, or not at all."""

LOSES_FRAMES: Final = frozenset(("av1", "vp9"))
"""Decoders that give no frame at all for damaged data. They skip nothing on request, so that decoding everything costs
little more than what is wanted, and tells what is lost."""

DEFAULT_RATE: Final = Fraction(25)
"""Frames per second of clips that tell nothing about time."""


DISAGREEMENT: Final = Fraction(1, 10)
"""A declared rate that is further off than this from what frames' times say is not believed."""


class Undecodable(Exception):
    """Packets do not give the frames they should, or not whole: look closer."""


class Trust(Enum):
    """What is taken for the displayed frames of a clip."""

    PACKETS = "packets"
    """Its packets, if nothing speaks against that."""
    CHECKED = "checked"
    """Its packets, if decoding every frame once agrees with them."""
    FRAMES = "frames"
    """What decoding every frame once gives."""


class FrameSource(Protocol):
    """Displayed frames, numbered from 0 in display order."""

    @property
    def timeline(self) -> Timeline:
        """When each of them is shown."""

    def decode(self, wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the wanted frames with their numbers, in display order."""


@dataclass(frozen=True, slots=True)
class PacketFrames:
    """Frames known by their packets: nothing is decoded but what is wanted."""

    source: Source
    timeline: Timeline
    log: Log
    checked: bool
    """Every frame was decoded once, and that agreed with the packets."""

    def decode(self, wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the wanted frames, decoding as little as possible.

        Raises
        ------
        Undecodable
            Some wanted frame does not come out, or another one does.
        """
        numbers = {self.timeline.pts[number]: number for number in wanted}
        positions = {self.source.shown[number] for number in wanted}
        expected = iter(sorted(wanted))
        for frame in self._decode(positions):
            number = numbers.pop(frame.pts, None) if frame.pts is not None else None
            if number is None:
                continue
            if number != next(expected):
                raise Undecodable(f"frame {number} comes before its turn")
            yield number, frame
        if numbers:
            raise Undecodable(f"{len(numbers)} frames do not decode")

    def _decode(self, positions: set[int]) -> Iterator[VideoFrame]:
        context, skips = self.source.stream.codec_context, self.source.codec in SKIPS_EXACTLY
        everything = len(positions) > 1 and self.source.codec in LOSES_FRAMES
        for span in [range(len(self.source.packets))] if everything else spans(positions, self.source):
            if context.is_open:
                context.flush_buffers()
            for position in span:
                if skips:  # pixels of the frames that are kept stay the same; a fixed NONREF would lose wanted ones
                    context.skip_frame = "DEFAULT" if position in positions else "NONREF"
                yield from _feed(context, self.source, position, self.log)
            yield from _feed(context, self.source, None, self.log)


def spans(positions: Iterable[int], source: Source) -> list[range]:
    """Runs of packets to feed for the frames at some positions, each from a place where exact decoding starts.

    Parameters
    ----------
    positions : wanted packets. One that is displayed before the keyframe it follows starts at an earlier keyframe.
    """
    merged: list[range] = []
    for start, stop in sorted((start_for(position, source), position + 1) for position in positions):
        if merged and start <= merged[-1].stop:
            merged[-1] = range(merged[-1].start, max(stop, merged[-1].stop))
        else:
            merged.append(range(start, stop))
    return merged


def start_for(position: int, source: Source) -> int:
    """Position of the packet from which a frame decodes exactly: the last sync not after it, in both orders."""
    at = bisect_right(source.sync, position) - 1
    while at > 0 and source.times[source.sync[at]].pts > source.times[position].pts:
        at -= 1
    return source.sync[at] if at >= 0 else 0


@dataclass(frozen=True, slots=True)
class CountedFrames:
    """Frames known by decoding them all: for clips whose packets cannot be trusted to be frames."""

    data: bytes
    limits: Limits
    log: Log
    num_threads: int
    timeline: Timeline
    raw_pts: list[int | None]
    """Each frame's time as the decoder gave it."""
    num_failed: int
    """Packets that could not be decoded."""

    def damage(self, num_packets: int) -> str | None:
        """How many of the clip's packets are lost, in words, or None."""
        return f"damaged: {self.num_failed} of {num_packets} packets do not decode" if self.num_failed else None

    def decode(self, wanted: set[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the wanted frames, decoding everything up to the last of them.

        A fresh decoder each time, so that every pass gives the same frames.
        """
        last = max(wanted)
        with read_clip(self.data, self.limits, self.log, num_threads=self.num_threads) as source:
            for number, frame in enumerate(_decode_all(source, self.log, [])):
                if number in wanted:
                    yield number, frame
                if number == last:
                    return
        raise Undecodable("a second pass gives fewer frames than the first")


def count_frames(data: bytes, limits: Limits, log: Log, num_threads: int) -> CountedFrames:
    """Decode a clip once to learn its frames and their times.

    Raises
    ------
    RowError
        `corrupt` where no frame decodes; `too_large`.
    """
    failed: list[int] = []
    with read_clip(data, limits, log, num_threads=num_threads) as source:
        seen = [(frame.pts, frame.duration or 0) for frame in _decode_all(source, log, failed)]
        if not seen:
            raise media_error("corrupt", f"no frame decodes ({_describe(source)})", log)
        raw = [at for at, _ in seen]
        timeline = timeline_of(_display_times(raw, source), seen[-1][1], source.time_base)
    return CountedFrames(data, limits, log, num_threads, timeline, raw, len(failed))


def _display_times(raw: list[int | None], source: Source) -> list[int]:
    """Frames' own times where each has its own; else evenly spread, at the declared rate if that can be true."""
    times = sorted(at for at in raw if at is not None)
    if len(times) == len(raw) and is_increasing(times):
        return times  # sorted: ASF has decode times only, which B-frames get in the wrong order
    period = 1 / ((source.stream.average_rate or source.stream.base_rate or DEFAULT_RATE) * source.time_base)
    if len(times) > 1 and times[-1] > times[0]:
        measured = Fraction(times[-1] - times[0], len(raw) - 1)
        period = measured if abs(period / measured - 1) > DISAGREEMENT else period
    period = max(Fraction(1), period)
    return [round(number * period) for number in range(len(raw))]


def _decode_all(source: Source, log: Log, failed: list[int]) -> Iterator[VideoFrame]:
    """Every frame that decodes, in the decoder's order; positions that do not are added to `failed`."""
    context = source.stream.codec_context
    for position in [*range(len(source.packets)), None]:
        try:
            yield from _feed(context, source, position, log)
        except Undecodable:
            failed.append(-1 if position is None else position)


def _feed(context: VideoCodecContext, source: Source, position: int | None, log: Log) -> list[VideoFrame]:
    """Decode one packet, or drain the decoder.

    Raises
    ------
    Undecodable, RowError
        `too_large` where the clip changes to a size above `max_pixels`, or memory is out.
    """
    packet = None if position is None else source.packet(position)
    try:
        return context.decode(packet)
    except EOFError:
        return []
    except MemoryError as error:
        raise media_error("too_large", f"not enough memory to decode ({_describe(source)})", log) from error
    except FFmpegError as error:
        if any("exceeds specified max pixel count" in line for _, _, line in log):
            raise media_error("too_large", f"a frame is larger than max_pixels ({_describe(source)})", log) from error
        raise Undecodable(str(error)) from error


def _describe(source: Source) -> str:
    context = source.stream.codec_context
    return f"{context.codec.name} {context.width}x{context.height} {context.pix_fmt}, options {context.options}"


def frames_of(source: Source, trust: Trust, limits: Limits, log: Log, num_threads: int) -> FrameSource:
    """The frames of a clip, by packets where those can be trusted, else counted by decoding."""
    if trust is Trust.PACKETS and not doubts(source) and has_whole_headers(source):
        return PacketFrames(source, source.timeline(), log, checked=False)
    counted = count_frames(source.data, limits, log, num_threads)
    by_packets = [source.times[position].pts for position in source.shown]
    if trust is not Trust.FRAMES and counted.raw_pts == by_packets and is_increasing(by_packets):
        return PacketFrames(source, source.timeline(), log, checked=True)
    return counted
