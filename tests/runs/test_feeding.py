"""A server is given small batches, several at once, for captions as for enhanced captions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from simulated import simulated_engine

import colcap
from colcap.engines.base import Generation, Request, Sampling
from colcap.engines.openai import OpenAIEngine


def test_batches_follow_what_the_server_answers_at_once(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: dict[bool, list[int]] = {True: [], False: []}
    together = threading.Barrier(2)  # a batch that waits for the one before it would wait for ever
    theirs = OpenAIEngine.generate

    def generate(engine: OpenAIEngine, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        sees = requests[0].video is not None
        sizes[sees].append(len(requests))
        if not sees:
            together.wait(20)
        return theirs(engine, requests, sampling)

    monkeypatch.setattr(OpenAIEngine, "generate", generate)
    with simulated_engine(slots=16, prefill_ms=20, token_ms=0) as engine:
        asked = engine.captioning(max_concurrent_requests=16)
        run = colcap.run(manifest, tmp_path / "out", captioning=asked, enhancement=asked, enhance_captions=True)

    assert run.enhanced.collect()["status"].to_list() == ["ok"] * 4
    assert sizes[False] == [2, 2]
    assert sum(sizes[True]) == 4
    assert max(sizes[True]) <= 2
