"""What a user chooses is what a server is asked: each option that is ignored would be missing from the request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import misbehaving as server_that
import pytest
from misbehaving import answer, says

from colcap.config import Config, parse
from colcap.engines.base import Engine, Request
from colcap.engines.cores import CorePlan
from colcap.runners import choices
from colcap.runners.engine import start_engine, start_text_engine

CHOSEN: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9, "repetition_penalty": 1.2, "max_output_tokens": 99}
SCHEMA = {"type": "object", "required": ["colour"]}
VLLM = says({"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "vllm"}]})
ASKED = {
    "model": "m",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Describe."}],
    "temperature": 0.7,
    "top_p": 0.9,
    "max_tokens": 99,
    "seed": 5,
}
BY_VLLM_ALONE = {"repetition_penalty": 1.2, "chat_template_kwargs": {"enable_thinking": False}}


def captioning(config: Config) -> Engine:
    return start_engine(config, choices.resolve_model(config), CorePlan((), (0,)))


def enhancement(config: Config) -> Engine:
    return start_text_engine(config, choices.resolve_text_model(config), CorePlan((), (0,)))


@pytest.mark.parametrize("models", [None, VLLM], ids=["hosted", "vllm"])
@pytest.mark.parametrize("start", [captioning, enhancement])
def test_a_request_says_what_was_chosen(
    start: Callable[[Config], Engine], models: server_that.Behaviour | None
) -> None:
    with server_that.server(says(answer()), models=models) as seen:
        section = {"engine": "openai", "model_variant": "m", "server": {"api_base": seen.url}, **CHOSEN}
        config = parse({start.__name__: section, "runtime": {"engine_kwargs": {"seed": 5}}})
        sampling = choices.sampling(config) if start is captioning else choices.enhancement_sampling(config)
        engine = start(config)
        engine.generate([Request("Describe.", system="Be brief.")], sampling)
        engine.close()

    assert seen.bodies == [{**ASKED, **(BY_VLLM_ALONE if models else {})}]


def test_a_schema_is_asked_for() -> None:
    with server_that.server(says(answer())) as seen:
        section = {"engine": "openai", "model_variant": "m", "server": {"api_base": seen.url}}
        config = parse({"captioning": {**section, "json_schema": json.dumps(SCHEMA)}})
        engine = captioning(config)
        engine.generate([Request("Describe.")], choices.sampling(config))
        engine.close()

    [body] = seen.bodies
    assert body["response_format"]["type"] == "json_schema"
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
