"""Weights come from a hub (a real server) once per machine, whole, and go on where a download broke off."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from colcap.models.weights import resolve

TINY = resolve("tiny", model_dir=Path("models"))
COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = "model.safetensors"

RESOLVE = """
import sys
from pathlib import Path
from colcap.errors import WeightsError
from colcap.models.weights import resolve
try:
    print(resolve("me/vl", model_dir=Path(sys.argv[1])).revision)
except WeightsError as error:
    sys.exit(str(error))
"""


def safetensors(num_bytes: int) -> bytes:
    """A file of one tensor: large enough for the client to go on in the middle of it, which it does by 10 MB."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [num_bytes], "data_offsets": [0, num_bytes]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(num_bytes)


FILES = {file.name: file.read_bytes() for file in TINY.path.iterdir()} | {WEIGHTS: safetensors(16 << 20)}


class Hub(BaseHTTPRequestHandler):
    """The embedded model under the name me/vl, with other weights."""

    cuts: ClassVar[int] = 0
    """So many answers about the weights break off after 12 MB."""
    missing: ClassVar[bool] = False
    """There are no weights."""
    asked: ClassVar[list[str]] = []
    """Files asked for, and from where."""

    def do_HEAD(self) -> None:
        self._answer(FILES.get(self._name, b""))

    def do_GET(self) -> None:
        if "/tree/" in self.path:
            files = [{"type": "file", "path": name, "size": len(data), "oid": COMMIT} for name, data in FILES.items()]
            self._answer(json.dumps(files).encode())
        elif self.path.startswith("/api/"):
            self._answer(json.dumps({"id": "me/vl", "sha": COMMIT, "siblings": []}).encode())
        else:
            self._answer(FILES[self._name])

    @property
    def _name(self) -> str:
        return self.path.rpartition("/")[2]

    def _answer(self, body: bytes) -> None:
        if self.missing and self._name == WEIGHTS:
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            if self._name in FILES:
                self.asked.append(f"{self._name} from {start}")
            self.wfile.write(body[start : 12 << 20] if self._breaks_off() else body[start:])

    def _breaks_off(self) -> bool:
        broken = self._name == WEIGHTS and type(self).cuts > 0
        type(self).cuts -= broken
        self.close_connection = broken
        return broken

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.cuts, Hub.missing, Hub.asked = 0, False, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def start(folder: Path, endpoint: str) -> subprocess.Popen[str]:
    env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "home"), "HF_HUB_DISABLE_XET": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", RESOLVE, str(folder / "models")],
        env={name: value for name, value in env.items() if name != "HF_HUB_OFFLINE"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_two_processes_download_once(tmp_path: Path, hub: str) -> None:
    both = [start(tmp_path, hub) for _ in range(2)]

    said = [process.communicate(timeout=120) for process in both]

    assert [out.strip() for out, _ in said] == [COMMIT] * 2, said
    assert Hub.asked.count(f"{WEIGHTS} from 0") == 1
    assert (tmp_path / "models/me/vl" / WEIGHTS).read_bytes() == FILES[WEIGHTS]


def test_a_connection_that_breaks_is_taken_up_where_it_was(tmp_path: Path, hub: str) -> None:
    Hub.cuts = 1

    out, err = start(tmp_path, hub).communicate(timeout=120)

    assert out.strip() == COMMIT, err
    assert [asked for asked in Hub.asked if WEIGHTS in asked] == [f"{WEIGHTS} from 0", f"{WEIGHTS} from {10 << 20}"]
    assert (tmp_path / "models/me/vl" / WEIGHTS).read_bytes() == FILES[WEIGHTS]


def test_a_later_try_keeps_the_files_that_are_whole(tmp_path: Path, hub: str) -> None:
    Hub.missing = True
    out, err = start(tmp_path, hub).communicate(timeout=120)
    assert out == ""
    assert "no weights for me/vl" in err

    Hub.missing = False
    out, err = start(tmp_path, hub).communicate(timeout=120)

    assert out.strip() == COMMIT, err
    assert sorted(Hub.asked) == sorted(f"{name} from 0" for name in FILES)
    assert (tmp_path / "models/me/vl" / WEIGHTS).read_bytes() == FILES[WEIGHTS]


def test_without_a_network_the_message_says_what_to_do(tmp_path: Path) -> None:
    out, err = start(tmp_path, "http://127.0.0.1:9").communicate(timeout=120)

    assert out == ""
    for words in ("no weights for me/vl", "could not be downloaded", "hf download me/vl --local-dir", "GB free there"):
        assert words in err
    assert "Traceback" not in err
