"""An engine that asks the misbehaving server, with a key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from misbehaving import Misbehaving

from colcap.engines import openai
from colcap.engines.base import Generation, Request, Sampling
from colcap.server import Server

KEY = "sk-very-secret-key"
"""What the fixture `quick` puts into `TEST_KEY`."""


@contextmanager
def engine_of(seen: Misbehaving, **options: Any) -> Iterator[openai.OpenAIEngine]:
    server = Server(api_base=seen.url, api_key_env="TEST_KEY", **{"max_retries": 3, **options})
    engine = openai.OpenAIEngine("m", server)
    yield engine
    engine.close()


def ask(seen: Misbehaving, count: int = 1, **options: Any) -> list[Generation]:
    with engine_of(seen, **options) as engine:
        return engine.generate([Request("Describe.")] * count, Sampling())
