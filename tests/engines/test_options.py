"""What a user chooses reaches the engine: a test for each option that fails if it is ignored."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import pytest
from tiny_windows import window

from colcap.config import parse
from colcap.engines import cores, options, terms, vllm
from colcap.engines.base import Engine, Request, Sampling
from colcap.engines.cores import CorePlan
from colcap.engines.frontend import Launch
from colcap.engines.pixels import Sight
from colcap.engines.vllm import VllmEngine
from colcap.errors import EngineError
from colcap.models.weights import ResolvedModel
from colcap.runners.engine import start_engine, start_text_engine

FLAGS = {"on_gpu": False, "fp8": False, "disable_mmcache": False, "model_does_preprocess": False, "overrides": {}}


def args(tiny: ResolvedModel, **change: Any) -> dict[str, Any]:
    return options.engine_args(tiny, **{**FLAGS, **change})


@pytest.mark.parametrize(
    ("change", "name", "without", "with_"),
    [
        ({"disable_mmcache": True}, "mm_processor_cache_gb", 4, 0),
        ({"renderers": 2}, "mm_processor_cache_gb", 4, 0),
        ({"model_does_preprocess": True}, "mm_processor_kwargs", {"do_resize": False}, None),
        ({"preprocess_dtype": "float16"}, "mm_device_do_normalize", True, False),
        ({"on_gpu": True}, "gpu_memory_utilization", None, 0.85),
        ({"on_gpu": True, "fp8": True}, "quantization", None, "fp8"),
        ({"on_gpu": True, "tensor_parallel_size": 2}, "tensor_parallel_size", 1, 2),
        ({"overrides": {"max_num_seqs": 3}}, "max_num_seqs", 64, 3),
        ({"overrides": {"anything": 1}}, "anything", None, 1),
    ],
)
def test_an_option_changes_what_the_engine_is_started_with(
    tiny: ResolvedModel, change: dict[str, Any], name: str, without: object, with_: object
) -> None:
    assert (args(tiny).get(name), args(tiny, **change).get(name)) == (without, with_)


def test_sampling_is_the_engines() -> None:
    sampling = Sampling(temperature=0.3, top_p=0.2, repetition_penalty=1.2, max_output_tokens=77)

    result = terms.sampling_params(sampling)

    seen = (result.temperature, result.top_p, result.repetition_penalty, result.max_tokens)
    assert seen == (0.3, 0.2, 1.2, 77)


class Recorded:
    """Remembers what it was started with."""

    started: list[dict[str, Any]]

    def __init__(self, model: ResolvedModel, **given: Any) -> None:
        self.started.append(given)

    def wait(self) -> None: ...


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    Recorded.started = []
    monkeypatch.setattr(vllm, "VllmEngine", Recorded)
    monkeypatch.setattr(cores, "has_gpu", lambda: False)
    return Recorded.started


CHOSEN = {
    "captioning": {
        "fp8": True,
        "disable_mmcache": True,
        "model_does_preprocess": True,
        "preprocess_dtype": "float16",
        "verbose": True,
    },
    "runtime": {"renderers": 3, "engine_kwargs": {"seed": 4}},
    "enhancement": {"fp8": True, "verbose": True},
}


def test_every_choice_reaches_the_caption_engine(tiny: ResolvedModel, started: list[dict[str, Any]]) -> None:
    start_engine(parse(CHOSEN), tiny, CorePlan((0,), (1,)))
    start_engine(parse({}), tiny, CorePlan((0,), (1,)))

    chosen, default = started
    runtime: dict[str, Any] = CHOSEN["runtime"]
    assert chosen == {**CHOSEN["captioning"], **runtime, "cores": (0,), "gpus": (), "wait": False}
    differing = {name for name in chosen if chosen[name] != default[name]}
    assert differing == {*CHOSEN["captioning"], *runtime}


def test_every_choice_reaches_the_text_engine(tiny: ResolvedModel, started: list[dict[str, Any]]) -> None:
    start_text_engine(parse(CHOSEN), tiny, CorePlan((0,), (1,)))

    [chosen] = started
    assert chosen == {"fp8": True, "verbose": True, "engine_kwargs": {"seed": 4}, **ON_CORE_0}


ON_CORE_0 = {"cores": (0,), "gpus": (), "wait": False}


def test_every_engine_option_is_a_parameter() -> None:
    """A misspelt one would be refused by the engine only when it starts."""
    import inspect

    known = set(inspect.signature(VllmEngine).parameters)

    assert {*CHOSEN["captioning"], *CHOSEN["runtime"], *ON_CORE_0} <= known


class Launched:
    """Stands where vLLM would be started, and remembers how."""

    seen: list[Launch]

    def __init__(self, launch: Launch) -> None:
        self.seen.append(launch)

    def stop(self) -> None: ...


@pytest.mark.parametrize(
    ("given", "name", "without", "with_"),
    [
        ({"fp8": True}, "quantization", None, "fp8"),
        ({"disable_mmcache": True}, "mm_processor_cache_gb", 4, 0),
        ({"model_does_preprocess": True}, "mm_processor_kwargs", {"do_resize": False}, None),
        ({"preprocess_dtype": "bfloat16"}, "mm_device_do_normalize", True, False),
        ({"gpus": ("2", "5")}, "tensor_parallel_size", 1, 2),
        ({"engine_kwargs": {"seed": 5}}, "seed", 0, 5),
        ({"renderers": 1}, "mm_tensor_ipc", None, "torch_shm"),
        ({"preprocess_dtype": "uint8"}, "sight", Sight("auto", False, 28), Sight("uint8", False, 28)),
        ({"model_does_preprocess": True}, "sight", Sight("auto", False, 28), Sight("auto", True, 28)),
        ({"gpus": ("2", "5")}, "gpus", (), ("2", "5")),
        ({"renderers": 1}, "renderers", 0, 1),
        ({"verbose": True}, "verbose", False, True),
    ],
)
def test_an_engine_is_launched_with_what_it_is_given(
    tiny: ResolvedModel,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    name: str,
    without: object,
    with_: object,
) -> None:
    Launched.seen = []
    monkeypatch.setattr(vllm, "FrontEnd", Launched)
    monkeypatch.setattr(cores, "has_gpu", lambda: True)
    monkeypatch.setattr(cores, "is_cpu_build", lambda: False)

    for options_ in ({}, given):
        VllmEngine(tiny, wait=False, **{"renderers": 0, **options_}).close()

    seen = [{**asdict(launch), **launch.args, "sight": launch.sight}.get(name) for launch in Launched.seen]
    assert seen == [without, with_]


class Broken:
    """Fails whatever it is asked to render."""

    @asynccontextmanager
    async def rendered(self, prompt: dict[str, Any]) -> Any:
        raise RuntimeError("no more memory")
        yield

    def close(self) -> None: ...


def test_an_engine_that_fails_everything_stops_the_run(tiny_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [Request("Describe.", video=window(0)[0])]
    with monkeypatch.context() as broken:
        broken.setattr(tiny_engine._front, "_rendering", Broken())  # type: ignore[attr-defined]

        first = tiny_engine.generate(requests * 15, Sampling())
        with pytest.raises(EngineError, match="failed 16 requests in a row, the last one with: no more memory"):
            tiny_engine.generate(requests, Sampling())

    [again] = tiny_engine.generate(requests, Sampling())
    assert {answer.error.kind for answer in first if answer.error} == {"engine_failed"}
    assert again.error is None
    assert tiny_engine.stats._in_flight == 0


@pytest.mark.parametrize(("length", "expected"), [(70, None), (71, "/tmp")])
def test_sockets_fit_where_temporary_files_have_a_long_path(
    length: int, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/" + "t" * (length - 1))

    for env in (options.frontend_env(), options.engine_env(None, verbose=True)):
        assert env.get("VLLM_RPC_BASE_PATH") == expected
