"""A small server of OpenAI's API that misbehaves on purpose, as a list of answers says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, TypeAlias

Behaviour: TypeAlias = Callable[[BaseHTTPRequestHandler], None]


def answer(text: str | None = "A car.", **choice: Any) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", **choice}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


def says(content: Any, status: int = 200, **headers: str) -> Behaviour:
    """Answers with JSON."""
    return sends(json.dumps(content).encode(), status, **headers)


def sends(data: bytes, status: int = 200, *, length: int | None = None, **headers: str) -> Behaviour:
    """Answers with bytes; `length` is what it claims they are."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data) if length is None else length))
        handler.end_headers()
        handler.wfile.write(data)
        handler.close_connection = length is not None

    return behave


def refuses(status: int, message: str, code: str | None = None, **headers: str) -> Behaviour:
    """Answers with an error in OpenAI's form."""
    return says({"error": {"message": message, "type": "x", "code": code}}, status, **headers)


def closes(handler: BaseHTTPRequestHandler) -> None:
    """Closes the socket without a word."""
    handler.close_connection = True


def first(*behaviours: Behaviour) -> Behaviour:
    """Behaves like each in turn, from then on like the last."""
    left = list(behaviours)

    def behave(handler: BaseHTTPRequestHandler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return behave


def waits(seconds: float, then: Behaviour) -> Behaviour:
    """Takes its time."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        then(handler)

    return behave


def drips(handler: BaseHTTPRequestHandler) -> None:
    """Sends a byte now and then, so that no read ever times out."""
    sends(b"", length=1000)(handler)
    for _ in range(100):
        time.sleep(0.05)
        handler.wfile.write(b" ")
        handler.wfile.flush()


@dataclass(slots=True)
class Misbehaving:
    """What was asked of it, and when."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    gone: bool = False


@contextmanager
def server(*behaviours: Behaviour, models: Behaviour | None = None) -> Iterator[Misbehaving]:
    """Serves on loopback; the nth request meets the nth behaviour, later ones the last."""
    seen, lock = Misbehaving(""), Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            (models or says({"object": "list", "data": []}))(self)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(seen.bodies)
                seen.bodies.append(body)
                seen.headers.append({name.lower(): value for name, value in self.headers.items()})
                seen.times.append(time.monotonic())
            (closes if seen.gone else _behave(behaviours, number))(self)

        def log_message(self, *args: Any) -> None: ...

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args: Any) -> None:
            """The client has left."""

    with Quiet(("127.0.0.1", 0), Handler) as serving:
        seen.url = f"http://127.0.0.1:{serving.server_port}/v1"
        Thread(target=serving.serve_forever, daemon=True).start()
        try:
            yield seen
        finally:
            seen.gone = True  # connections that are kept open outlive the server
            serving.shutdown()


def _behave(behaviours: Sequence[Behaviour], number: int) -> Behaviour:
    return behaviours[min(number, len(behaviours) - 1)]
