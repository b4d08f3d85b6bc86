"""Files that pretend to be clips: nothing but their own bytes is read."""

from __future__ import annotations

import random
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import clips
import making
import pytest
from bait import PLAYLISTS, Bait, laid_out

from colcap.errors import RowError
from colcap.media import Limits, PreviewSpec, SampleSpec, Wanted, process_clip, process_window

WANTED = Wanted(window_size=32, remainder_threshold=16, preview=PreviewSpec(target_height=60), sample=SampleSpec())


@pytest.fixture
def bait(tmp_path: Path) -> Iterator[Bait]:
    with laid_out(tmp_path, clips.clip("h264 ts")) as found:
        yield found


def copied(data: bytes) -> object:
    return process_clip(data, WANTED)


def encoded(data: bytes) -> object:
    return process_clip(data, replace(WANTED, cut="encode"))


def stored(data: bytes) -> object:
    return process_window(data, WANTED, fps=25.0, duration_s=3.6)


DOORS = (copied, encoded, stored)
"""All that opens a clip."""


def test_bait_that_is_taken_is_seen(bait: Bait) -> None:
    assert bait.untouched()
    bait.file.read_bytes()
    assert not bait.untouched()
    urllib.request.urlopen(bait.address).close()
    assert not bait.untouched()
    assert bait.untouched()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("kind", list(PLAYLISTS))
def test_playlists_reach_neither_files_nor_network(kind: str, door: Callable[[bytes], object], bait: Bait) -> None:
    for target in bait.targets():
        with pytest.raises(RowError) as raised:
            door(PLAYLISTS[kind].format(target).encode())

        assert raised.value.kind in ("unreadable", "unsupported")
    assert bait.untouched()


@pytest.mark.parametrize("door", DOORS)
def test_a_movie_that_refers_to_another_file_does_not_read_it(door: Callable[[bytes], object], bait: Bait) -> None:
    data = clips.clip("h264 gop 12")
    reference = data.index(b"url \0\0\0\1")  # "in this file", to be: "in the file at this address"
    path = bait.file.as_uri().encode() + b"\0"
    outside = data[: reference + 4] + bytes(4) + path + data[reference + 8 :]
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        outside = grown(outside, outside.rindex(name, 0, reference), len(path))
    outside = grown(outside, reference, len(path))
    payload = outside.index(b"mdat") + 4
    outside = outside[:payload] + bytes(outside.index(b"moov") - 4 - payload) + outside[outside.index(b"moov") - 4 :]

    with pytest.raises(RowError) as raised:
        door(outside)

    assert raised.value.kind == "corrupt"
    assert bait.untouched()


def grown(data: bytes, name_at: int, by: int) -> bytes:
    """A file in which the box whose name is at an offset is some bytes longer."""
    size = int.from_bytes(data[name_at - 4 : name_at], "big") + by
    return data[: name_at - 4] + size.to_bytes(4, "big") + data[name_at:]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "unreadable"),
        (b"hello", "unreadable"),
        (bytes(5000), "unreadable"),
        (b"\0\0\0\x18ftypmp42" + bytes(200), "unreadable"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "unreadable"),
        (b"GIF89a" + bytes(100), "unreadable"),
    ],
)
def test_what_is_no_clip_is_unreadable(data: bytes, kind: str) -> None:
    with pytest.raises(RowError) as raised:
        process_clip(data, WANTED)

    assert raised.value.kind in (kind, "unsupported")


@pytest.mark.parametrize(
    "name", ["h264 gop 12", "h264 mkv", "h264 ts", "mpeg4 avi", "vp8 webm", "h264 flv", "mpeg2 mpg"]
)
@pytest.mark.parametrize("seed", range(4))
def test_noise_in_a_clip_gives_rows_or_an_error(name: str, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(clips.clip(name))
    for _ in range(rng.choice([3, 30, 300])):
        data[rng.randrange(len(data))] = rng.randrange(256)
    try:
        made = process_clip(bytes(data), WANTED)
    except RowError:
        return
    for window in made.windows:
        assert (window.mp4 is None) == (window.error is not None)
        assert window.preview is not None
        assert window.sample is not None


@pytest.mark.parametrize("data", [b"", b"junk", clips.PLAYLIST])
def test_stored_windows_are_not_trusted_either(data: bytes) -> None:
    with pytest.raises(RowError):
        process_window(data, WANTED, fps=25.0, duration_s=1.0)


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (Limits(max_bytes=1000), "max_bytes"),
        (Limits(max_pixels=160 * 112 - 1), "max_pixels"),
        (Limits(max_duration_s=3.5), "max_duration_s"),
        (Limits(max_packets=89), "max_packets"),
    ],
)
@pytest.mark.parametrize("name", ["h264 gop 12", "h264 ts", "vp8 webm"])
def test_a_clip_over_a_limit_is_too_large(name: str, limits: Limits, word: str) -> None:
    with pytest.raises(RowError, match=word) as raised:
        process_clip(clips.clip(name), WANTED, limits)

    assert raised.value.kind == "too_large"


def test_too_many_streams_are_too_large() -> None:
    with pytest.raises(RowError) as raised:
        process_clip(clips.clip("h264 audio"), WANTED, Limits(max_streams=1))

    assert raised.value.kind == "too_large"


def test_a_frame_that_grows_over_the_limit_stops_the_clip() -> None:
    small, large = (
        making.make(making.Made(container="mpegts")),
        making.make(making.Made(container="mpegts", width=640, height=480)),
    )
    with pytest.raises(RowError, match="max_pixels") as raised:
        process_clip(small + large, WANTED, Limits(max_pixels=200 * 200))

    assert raised.value.kind == "too_large"


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_pixels"):
        Limits(max_pixels=0)


def test_a_decoder_that_is_not_listed_is_not_run() -> None:
    data = making.make(making.Made("zmbv", "avi", pix_fmt="bgr0"))
    with pytest.raises(RowError, match="zmbv") as raised:
        process_clip(data, WANTED)

    assert raised.value.kind == "unsupported"
