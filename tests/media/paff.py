"""Field-coded H.264 (PAFF), which no encoder at hand writes: each picture of x264's becomes two fields.

Only headers are changed. Fields keep the coefficients of a block in another order than x264 wrote them, so the pictures
look torn; what counts is that every decoder gives the same ones.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Self

import av
from making import Made, make

X264 = "keyint=12:scenecut=0:bframes=0:ref=1:weightp=0:cabac=0:8x8dct=0:no-deblock=1"
SLICE, IDR_SLICE, PARAMETERS = 1, 5, 7
"""Types of NAL units."""


class Bits:
    """A NAL unit's payload, rewritten from the front to the back."""

    def __init__(self, unit: bytes) -> None:
        plain = unit[1:].replace(b"\0\0\3", b"\0\0")
        self._left = "".join(f"{byte:08b}" for byte in plain).rstrip("0")[:-1]
        self._written = ""

    def keep(self, count: int) -> Self:
        """Copy bits."""
        self._written += self.skip(count)
        return self

    def skip(self, count: int) -> str:
        """Leave bits out."""
        skipped, self._left = self._left[:count], self._left[count:]
        return skipped

    def number(self) -> int:
        """Leave an Exp-Golomb number out, and tell it."""
        zeros = self._left.index("1")
        return int(self.skip(2 * zeros + 1), 2) - 1

    def numbers(self, count: int) -> Self:
        """Copy Exp-Golomb numbers."""
        for _ in range(count):
            self.keep(2 * self._left.index("1") + 1)
        return self

    def write(self, bits: str) -> Self:
        """Put bits in."""
        self._written += bits
        return self

    def unit(self, header: int) -> bytes:
        """The NAL unit, with what was not looked at."""
        bits = self._written + self._left + "1"
        bits += "0" * (-len(bits) % 8)
        plain = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
        return bytes([header]) + re.sub(rb"\0\0(?=[\0-\3])", b"\0\0\3", plain)


def fields(stream: bytes) -> Iterator[bytes]:
    """The NAL units of a stream of frames, as a stream of field pairs of twice the height."""
    for unit in re.split(rb"\x00\x00\x00?\x01", stream)[1:]:
        kind = unit[0] & 31
        if kind == PARAMETERS:
            yield _parameters(unit)
        elif kind in (SLICE, IDR_SLICE):
            yield from (_slice(unit, is_bottom) for is_bottom in (False, True))
        else:
            yield unit


def _parameters(unit: bytes) -> bytes:
    bits = Bits(unit)
    bits.skip(16)
    bits.write(f"{77:08b}{0:08b}").keep(8).numbers(1)  # the main profile, which has fields
    assert bits.number() == 0, "frame numbers of four bits"
    assert bits.number() == 2, "pictures shown in the order they are coded"
    assert bits.number() == 1, "one frame to refer to"
    bits.write("1" + "011" + "011").keep(1).numbers(2)  # two frames, since a new field pushes the oldest one out
    assert bits.skip(2) == "11"
    bits.write("001").keep(1).write("0")  # fields, no mixed frames; no timing
    bits.skip(10**6)
    return bits.unit(unit[0])


def _slice(unit: bytes, is_bottom: bool) -> bytes:
    bits = Bits(unit).numbers(3).keep(4).write("11" if is_bottom else "10")
    if unit[0] & 31 == IDR_SLICE and is_bottom:  # only the first field may be the start of a sequence
        bits.number()
        bits.skip(2)
        return bits.write("0").unit(unit[0] & ~31 | SLICE)
    return bits.unit(unit[0])


def clip(container: str) -> bytes:
    """A clip whose packets hold a field pair each."""
    stream = b"".join(b"\0\0\0\1" + unit for unit in fields(make(Made(height=64, container="h264", x264=X264))))
    file = io.BytesIO()
    with av.open(io.BytesIO(stream), format="h264") as source, av.open(file, "w", format=container) as output:
        target = output.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for number, (top, bottom) in enumerate(zip(packets[::2], packets[1::2], strict=True)):
            packet = av.Packet(bytes(top) + bytes(bottom))
            packet.stream, packet.is_keyframe = target, top.is_keyframe
            packet.pts = packet.dts = number
            packet.duration, packet.time_base = 1, Fraction(1, 25)
            output.mux(packet)
    return file.getvalue()
