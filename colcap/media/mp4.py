"""Boxes of mp4 files that libav's muxer wrote: how long the video is shown (ISO/IEC 14496-12, 8.6.6)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEADER_BYTES = 8


def shorten_edit(mp4: bytearray, duration: int) -> None:
    """Show only the first `duration` units of a file's one track, in place.

    A window needs reference frames that are displayed after its end; the edit list keeps them from being shown.

    Parameters
    ----------
    mp4 : a file with one track and an edit list, whose movie time scale is the track's: milliseconds, which are
        usual, would round to one frame too many.
    duration : in units of that time scale, from the first shown frame to the end of the last.

    Raises
    ------
    ValueError
        There is no edit list, or a box is not what libav writes.
    """
    moov = _find(mp4, b"moov", 0, len(mp4))
    track = _find(mp4, b"trak", *moov)
    edits = _find(mp4, b"elst", *_find(mp4, b"edts", *track))
    _write_duration(mp4, _find(mp4, b"mvhd", *moov)[0], (24, 16), duration)
    _write_duration(mp4, _find(mp4, b"tkhd", *track)[0], (28, 20), duration)
    _write_media_edits(mp4, edits[0], duration)


def _write_duration(mp4: bytearray, box: int, offsets: tuple[int, int], duration: int) -> None:
    """Write a header's duration: 64 bits at the first offset in version 1, 32 at the second in version 0."""
    if mp4[box]:
        struct.pack_into(">Q", mp4, box + offsets[0], duration)
    else:
        struct.pack_into(">I", mp4, box + offsets[1], duration)


def _write_media_edits(mp4: bytearray, box: int, duration: int) -> None:
    """Set the duration of every edit that shows media; empty edits, which delay it, have media time -1."""
    entry = ">Qqi" if mp4[box] else ">Iii"
    (count,) = struct.unpack_from(">I", mp4, box + 4)
    for at in range(box + 8, box + 8 + count * struct.calcsize(entry), struct.calcsize(entry)):
        _, media_time, rate = struct.unpack_from(entry, mp4, at)
        if media_time >= 0:
            struct.pack_into(entry, mp4, at, duration, media_time, rate)


def _find(mp4: bytearray, name: bytes, start: int, end: int) -> tuple[int, int]:
    """(start, end) of the content of the first box of a name between two offsets."""
    for kind, content, stop in _boxes(mp4, start, end):
        if kind == name:
            return content, stop
    raise ValueError(f"no {name.decode()} box")


def _boxes(mp4: bytearray, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the content of each box between two offsets."""
    while start + HEADER_BYTES <= end:
        size, name = struct.unpack_from(">I4s", mp4, start)
        header = HEADER_BYTES
        if size == 1:
            (size,) = struct.unpack_from(">Q", mp4, start + HEADER_BYTES)
            header = 16
        if size < header or start + size > end:
            raise ValueError(f"box {name!r} of {size} bytes does not fit")
        yield name, start + header, start + size
        start += size
