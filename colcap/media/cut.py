"""A window cut out of a clip by copying packets: exact, at about a hundredth of a decode."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import av
from av.container import OutputContainer

from colcap.media.demux import Source, read_clip
from colcap.media.frames import FrameSource, PacketFrames, start_for
from colcap.media.libav import BUFFER_BYTES, Log
from colcap.media.limits import Limits
from colcap.media.mp4 import index_first, shorten_edit
from colcap.media.timeline import Timeline, is_increasing

MP4_CODECS = frozenset("h264 hevc vp9 av1 mpeg4 mpeg2video mpeg1video mjpeg".split())
"""Codecs that mp4 holds and its readers know."""

MP4_FORMAT = "mov,mp4,m4a,3gp,3g2,mj2"


class NotExact(Exception):
    """A copied window would not show exactly its frames."""


def why_not_copy(source: Source, frames: FrameSource) -> str | None:
    """Why a clip's packets cannot be copied into exact windows; None: they can."""
    if source.codec not in MP4_CODECS:
        return f"codec {source.codec} cannot be put into mp4"
    if not isinstance(frames, PacketFrames):
        return "its packets are not its frames one to one"
    if not is_increasing([times.dts for times in source.times]):
        return "its decode times do not increase"
    if source.changes_configuration:
        return "its codec configuration changes"
    return None


def is_window_already(source: Source, frames: FrameSource) -> bool:
    """Whether a clip's own bytes are an mp4 of its video and nothing else, shown from its first packet to its last.

    Audio, subtitles and other tracks are reason enough to copy: a window holds video only, however it was made.
    """
    container = source.container
    return (
        container.format.name == MP4_FORMAT
        and container.metadata.get("major_brand") != "qt  "
        and len(container.streams) == 1
        and len(source.shown) == len(source.packets)
        and source.sync[:1] == [0]
        and source.damage is None
        and why_not_copy(source, frames) is None
    )


def copy_window(source: Source, timeline: Timeline, frames: range, limits: Limits, log: Log) -> bytes:
    """Cut a window by copying packets from the sync packet before its first frame to its last.

    Earlier frames get negative times, which the muxer's edit list hides; later ones are hidden by shortening the
    edit.

    Returns
    -------
    An mp4 of one video track that shows exactly the window's frames, the first one at time 0. Readers that ignore
    edit lists (decord, torchcodec's approximate mode) show frames before the first, too.

    Raises
    ------
    NotExact
        The result, read again, does not show those frames at those times; or libav refuses to write it.
    """
    part = timeline.part(frames)
    try:
        mp4 = _mux(source, [source.shown[frame] for frame in frames], part.pts[0], part.pts[-1])
        shorten_edit(mp4, (part.end - part.pts[0]) * part.time_base.numerator)
        window = index_first(mp4)
    except (av.error.FFmpegError, ValueError, OverflowError, struct.error) as error:
        raise NotExact(str(error)) from error
    check_shown(window, part, limits, log)
    return window


def _mux(source: Source, positions: Sequence[int], first_pts: int, last_pts: int) -> bytearray:
    file = io.BytesIO()
    base, sync = source.time_base, set(source.sync)
    with open_mp4(file, base.denominator) as output:
        stream = output.add_stream_from_template(source.stream, opaque=True)
        stream.time_base = base / base.numerator
        # The first frame may be displayed before a keyframe of its own window, and need the one before that.
        start = min(start_for(position, source) for position in positions)
        for position in range(start, max(positions) + 1):
            packet, times = source.packet(position), source.times[position]
            if packet.is_disposable and times.pts > last_pts:
                continue
            packet.pts = (times.pts - first_pts) * base.numerator
            packet.dts = (times.dts - first_pts) * base.numerator
            packet.duration = times.duration * base.numerator
            packet.time_base = base / base.numerator
            packet.stream = stream
            packet.is_keyframe = position in sync  # readers start at flagged packets, and not all of those are exact
            output.mux_one(packet)
    return bytearray(file.getbuffer())


def open_mp4(file: io.BytesIO, timescale: int) -> OutputContainer:
    """An mp4 to write, with one time scale for the movie and its track."""
    options = {"video_track_timescale": str(timescale), "movie_timescale": str(timescale)}
    return av.open(file, "w", format="mp4", options=options, buffer_size=BUFFER_BYTES)


def check_shown(mp4: bytes, part: Timeline, limits: Limits, log: Log) -> None:
    """Read a window's packets again and compare the frames it shows with the ones it should.

    Raises
    ------
    NotExact
        Their times differ, or decoding could not start at the first packet.
    """
    expected = [(at - part.pts[0]) * part.time_base for at in part.pts]
    with read_clip(mp4, limits, log, probe=False) as made:
        found = [made.times[position].pts * made.time_base for position in made.shown]
        if found != expected:
            raise NotExact(f"the copy shows {len(found)} frames in other places than the {len(expected)} of the window")
        if made.sync[:1] != [0]:
            raise NotExact("the copy does not start with a keyframe")
