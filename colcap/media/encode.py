"""A window encoded again, frame by frame: for codecs that mp4 cannot hold and readers that ignore edit lists."""

from __future__ import annotations

import io
from fractions import Fraction
from itertools import pairwise
from typing import Final

from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from colcap.errors import RowError
from colcap.media.cut import NotExact, check_shown, open_mp4
from colcap.media.demux import Source
from colcap.media.frame_choice import rational
from colcap.media.libav import Log, close_with
from colcap.media.limits import Limits
from colcap.media.mp4 import index_first
from colcap.media.orientation import display_matrix
from colcap.media.products import Budget
from colcap.media.timeline import Timeline

OPTIONS: Final = {"preset": "veryfast", "crf": "18", "x264-params": "mbtree=0"}
"""Twice as small as ultrafast at the same quality; 18 is the encoder's idea of hardly visible loss. Without the
macroblock tree, whose AVX-512 code gave other bytes for the same frames in one run of ten."""


class EncodedWindow:
    """H.264 of every frame of a window, without frames out of order, so that no edit list is needed.

    Parameters
    ----------
    source : the clip; its pixel aspect is kept.
    part : when the window's frames are shown; their times are kept, from 0.
    fps : displayed frames per second of the clip; guides the encoder's rate control.
    num_threads : encoder threads.
    """

    def __init__(
        self, source: Source, part: Timeline, fps: float, num_threads: int, budget: Budget, limits: Limits, log: Log
    ) -> None:
        self.indices = set(range(len(part)))
        self._source = source
        self._part = part
        self._fps = fps
        self._num_threads = num_threads
        self._budget = budget
        self._limits = limits
        self._log = log
        self._reformatter = VideoReformatter()
        self._file = io.BytesIO()
        self._output: OutputContainer | None = None
        self._stream: VideoStream | None = None
        times = [self._time(index) for index in range(len(part) + 1)]
        self._durations = {at: after - at for at, after in pairwise(times)}

    @property
    def encoder(self) -> str:
        """The encoder and its options."""
        return f"libx264 {OPTIONS}"

    def add(self, index: int, frame: VideoFrame) -> None:
        """Encode a frame; the first one decides on size and colours."""
        stream = self._stream or self._start(frame)
        picture = self._picture(frame, stream)
        picture.pts, picture.time_base = self._time(index), stream.codec_context.time_base
        picture.pict_type = 0  # the encoder chooses, not the source
        self._mux(stream.encode(picture))

    def finish(self) -> bytes:
        """The file, checked to show every frame at its time."""
        assert self._stream is not None  # windows are not empty, so a frame has come
        assert self._output is not None
        self._mux(self._stream.encode(None))
        self._output.close()
        mp4 = index_first(bytearray(self._file.getbuffer()))
        try:
            check_shown(mp4, self._part, self._limits, self._log)
        except NotExact as error:
            raise RowError("encode_failed", str(error)) from error
        return mp4

    def _time(self, index: int) -> int:
        """When a frame appears, in the file's units, which are the source's without their numerator."""
        return (self._part.at(index) - self._part.pts[0]) * self._part.time_base.numerator

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        assert self._output is not None
        for packet in packets:
            self._budget.spend(packet.size)
            packet.duration = self._durations[packet.pts or 0]
            self._output.mux_one(packet)

    def _start(self, frame: VideoFrame) -> VideoStream:
        self._output = open_mp4(self._file, self._part.time_base.denominator)
        close_with(self, self._output)
        stream = self._output.add_stream("libx264", rate=rational(self._fps), options=OPTIONS)
        odd = frame.width % 2 or frame.height % 2  # 4:2:0 has a colour sample for each two pixels a side
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv444p" if odd else "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, self._part.time_base.denominator)
        context.max_b_frames, context.thread_count = 0, self._num_threads
        if self._source.stream.sample_aspect_ratio:
            context.sample_aspect_ratio = self._source.stream.sample_aspect_ratio
        for tag in COLOR_TAGS:
            setattr(context, tag, RGB_TAGS.get(tag, 2) if _is_rgb(frame) else getattr(frame, tag))
        stream.set_display_matrix(display_matrix(frame))
        self._stream = stream
        return stream

    def _picture(self, frame: VideoFrame, stream: VideoStream) -> VideoFrame:
        """The frame in the encoder's size and pixel format, its matrix and range unchanged."""
        context, rgb = stream.codec_context, _is_rgb(frame)
        return self._reformatter.reformat(
            frame,
            context.width,
            context.height,
            context.pix_fmt,
            dst_colorspace=Colorspace.ITU709 if rgb else None,
            dst_color_range=ColorRange.MPEG if rgb else None,
            threads=1,
        )


COLOR_TAGS: Final = ("color_range", "colorspace", "color_primaries", "color_trc")
RGB_TAGS: Final = {"color_range": 1, "colorspace": 1}
"""RGB becomes BT.709 of limited range."""


def _is_rgb(frame: VideoFrame) -> bool:
    return frame.format.is_rgb
