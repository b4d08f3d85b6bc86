"""A server that misbehaves: the right rows, the right retries, no hang."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from pathlib import Path
from typing import Any

import misbehaving as server_that
import numpy as np
import pytest
from asking import KEY, ask, engine_of
from misbehaving import answer, closes, drips, refuses, says, sends, waits
from simulated import simulated_engine

import colcap
from colcap.config import parse
from colcap.engines import bounded, openai
from colcap.engines.base import Request, Sampling, Video
from colcap.errors import ConfigError, EngineError
from colcap.runners.engine import check_engine
from colcap.server import Server

pytestmark = pytest.mark.usefixtures("quick")
GOOD = says(answer())


@pytest.mark.parametrize(
    "bad",
    [
        refuses(429, "slow down"),
        refuses(500, "oops"),
        refuses(503, "overloaded"),
        closes,
        sends(b'{"choices": [{"mess', length=500),
        sends(b"<html>gateway</html>"),
        sends(b"[1, 2"),
        says({"choices": []}),
        says({"choices": [{"index": 0, "finish_reason": "stop", "message": None}]}),
        says(answer(finish_reason=None)),
    ],
    ids=["429", "500", "503", "closes", "half", "html", "half json", "no choices", "no message", "unfinished"],
)
def test_what_may_get_better_is_tried_again(bad: server_that.Behaviour) -> None:
    with server_that.server(bad, bad, GOOD) as seen:
        [result] = ask(seen)

    assert (result.text, result.error, result.prompt_tokens, result.output_tokens) == ("A car.", None, 7, 3)
    assert len(seen.bodies) == 3


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (refuses(500, "out of memory"), "HTTP 500: out of memory"),
        (refuses(429, "slow down"), "HTTP 429: slow down"),
        (closes, "no answer"),
        (sends(b"[1, 2"), "makes no sense"),
        (says({"choices": []}), "no choices"),
    ],
)
def test_what_does_not_get_better_is_a_row(bad: server_that.Behaviour, told: str) -> None:
    with server_that.server(bad, bad, bad, bad, GOOD) as seen, engine_of(seen) as engine:
        [result] = engine.generate([Request("Describe.")], Sampling())
        [after] = engine.generate([Request("Describe.")], Sampling())

    assert result.error is not None
    assert result.error.kind == "engine_failed"
    assert told in result.error.text
    assert len(seen.bodies) == 5
    assert after.text == "A car."


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (refuses(400, "no such parameter"), "rejected"),
        (refuses(413, "too large"), "rejected"),
        (refuses(422, "what?"), "rejected"),
        (refuses(400, "too long", "context_length_exceeded"), "over_context"),
        (refuses(400, "This model's maximum context length is 8192 tokens."), "over_context"),
        (says(answer(finish_reason="content_filter")), "rejected"),
        (says(answer("")), "invalid_output"),
        (says(answer(None)), "invalid_output"),
    ],
)
def test_a_requests_own_fault_is_one_row_and_is_not_repeated(bad: server_that.Behaviour, kind: str) -> None:
    with server_that.server(bad, GOOD) as seen, engine_of(seen, max_concurrent_requests=1) as engine:
        result = engine.generate([Request("Describe.")] * 2, Sampling())

    assert [answer.error.kind if answer.error else None for answer in result] == [kind, None]
    assert len(seen.bodies) == 2


def test_the_server_says_how_long_to_wait() -> None:
    with server_that.server(refuses(429, "slow down", Retry_After="0.4"), GOOD) as seen:
        [result] = ask(seen)

    assert result.text == "A car."
    assert seen.times[1] - seen.times[0] >= 0.4


@pytest.mark.parametrize("after", ["Fri, 31 Dec 2100 23:59:59 GMT", "-1", "nan", "inf", "soon"])
def test_a_wait_that_is_no_number_of_seconds_is_our_own(after: str) -> None:
    with server_that.server(refuses(503, "slow down", Retry_After=after), GOOD) as seen:
        [result] = ask(seen)

    assert result.text == "A car."
    assert seen.times[1] - seen.times[0] < 2


def test_waits_grow() -> None:
    with server_that.server(refuses(500, "oops")) as seen:
        ask(seen)

    waits_ = [after - before for before, after in zip(seen.times, seen.times[1:], strict=False)]
    assert len(waits_) == 3
    assert all(wait >= 0.75 * 0.02 * 2**i for i, wait in enumerate(waits_))


@pytest.mark.parametrize("slow", [waits(5, GOOD), drips], ids=["silent", "a byte at a time"])
def test_a_server_that_is_too_slow_costs_a_row_and_its_time(slow: server_that.Behaviour) -> None:
    start = time.monotonic()
    with server_that.server(slow, GOOD) as seen, engine_of(seen, request_timeout_s=0.5) as engine:
        [result] = engine.generate([Request("Describe.")], Sampling())
        [after] = engine.generate([Request("Describe.")], Sampling())

    assert result.error is not None
    assert result.error.kind == "engine_failed"
    assert "request_timeout_s" in result.error.text
    assert after.text == "A car."
    assert time.monotonic() - start < 4


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (refuses(401, f"wrong key {KEY}"), "refuses the key"),
        (refuses(403, "not yours"), "refuses the key"),
        (refuses(429, "pay first", "insufficient_quota"), "pay first"),
        (refuses(404, "the model `m` does not exist"), "does not serve the model"),
        (says({}, 307, Location="http://127.0.0.1:9/"), "does not answer there"),
    ],
)
def test_what_no_request_survives_stops_the_run(bad: server_that.Behaviour, told: str) -> None:
    with server_that.server(bad) as seen, pytest.raises(EngineError, match="TEST_KEY") as stopped:
        ask(seen, 20, max_concurrent_requests=1)

    assert told in str(stopped.value)
    assert KEY not in str(stopped.value)
    assert len(seen.bodies) == 1


@pytest.mark.parametrize("bad", [refuses(500, "oops"), closes, sends(b"no")])
def test_a_server_that_fails_again_and_again_stops_the_run(bad: server_that.Behaviour) -> None:
    with server_that.server(bad) as seen, pytest.raises(EngineError):
        ask(seen, 100, max_concurrent_requests=4, max_retries=1)

    assert len(seen.bodies) <= 2 * (openai.FAILURES + 4)


def test_a_server_that_rejects_everything_from_the_start_stops_the_run() -> None:
    with server_that.server(refuses(400, "unknown field")) as seen, pytest.raises(EngineError, match="unknown field"):
        ask(seen, 100, max_concurrent_requests=1)

    assert len(seen.bodies) == openai.REFUSALS


def test_many_rejections_among_answers_are_rows() -> None:
    bad = refuses(400, "no")
    with server_that.server(GOOD, *[bad] * 40, GOOD) as seen:
        result = ask(seen, 42, max_concurrent_requests=1)

    assert [answer.error is None for answer in result] == [True, *[False] * 40, True]


def test_a_server_that_is_not_there_stops_the_run_before_any_work(manifest: Path, tmp_path: Path) -> None:
    options = {"model_variant": "m", "engine": "openai", "server": {"api_base": "http://127.0.0.1:9/v1"}}

    with pytest.raises(EngineError, match=r"(?s)http://127\.0\.0\.1:9/v1.*Start the server"):
        colcap.run(manifest, tmp_path / "out", captioning=options)

    assert not list(tmp_path.rglob("part-*"))


def test_a_run_inside_a_running_event_loop(manifest: Path, tmp_path: Path) -> None:
    """As in a notebook, whose cells run in one."""

    async def cell(url: str) -> list[str]:
        options = {"model_variant": "m", "engine": "openai", "server": {"api_base": url}}
        run = colcap.run(
            manifest,
            tmp_path / "out",
            captioning=options,
            enhancement=options,
            enhance_captions=True,
            generate_previews=False,
        )
        return run.enhanced.collect()["enhanced_caption"].to_list()

    with server_that.server(GOOD) as seen:
        assert asyncio.run(cell(seen.url)) == ["A car."] * 4


def test_a_server_that_goes_away_stops_the_run() -> None:
    with server_that.server(GOOD) as seen:
        engine = openai.OpenAIEngine("m", Server(api_base=seen.url, max_retries=2))
        assert engine.generate([Request("Describe.")], Sampling())[0].text == "A car."

    with pytest.raises(EngineError, match="Start the server"):
        engine.generate([Request("Describe.")] * 3, Sampling())
    engine.close()


def test_a_server_that_fails_now_and_then_costs_a_run_no_row(manifest: Path, tmp_path: Path) -> None:
    with simulated_engine(slots=2, prefill_ms=5, token_ms=0, fail_every=2) as engine:
        run = colcap.run(
            manifest, tmp_path / "out", captioning=engine.captioning(), generate_previews=False, clips_per_part=1
        )
        stats = engine.stats()

    assert run.captions.collect()["status"].to_list() == ["ok"] * 4
    assert stats["done"] == 4
    assert stats["arrivals"] > 4


def test_closing_sends_waiting_callers_home() -> None:
    told: list[BaseException] = []
    with server_that.server(waits(20, GOOD)) as seen, engine_of(seen) as engine:

        def wait() -> None:
            try:
                engine.generate([Request("Describe.")] * 5, Sampling())
            except EngineError as error:
                told.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.3)
        engine.close()
        waiting.join(5)

        with pytest.raises(EngineError, match="closed"):
            engine.generate([Request("Describe.")], Sampling())
    assert not waiting.is_alive()
    assert len(told) == 1


def test_requests_at_once_are_bounded() -> None:
    with server_that.server(waits(0.2, GOOD)) as seen:
        ask(seen, 12, max_concurrent_requests=4)

    times = sorted(seen.times)
    assert all(times[i + 4] - times[i] >= 0.19 for i in range(8))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, r"captioning\.server\.api_base \(--api-base\): the engine openai needs it"),
        (
            {"fp8": True, "server": {"api_base": "http://127.0.0.1:9/v1"}},
            r"captioning\.fp8 \(--captioning-use-fp8-weights\): the server decides",
        ),
    ],
)
def test_what_is_missing_is_told_before_any_work(
    manifest: Path, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        colcap.run(manifest, tmp_path / "out", captioning={"engine": "openai", **options})


def test_the_enhancing_servers_address_is_called_by_its_own_name() -> None:
    with pytest.raises(ConfigError, match=r"enhancement\.server\.api_base \(--enhance-captions-api-base\)"):
        check_engine(parse({"enhancement": {"engine": "openai"}}).enhancement)


def test_half_a_character_is_no_reason_to_stop() -> None:
    with server_that.server(says(answer("A \U0001f697 and \ud83d."))) as seen:
        [result] = ask(seen)

    assert (result.text, result.error) == ("A \U0001f697 and \ufffd.", None)


@pytest.mark.parametrize("count", ["some", 2**40, 1e300, -1, None, [3]], ids=str)
def test_a_count_of_tokens_that_is_none_is_left_out(count: object) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": count, "total_tokens": count}
    with server_that.server(says({**answer(), "usage": usage})) as seen:
        [result] = ask(seen)

    assert (result.text, result.prompt_tokens, result.output_tokens) == ("A car.", None, None)


@pytest.mark.parametrize(
    ("bomb", "told"),
    [
        (sends(gzip.compress(bytes(100 << 20)), Content_Encoding="gzip"), "compressed"),
        (sends(bytes(bounded.MAX_ANSWER_BYTES + 1)), "more than"),
    ],
    ids=["compressed", "long"],
)
def test_an_answer_that_would_fill_the_memory_is_not_read(bomb: server_that.Behaviour, told: str) -> None:
    with server_that.server(bomb) as seen:
        [result] = ask(seen, max_retries=1)

    assert result.error is not None
    assert (result.error.kind, told in result.error.text) == ("engine_failed", True)


def test_a_caption_far_longer_than_was_asked_for_is_not_kept() -> None:
    with server_that.server(says(answer("x" * 300_000))) as seen:
        [result] = ask(seen)

    assert result.error is not None
    assert result.error.kind == "invalid_output"


def test_frames_that_cannot_be_compressed_are_a_row_of_their_own() -> None:
    wide = Video(np.zeros((2, 104, 16400, 3), np.uint8), [0, 1], source_frames=2, source_fps=2.0, content_id="wide")
    with server_that.server(GOOD) as seen, engine_of(seen, video_as="video") as engine:
        results = engine.generate([Request("Describe.", video=wide), Request("Describe.")], Sampling())

    assert [result.error and result.error.kind for result in results] == ["rejected", None]
    assert results[1].text == "A car."


@pytest.mark.parametrize("bad", [refuses(503, "loading"), refuses(429, "slow down"), sends(b"[1, 2")])
def test_a_server_that_is_not_ready_is_greeted_again(bad: server_that.Behaviour) -> None:
    vllm = says({"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "vllm"}]})
    with server_that.server(GOOD, models=server_that.first(bad, bad, vllm)) as seen:
        ask(seen)

    assert "repetition_penalty" in seen.bodies[0]


def test_a_server_that_does_not_get_ready_stops_the_run() -> None:
    with server_that.server(GOOD, models=refuses(503, "loading")) as seen, pytest.raises(EngineError, match="loading"):
        ask(seen)


@pytest.mark.parametrize("models", [refuses(404, "?"), refuses(405, "?"), says({"models": []}), says([])])
def test_a_server_without_a_list_of_models_is_none_of_vllms(models: server_that.Behaviour) -> None:
    with server_that.server(GOOD, models=models) as seen:
        [result] = ask(seen)

    assert result.text == "A car."
    assert "repetition_penalty" not in seen.bodies[0]


def test_frames_that_were_chosen_bring_their_times_whoever_the_server_is() -> None:
    video = Video(np.zeros((2, 64, 64, 3), np.uint8), [0, 8], source_frames=16, source_fps=8.0, content_id="v")
    with server_that.server(GOOD) as seen, engine_of(seen, video_as="frames") as engine:
        engine.generate([Request("Describe.", video=video)], Sampling())

    assert seen.bodies[0]["media_io_kwargs"]["video"]["frames_indices"] == [0, 8]
