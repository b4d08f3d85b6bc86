"""Clips damaged by seed: cut short, bits flipped, a run overwritten, sizes that lie, pieces in another order."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

import clips

FORMATS = {
    "h264 gop 12": "mp4",
    "h264 fragmented": "mp4",
    "h264 audio": "mp4",
    "h264 interlaced": "mp4",
    "hevc open gop": "mp4",
    "av1 mp4": "mp4",
    "prores mov": "mp4",
    "h264 mkv": "ebml",
    "vp9 webm": "ebml",
    "vp8 webm": "ebml",
    "h264 ts": "ts",
    "mpeg2 ts": "ts",
    "mpeg2 mpg": "mpg",
    "mpeg4 avi": "riff",
    "mjpeg avi": "riff",
    "h264 flv": "flv",
    "wmv2 asf": "asf",
}
"""Clips of `clips.py`, and how their containers write sizes."""

SIZES = {
    "mp4": (rb"(?=([a-z][a-z0-9]{3}))", -4, 4, "big"),
    "ebml": (
        rb"(?=\x1f\x43\xb6\x75|\x16\x54\xae\x6b|\x18\x53\x80\x67|\x1c\x53\xbb\x6b|[\xa0\xa3][\x80-\xff])",
        1,
        4,
        "big",
    ),
    "ts": (rb"(?=\x47[\x00-\x5f][\x00-\xff][\x10-\x3f])", 3, 2, "big"),
    "mpg": (rb"(?=\x00\x00\x01[\xba-\xe0])", 4, 2, "big"),
    "riff": (rb"(?=[A-Za-z0-9]{2}(dc|wb|ft|DX|ST|x1|rl|rh|rf|rd|dx|vi))", 4, 4, "little"),
    "flv": (rb"(?=[\x08\x09\x12]\x00)", 1, 3, "big"),
    "asf": (rb"(?=[\x82\x88]..\x5d[\x00-\xff]{2}|\x8e\x26\xb2\x75|\xdc\xb7\xb7\xa9|\x91\xdc\xb7\xb7)", 16, 8, "little"),
}
"""By container: what stands near a size field, the field's offset from there, its bytes, their order."""


def truncated(data: bytearray, rng: random.Random, _: str) -> None:
    """Lose the end, or rarely the start."""
    at = rng.randrange(len(data))
    if rng.random() < 0.9:
        del data[at:]
    else:
        del data[: max(1, at // 8)]


def flipped(data: bytearray, rng: random.Random, _: str) -> None:
    """Flip single bits, everywhere or near the start, where headers are."""
    within = rng.choice([len(data), len(data), min(len(data), 2000)])
    for _flip in range(rng.choice([1, 3, 10, 100, 1000])):
        data[rng.randrange(within)] ^= 1 << rng.randrange(8)


def overwritten(data: bytearray, rng: random.Random, _: str) -> None:
    """Fill a run with zeros, ones or noise."""
    start, size = rng.randrange(len(data)), rng.choice([4, 64, 1000, len(data) // 4])
    stop = min(len(data), start + size)
    data[start:stop] = rng.choice([bytes(stop - start), b"\xff" * (stop - start), rng.randbytes(stop - start)])


def lying(data: bytearray, rng: random.Random, sizes: str) -> None:
    """Write a false size, or several, where the container keeps one."""
    pattern, offset, width, order = SIZES[sizes]
    places = [found.start() + offset for found in re.finditer(pattern, bytes(data), re.DOTALL)]
    most = (1 << 8 * width) - 1
    for at in rng.sample(places, min(len(places), rng.choice([1, 1, 2, 5]))):
        if not 0 <= at <= len(data) - width:
            continue
        true = int.from_bytes(data[at : at + width], order)
        lie = rng.choice([0, 1, 7, true - 1, true + 1, 2 * true, most, most // 2, rng.randrange(most)])
        data[at : at + width] = (lie & most).to_bytes(width, order)


def reordered(data: bytearray, rng: random.Random, _: str) -> None:
    """Exchange, repeat or drop a piece."""
    a, b, c = sorted(rng.randrange(len(data)) for _ in range(3))
    pieces = [data[:a], data[a:b], data[b:c], data[c:]]
    order = rng.choice([(0, 2, 1, 3), (0, 1, 1, 2, 3), (0, 2, 3)])
    data[:] = b"".join(pieces[i] for i in order)


DAMAGES: dict[str, Callable[[bytearray, random.Random, str], None]] = {
    "truncated": truncated,
    "bits flipped": flipped,
    "overwritten": overwritten,
    "sizes that lie": lying,
    "reordered": reordered,
}


def inputs(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """(format, damage, file) of each input, the same ones for the same seed."""
    kinds = [(name, damage) for name in FORMATS for damage in DAMAGES]
    for index in range(count):
        name, damage = kinds[index % len(kinds)]
        data = bytearray(clips.clip(name))
        DAMAGES[damage](data, random.Random(f"{seed} {index}"), FORMATS[name])
        yield name, damage, bytes(data)
