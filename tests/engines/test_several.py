"""Several engines are one: requests go to the one that has the least to do."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from processes import engine_processes
from tiny_windows import windows

from colcap.config import parse
from colcap.engines import options
from colcap.engines.base import EngineStats, Generation, Request, Sampling
from colcap.engines.cores import CorePlan
from colcap.engines.several import SeveralEngines, share_out
from colcap.errors import ConfigError, EngineError
from colcap.models.tiny.scenes import caption
from colcap.models.weights import ResolvedModel
from colcap.runners.engine import start_engine


class Scripted:
    """Answers with its name, when it is let."""

    model, revision = "m", None

    def __init__(self, name: str, *, fails: bool = False) -> None:
        self.name, self.fails, self.stats = name, fails, EngineStats()
        self.go, self.asked, self.closed = threading.Event(), 0, False
        self.go.set()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        self.asked += len(requests)
        self.go.wait(10)
        if self.fails:
            raise EngineError("died")
        return [Generation(f"{self.name} {request.text}", 1, 2, "stop") for request in requests]

    def close(self) -> None:
        self.closed = True


def test_answers_come_in_order_whoever_gives_them() -> None:
    engines = SeveralEngines([Scripted("a"), Scripted("b")])

    result = engines.generate([Request(str(i)) for i in range(5)], Sampling())

    assert [answer.text for answer in result] == ["a 0", "b 1", "a 2", "b 3", "a 4"]
    assert (engines.stats.requests_done, engines.stats.output_tokens) == (5, 10)
    assert engines.generate([], Sampling()) == []


def test_requests_go_where_there_is_room() -> None:
    slow, fast = Scripted("slow"), Scripted("fast")
    slow.go.clear()
    engines = SeveralEngines([slow, fast])

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(engines.generate, [Request(str(i)) for i in range(4)], Sampling())
        while fast.asked < 2:
            pass
        second = [engines.generate([Request("x")], Sampling())[0].text for _ in range(6)]
        slow.go.set()
        first.result(10)

    assert second == ["fast x"] * 6
    assert (slow.asked, fast.asked) == (2, 8)


def test_an_engine_that_is_dead_for_good_ends_the_call() -> None:
    dead, alive = Scripted("dead", fails=True), Scripted("alive")
    engines = SeveralEngines([dead, alive])

    with pytest.raises(EngineError, match="died"):
        engines.generate([Request("0"), Request("1")], Sampling())
    engines.close()

    assert dead.closed
    assert alive.closed


def test_two_engines_on_a_core_each(tiny: ResolvedModel) -> None:
    before = set(engine_processes())
    config = parse({"captioning": {"model_variant": "tiny"}, "runtime": {"engines": 2}})
    videos, scenes = windows(48)
    requests = [Request("Describe the video.", video=video) for video in videos]

    engines = start_engine(config, tiny, CorePlan(engine=(0, 1), media=(0, 1)))
    started = set(engine_processes()) - before
    result = engines.generate(requests, Sampling())

    assert isinstance(engines, SeveralEngines)
    assert len(started) == 2
    assert sorted(tuple(process.cpu_affinity()) for process in started) == [(0,), (1,)]
    assert sum(a.text == caption(s) for a, s in zip(result, scenes, strict=True)) >= 0.9 * len(scenes)
    assert [engine.stats.requests_done for engine in engines.engines] == [24, 24]
    engines.close()
    assert set(engine_processes()) <= before


@pytest.mark.parametrize(
    ("engines", "size", "gpus", "expected"),
    [
        (None, 1, "01", [("0",), ("1",)]),
        (None, 2, "0123", [("0", "1"), ("2", "3")]),
        (1, 4, "0123", [("0", "1", "2", "3")]),
        (2, 1, "0123", [("0",), ("1",)]),
    ],
)
def test_gpus_are_shared_out(
    tiny: ResolvedModel, engines: int | None, size: int, gpus: str, expected: list[tuple[str, ...]]
) -> None:
    result = [device.gpus for device in share_out(engines, size, cores=(), gpus=tuple(gpus))]

    assert result == expected
    flags = {"fp8": True, "disable_mmcache": False, "model_does_preprocess": False, "overrides": {}}
    args = options.engine_args(tiny, on_gpu=True, tensor_parallel_size=size, renderers=2, **flags)
    assert (args["tensor_parallel_size"], args["quantization"]) == (size, "fp8")
    assert ("mm_tensor_ipc" in args) == (size == 1)  # vLLM lends tensors to one process only
    assert options.engine_env(None, gpus=result[0], verbose=False)["CUDA_VISIBLE_DEVICES"] == ",".join(result[0])


@pytest.mark.parametrize(
    ("engines", "size", "cores", "gpus", "words"),
    [
        (3, 1, (), "01", "3 engines of runtime.tensor_parallel_size 1 need 3 GPUs, and 2 can be seen"),
        (None, 4, (), "01", "1 engines of runtime.tensor_parallel_size 4 need 4 GPUs, and 2 can be seen"),
        (3, 1, (0, 1), "", "runtime.engines (--engines): got 3; there are 2 cores for engines"),
        (1, 2, (0, 1), "", "(--tensor-parallel-size): got 2; an engine on the CPU takes 1"),
    ],
)
def test_more_than_there_is(engines: int | None, size: int, cores: tuple[int, ...], gpus: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        share_out(engines, size, cores=cores, gpus=tuple(gpus))
