"""Boxes of mp4 files that libav's muxer wrote: how long the video is shown, where the index is (ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

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


def index_first(mp4: bytearray) -> bytes:
    """The same file with its index in front, so that a player can start before it has everything.

    The muxer can do this to files on disk only.

    Raises
    ------
    ValueError
        A box is missing, or an offset no longer fits its 32 bits.
    """
    moov, end = _find(mp4, b"moov", 0, len(mp4))
    moov -= HEADER_BYTES
    table = _find(mp4, b"trak", moov + HEADER_BYTES, end)
    for name in (b"mdia", b"minf", b"stbl"):
        table = _find(mp4, name, *table)
    for name, kind in ((b"stco", ">u4"), (b"co64", ">u8")):
        for found, start, _ in _boxes(mp4, *table):
            if found == name:
                _shift(mp4, start, kind, end - moov)
    _, _, after_type = next(_boxes(mp4, 0, len(mp4)))
    return b"".join([mp4[:after_type], mp4[moov:end], mp4[after_type:moov], mp4[end:]])


def _shift(mp4: bytearray, box: int, kind: str, by: int) -> None:
    """Move every chunk offset of a table."""
    (count,) = struct.unpack_from(">I", mp4, box + 4)
    offsets = np.frombuffer(mp4, kind, count, box + 8)
    if count and int(offsets.max()) + by > np.iinfo(kind).max:
        raise ValueError("a chunk offset does not fit")
    offsets += by


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
