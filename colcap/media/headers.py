"""Whether packets that nobody decodes look intact: their headers are read, at a hundredth of a decode."""

from __future__ import annotations

from typing import Final

from av.bitstream import BitStreamFilterContext
from av.error import FFmpegError
from av.packet import Packet

from colcap.media.demux import Source

READ_HEADERS: Final = frozenset("h264 hevc vp9 av1 mpeg2video".split())
"""Codecs whose headers libav can read without decoding."""


def has_whole_headers(source: Source) -> bool:
    """Whether every packet's headers can be read, down to those of its slices.

    A copied window holds frames that are not decoded. One whose headers are damaged would end the window for many a
    reader, and no decoder of ours would have complained.
    """
    if source.codec not in READ_HEADERS:
        return True
    try:
        reader = BitStreamFilterContext("trace_headers", source.stream)
        for packet in source.packets:
            reader.filter(Packet(bytes(packet)))  # a copy: the filter takes the packet's bytes away
    except FFmpegError:
        return False
    return True
