"""An engine that dies is started again once, and then the run hears of it."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
from processes import engine_processes

from colcap.engines.base import Generation, Request, Sampling
from colcap.engines.vllm import VllmEngine
from colcap.errors import EngineError
from colcap.models.weights import ResolvedModel


def test_an_engine_that_is_killed_while_it_starts_and_one_that_is_closed_at_work(tiny: ResolvedModel) -> None:
    others = set(engine_processes())
    engine = VllmEngine(tiny, wait=False)
    while not (first := set(engine_processes()) - others):
        time.sleep(0.01)
    [process] = first
    process.send_signal(signal.SIGKILL)
    engine.wait()

    [answer] = engine.generate([Request("Describe.")], Sampling())

    assert answer.text
    assert not process.is_running()
    [told] = told_on_closing(engine)
    assert "closed" in told
    assert set(engine_processes()) <= others


def told_on_closing(engine: VllmEngine) -> list[str]:
    """What a caller hears who asks again and again while the engine is closed."""
    told: list[str] = []

    def ask() -> None:
        try:
            while True:
                engine.generate([Request("Describe.")] * 50, Sampling())
        except EngineError as error:
            told.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.5)
    engine.close()
    asking.join(10)
    assert not asking.is_alive()
    return told


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_model_len": 10**9}, r"max_model_len \(1000000000\) is greater than"),
        ({"no_such_option": 1}, "unexpected keyword argument 'no_such_option'"),
    ],
)
def test_an_engine_that_cannot_start_says_why_and_is_not_tried_again(
    tiny: ResolvedModel, caplog: pytest.LogCaptureFixture, wrong: dict[str, int], words: str
) -> None:
    before = set(engine_processes())

    with pytest.raises(EngineError, match=f"(?s)vLLM does not start: .*{words}"):
        VllmEngine(tiny, engine_kwargs=wrong)

    assert "started again" not in caplog.text
    assert set(engine_processes()) <= before


def test_who_asks_an_engine_before_it_turns_out_not_to_start_is_sent_home(tiny: ResolvedModel) -> None:
    """As callers of a dead engine do, who ask its successor while it starts."""
    engine = VllmEngine(tiny, engine_kwargs={"no_such_option": 1}, wait=False)

    answers = engine._front.ask([{"prompt_token_ids": [1]}], None)

    assert answers == [None]
    engine.close()


def test_requests_that_vllm_leaves_waiting_when_its_engine_dies_are_asked_again(
    tiny: ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen once in some hundred kills, as a run that stood still; here vLLM does not look whether its engine lives."""
    from vllm.v1.engine.core_client import MPClient

    monkeypatch.setattr(MPClient, "start_engine_core_monitor", lambda self: None)
    engine, answers = VllmEngine(tiny), list[Generation]()
    requests = [Request(f"Describe. {i}") for i in range(400)]
    asking = threading.Thread(target=lambda: answers.extend(engine.generate(requests, Sampling())), daemon=True)
    asking.start()
    time.sleep(0.5)
    host = engine._front._host
    assert host is not None

    os.kill(host.pid, signal.SIGKILL)
    asking.join(90)

    assert len(answers) == len(requests)
    assert [answer.error for answer in answers if answer.error] == []
    assert engine._restarts == 1
    engine.close()
