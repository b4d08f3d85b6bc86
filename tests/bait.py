"""A file and a web server that hostile clips point to, and what was taken of them."""

from __future__ import annotations

import ctypes
import http.server
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

IN_ACCESS, IN_OPEN = 0x1, 0x20
"""Of inotify(7)."""


@dataclass(frozen=True, slots=True)
class Bait:
    """What nobody may touch."""

    file: Path
    """A clip on disk."""
    address: str
    """The same clip on a loopback server."""
    asked: list[str]
    """Paths the server was asked for."""
    events: int
    """An inotify descriptor that sees every open of the file, by any process."""

    def targets(self) -> list[str]:
        """Ways to write where it is."""
        return [self.address, str(self.file), self.file.as_uri(), f"concat:{self.file}", f"crypto:{self.file}"]

    def untouched(self) -> bool:
        """Neither was opened since the last call."""
        try:
            opened = bool(os.read(self.events, 4096))
        except BlockingIOError:
            opened = False
        asked, self.asked[:] = bool(self.asked), []
        return not opened and not asked


@contextmanager
def laid_out(folder: Path, content: bytes) -> Iterator[Bait]:
    """Put a secret clip into a folder and on a server for as long as the context lasts."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    secret = folder / "secret.mp4"
    secret.write_bytes(content)
    libc = ctypes.CDLL(None)
    events = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(events, os.fsencode(secret), IN_ACCESS | IN_OPEN) >= 0
    try:
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield Bait(secret, f"http://127.0.0.1:{server.server_port}/clip.ts", asked, events)
            server.shutdown()
    finally:
        os.close(events)


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
"""Text that names another file, for each place it can name."""
