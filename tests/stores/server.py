"""An S3 server (moto's) that can be told to fail: 500s, cut and slow answers, by seed. A process of its own.

`python tests/stores/server.py` prints its URL. `POST /-faults?seed=3&rate=0.1&slow_s=0.02` sets what goes wrong from
now on, `GET /-faults` says what has gone wrong. A request fails before it is done, or is done and its answer is lost.
With `broken=clips/a.mp4` all requests of that object fail, with `copies=0` the store copies nothing, and with
`trickle_s=0.3` answers come in eight pieces with pauses.
"""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

CONTROL = "/-faults"
KINDS = ("500 before", "500 after", "503 before", "cut after", "cut within")


class Faulty:
    """A WSGI application around another, which loses requests and answers."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.app = app
        self.lock = threading.Lock()
        self.seen: Counter[str] = Counter()
        self.set({})

    def set(self, options: dict[str, str]) -> None:
        """What goes wrong from now on; nothing by default."""
        self.rate, self.slow_s = float(options.get("rate", 0)), float(options.get("slow_s", 0))
        self.dice = random.Random(int(options.get("seed", 0)))
        self.broken, self.copies = options.get("broken"), bool(int(options.get("copies", 1)))
        self.trickle_s = float(options.get("trickle_s", 0))
        self.kinds = [kind for kind in KINDS if kind.startswith(options.get("only", ""))]
        self.seen.clear()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == CONTROL:
            return self._control(environ, start)
        with self.lock:
            kind = self.dice.choice(self.kinds) if self.dice.random() < self.rate else "fine"
            wait = self.dice.uniform(0, self.slow_s)
            self.seen[kind] += 1
            self.seen[f"{environ['REQUEST_METHOD']} requests"] += 1
            self.seen[f"key {_key(environ)}"] += 1
        time.sleep(wait)
        if kind.endswith("before"):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return _said(start, f"{kind[:3]} Failed")
        if self.broken and environ["PATH_INFO"].endswith(self.broken):
            return _said(start, "500 Failed")
        if not self.copies and "HTTP_X_AMZ_COPY_SOURCE" in environ:
            return _said(start, "400 Bad Request")
        if kind == "fine":
            answer = self.app(environ, start)
            return _trickled(b"".join(answer), self.trickle_s) if self.trickle_s else answer
        return self._lost(kind, environ, start)

    def _lost(self, kind: str, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Do it, and then spoil the answer."""
        told: list[Any] = []
        body = b"".join(self.app(environ, lambda *said: told.append(said)))
        if kind == "500 after" or not body:  # an answer without a body cannot be cut
            return _said(start, "500 Failed")
        status, headers = told[0][:2]
        start(
            status,
            [(k, v) for k, v in headers if k.lower() != "content-length"] + [("Content-Length", str(len(body)))],
        )
        return _cut(body[:-1] if kind == "cut after" else body[: len(body) // 2])

    def _control(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self.lock:
            if environ["REQUEST_METHOD"] == "POST":
                self.set(dict(parse_qsl(environ["QUERY_STRING"])))
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self.seen).encode()]


def _key(environ: dict[str, Any]) -> str:
    """Whose key a request is signed with."""
    return str(environ.get("HTTP_AUTHORIZATION", "")).partition("Credential=")[2].partition("/")[0]


def _said(start: Callable[..., Any], status: str) -> list[bytes]:
    start(status, [("Content-Type", "text/plain")])
    return [b"injected"]


def _trickled(body: bytes, pause_s: float) -> Iterator[bytes]:
    size = -(-len(body) // 8) or 1
    for start in range(0, len(body), size):
        time.sleep(pause_s)
        yield body[start : start + size]


def _cut(body: bytes) -> Iterator[bytes]:
    """Less than was announced: the server then closes the connection."""
    yield body


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        """Nothing: the tests count."""


def main() -> None:
    """Serve until killed."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = Faulty(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
