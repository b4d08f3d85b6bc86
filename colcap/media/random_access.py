"""Where decoding may start so that every later frame is exact. Containers' keyframe flags are not enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

START_CODE: Final = b"\0\0\1"
H264_SLICE, H264_IDR, H264_SEI = 1, 5, 6
RECOVERY_POINT: Final = 6


def is_random_access(codec: str, packet: memoryview, extradata: bytes | None) -> bool:
    """Whether every frame displayed after a keyframe decodes exactly when decoding starts at it.

    H.264 encoders with intra refresh flag frames as keyframes that only begin a refresh; decoding from there shows
    wrong pixels for a while. So an H.264 keyframe must be an IDR picture or a recovery point of zero frames, an HEVC
    one an IRAP picture (ITU-T H.264 D.2.8, H.265 7.4.2.2). Other codecs' flags are taken at their word.

    Parameters
    ----------
    codec : libav's name of the codec.
    packet : a packet that its container flags as a keyframe.
    extradata : the stream's codec configuration; tells how the packet is divided.
    """
    if codec == "h264":
        return _h264_random_access(packet, extradata)
    if codec == "hevc":
        return _hevc_random_access(packet, extradata)
    return True


def _h264_random_access(packet: memoryview, extradata: bytes | None) -> bool:
    exact = False
    for unit in _nal_units(packet, _length_size(extradata, 4)):
        kind = unit[0] & 31
        if kind in (H264_SLICE, H264_IDR):
            return exact or kind == H264_IDR
        if kind == H264_SEI:
            exact = exact or _recovers_at_once(bytes(unit[1:]).replace(b"\0\0\3", b"\0\0"))
    return False


def _hevc_random_access(packet: memoryview, extradata: bytes | None) -> bool:
    kinds = (unit[0] >> 1 & 63 for unit in _nal_units(packet, _length_size(extradata, 21)))
    return next((16 <= kind <= 23 for kind in kinds if kind < 32), False)


def _length_size(extradata: bytes | None, at: int) -> int:
    """Bytes of each unit's length in mp4-style packets; 0 where units follow start codes."""
    if extradata and len(extradata) > at and extradata[0] == 1:
        return (extradata[at] & 3) + 1
    return 0


def _nal_units(packet: memoryview, length_size: int) -> Iterator[memoryview]:
    """The packet's units, without the ones that hold no byte."""
    if length_size == 0:
        yield from _after_start_codes(packet)
        return
    at = 0
    while at + length_size < len(packet):
        size = int.from_bytes(packet[at : at + length_size], "big")
        if size:
            yield packet[at + length_size : at + length_size + size]
        at += length_size + size


def _after_start_codes(packet: memoryview) -> Iterator[memoryview]:
    data = bytes(packet)
    at = data.find(START_CODE)
    while at >= 0:
        end = data.find(START_CODE, at + 3)
        unit = packet[at + 3 : end if end >= 0 else len(data)]
        if len(unit):
            yield unit
        at = end


def _recovers_at_once(sei: bytes) -> bool:
    """Whether SEI messages hold a recovery point of zero frames (exp-Golomb 0 is a set first bit)."""
    at = 0
    while at + 2 < len(sei):
        kind, at = _sum_of_ff(sei, at)
        size, at = _sum_of_ff(sei, at)
        if kind == RECOVERY_POINT and at < len(sei):
            return bool(sei[at] & 0x80)
        at += size
    return False


def _sum_of_ff(sei: bytes, at: int) -> tuple[int, int]:
    total = 0
    while at < len(sei) and sei[at] == 0xFF:
        total, at = total + 255, at + 1
    return (total + sei[at], at + 1) if at < len(sei) else (total, at)
