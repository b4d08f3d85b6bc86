"""Files that pretend to be clips: nothing but their own bytes is read."""

from __future__ import annotations

import http.server
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import clips
import pytest

from colcap.errors import RowError
from colcap.media import Limits, PreviewSpec, SampleSpec, Wanted, process_clip, process_window

WANTED = Wanted(window_size=32, remainder_threshold=16, preview=PreviewSpec(target_height=60), sample=SampleSpec())


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A loopback HTTP server that serves a clip and writes down what it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(clips.clip("h264 ts"))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}/clip.ts", asked
        found.shutdown()


PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile '{}'\n",
    "m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n#EXTINF:4.0,\n{}\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1" mimeType="video/mp4"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\na=control:{}\n",
    "rtsp redirect": "RTSPtextRTSP://{}\n",
    "asx": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
    "subtitles": "1\n00:00:00,000 --> 00:00:09,000\n{}\n",
}


@pytest.mark.parametrize("kind", list(PLAYLISTS))
def test_playlists_reach_neither_files_nor_network(kind: str, server: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = server
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(clips.clip("h264 gop 12"))
    for target in (address, str(secret), secret.as_uri(), f"concat:{secret}", f"crypto:{secret}"):
        with pytest.raises(RowError) as raised:
            process_clip(PLAYLISTS[kind].format(target).encode(), WANTED)

        assert raised.value.kind in ("unreadable", "unsupported")
    assert asked == []


def test_a_movie_that_refers_to_another_file_does_not_read_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(clips.clip("h264 gop 12"))
    data = clips.clip("h264 gop 12")
    reference = data.index(b"url \0\0\0\1")  # "in this file", to be: "in the file at this address"
    path = secret.as_uri().encode() + b"\0"
    outside = data[: reference + 4] + bytes(4) + path + data[reference + 8 :]
    for name in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        outside = grown(outside, outside.rindex(name, 0, reference), len(path))
    outside = grown(outside, reference, len(path))
    payload = outside.index(b"mdat") + 4
    outside = outside[:payload] + bytes(outside.index(b"moov") - 4 - payload) + outside[outside.index(b"moov") - 4 :]

    with pytest.raises(RowError) as raised:
        process_clip(outside, WANTED)

    assert raised.value.kind == "corrupt"


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
        clips.make(clips.Made(container="mpegts")),
        clips.make(clips.Made(container="mpegts", width=640, height=480)),
    )
    with pytest.raises(RowError, match="max_pixels") as raised:
        process_clip(small + large, WANTED, Limits(max_pixels=200 * 200))

    assert raised.value.kind == "too_large"


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match="max_pixels"):
        Limits(max_pixels=0)


def test_a_decoder_that_is_not_listed_is_not_run() -> None:
    data = clips.make(clips.Made("zmbv", "avi", pix_fmt="bgr0"))
    with pytest.raises(RowError, match="zmbv") as raised:
        process_clip(data, WANTED)

    assert raised.value.kind == "unsupported"
