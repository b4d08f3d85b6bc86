"""A server with OpenAI's API that answers on time and computes nothing, and that knows how busy it was.

    python benchmarks/simulated_engine.py --port 0 --slots 16 --prefill-ms 200 --token-ms 10 --mean-tokens 60

prints its URL on a line of its own, for `--engine openai --api-base URL`. It works on `--slots` requests at once;
each takes the prefill and then its tokens, whose number is drawn from a long-tailed (log-normal) distribution by the
request's content, so that a repeated run meets the same lengths. Further requests wait their turn. `GET /stats`
tells what it did, `POST /reset` forgets it, and `--fail-every N` answers every Nth request with HTTP 500.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

MAX_BODY = 1 << 30


@dataclass(frozen=True, slots=True)
class Speed:
    """How fast the engine that is simulated would be."""

    slots: int
    """Requests worked on at once."""
    prefill_s: float
    """Before the first token, in seconds."""
    token_s: float
    """For each token, in seconds."""
    mean_tokens: float
    """Of an answer."""
    spread: float
    """Standard deviation of the logarithm of an answer's length: at 0.8, one in a hundred is 4.6 times the mean."""
    max_tokens: int
    """Longest answer."""

    def num_tokens(self, seed: int) -> int:
        """Length of an answer, the same for the same seed."""
        centre = math.log(self.mean_tokens) - self.spread**2 / 2
        return min(self.max_tokens, max(1, round(random.Random(seed).lognormvariate(centre, self.spread))))


@dataclass(slots=True)
class Usage:
    """When how many slots were busy, since the last reset; times in seconds of `time.monotonic`."""

    first_arrival: float | None = None
    first_full: float | None = None
    """When all slots were busy for the first time: the end of the start-up."""
    last_start: float | None = None
    """When the last request so far got its slot: after it nothing waited, so what follows is the drain."""
    last_end: float | None = None
    arrivals: int = 0
    done: int = 0
    busy: int = 0
    busy_s: float = 0.0
    """Slot-seconds in use."""
    busy_s_full: float = 0.0
    """The same up to `first_full`."""
    busy_s_start: float = 0.0
    """The same up to `last_start`."""
    _since: float = field(default_factory=time.monotonic)

    def turn(self, change: int, slots: int) -> None:
        """Take or free a slot."""
        now = time.monotonic()
        self.busy_s += self.busy * (now - self._since)
        self.busy, self._since = self.busy + change, now
        if change > 0:
            self.last_start, self.busy_s_start = now, self.busy_s
            if self.busy == slots and self.first_full is None:
                self.first_full, self.busy_s_full = now, self.busy_s
        else:
            self.last_end = now

    def idle_share(self, slots: int) -> float | None:
        """Share of slot-time unused between the end of the start-up and the last request's start."""
        if self.first_full is None or self.last_start is None or self.last_start <= self.first_full:
            return None
        used = self.busy_s_start - self.busy_s_full
        return 1 - used / (slots * (self.last_start - self.first_full))


class SimulatedEngine:
    """The server's routes."""

    def __init__(self, speed: Speed, *, fail_every: int = 0) -> None:
        self.speed, self.fail_every = speed, fail_every
        self.usage = Usage()
        self._slots = asyncio.Semaphore(speed.slots)

    def app(self) -> web.Application:
        """An aiohttp application."""
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes(
            [
                web.get("/v1/models", self.models),
                web.post("/v1/chat/completions", self.complete),
                web.get("/stats", self.stats),
                web.post("/reset", self.reset),
            ]
        )
        return app

    async def models(self, request: web.Request) -> web.Response:
        """One model, of no particular make."""
        return web.json_response({"object": "list", "data": [{"id": "simulated", "object": "model", "created": 0}]})

    async def complete(self, request: web.Request) -> web.Response:
        """Wait for a slot, hold it as long as an engine would, answer."""
        usage = self.usage
        body = await request.read()  # not parsed: frames in base64 are most of it
        usage.arrivals += 1
        usage.first_arrival = usage.first_arrival or time.monotonic()
        if self.fail_every and usage.arrivals % self.fail_every == 0:
            return web.json_response({"error": {"message": "on purpose", "type": "simulated"}}, status=500)
        tokens = self.speed.num_tokens(zlib.crc32(body))
        async with self._slots:
            usage.turn(1, self.speed.slots)
            try:
                await asyncio.sleep(self.speed.prefill_s + tokens * self.speed.token_s)
            finally:
                usage.turn(-1, self.speed.slots)
        usage.done += 1
        return web.json_response(_completion(tokens))

    async def stats(self, request: web.Request) -> web.Response:
        """What it did since the last reset."""
        u, slots = self.usage, self.speed.slots
        known = {name: getattr(u, name) for name in ("first_arrival", "first_full", "last_start", "last_end")}
        counts = {"arrivals": u.arrivals, "done": u.done, "busy": u.busy, "busy_s": u.busy_s, "slots": slots}
        return web.json_response({**known, **counts, "idle_share": u.idle_share(slots)})

    async def reset(self, request: web.Request) -> web.Response:
        """Forget what was; only while nothing is under way."""
        if self.usage.busy:
            return web.json_response({"error": f"{self.usage.busy} requests are under way"}, status=409)
        self.usage = Usage()
        return web.json_response({})


def _completion(tokens: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": " ".join(["word"] * min(tokens, 50))}
    return {
        "id": "simulated",
        "object": "chat.completion",
        "created": 0,
        "model": "simulated",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1},
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--port", type=int, default=0, help="0 takes a free one")
    made.add_argument("--slots", type=int, default=16)
    made.add_argument("--prefill-ms", type=float, default=200.0)
    made.add_argument("--token-ms", type=float, default=10.0)
    made.add_argument("--mean-tokens", type=float, default=60.0)
    made.add_argument("--spread", type=float, default=0.8)
    made.add_argument("--max-tokens", type=int, default=512)
    made.add_argument("--fail-every", type=int, default=0, help="every Nth request is answered with HTTP 500")
    return made


async def serve(args: argparse.Namespace) -> None:
    """Serve until stopped."""
    speed = Speed(
        args.slots, args.prefill_ms / 1000, args.token_ms / 1000, args.mean_tokens, args.spread, args.max_tokens
    )
    runner = web.AppRunner(SimulatedEngine(speed, fail_every=args.fail_every).app(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", args.port)
    await site.start()
    port = runner.addresses[0][1]
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    print(json.dumps(vars(args)), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(parser().parse_args()))
