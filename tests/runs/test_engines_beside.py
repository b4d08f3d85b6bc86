"""Two models of one run at once: each on its share of the devices, both starting side by side."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import colcap
from colcap.engines import cores, vllm
from colcap.engines.base import EngineStats, Generation, Request, Sampling
from colcap.errors import EngineError
from colcap.models.weights import ResolvedModel

SETS = [{"name": "a"}, {"name": "b", "disable_mmcache": True}]
"""One model with two kinds of engine: as two models would, they need two."""


Devices = dict[bool, list[tuple[tuple[str, ...], object]]]
"""GPUs and cores of each engine, of the model with and the one without a cache."""


class Started:
    """Says what it was started with, once the other one is starting too."""

    revision = None
    devices: Devices
    both: threading.Barrier

    def __init__(self, model: ResolvedModel, **given: Any) -> None:
        self.model, self.stats, self._name = model.id, EngineStats(), "b" if given["disable_mmcache"] else "a"
        self.devices[given["disable_mmcache"]].append((given["gpus"], given["cores"]))

    def wait(self) -> None:
        """Until an engine of the other model is starting too: one after the other, this would break."""
        self.both.wait(timeout=30)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        return [Generation(self._name, 1, 1, "stop") for _ in requests]

    def close(self) -> None: ...


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Devices:
    """A machine with GPUs, as far as colcap can tell."""
    Started.devices, Started.both = {False: [], True: []}, threading.Barrier(2)
    monkeypatch.setattr(vllm, "VllmEngine", Started)
    monkeypatch.setattr(vllm, "check_available", lambda **_: None)
    monkeypatch.setattr(cores, "has_gpu", lambda: True)
    return Started.devices


@pytest.mark.parametrize(
    ("visible", "runtime", "expected"),
    [
        ("4,5,6,7", {"engines": 1}, [["4"], ["6"]]),
        ("4,5,6,7", {"engines": 1, "tensor_parallel_size": 2}, [["4,5"], ["6,7"]]),
        ("4,5,6,7", {"engines": 2}, [["4", "5"], ["6", "7"]]),
    ],
)
def test_each_model_has_its_share_of_the_gpus(
    manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    started: Devices,
    visible: str,
    runtime: dict[str, int],
    expected: list[list[str]],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    tiny: dict[str, Any] = {"captioning": {"model_variant": "tiny"}, "generate_previews": False}

    run = colcap.run(manifest, tmp_path / "out", captions=SETS, runtime=runtime, **tiny)

    assert [[",".join(gpus) for gpus, _ in started[name]] for name in (False, True)] == expected
    assert {cores for of_model in started.values() for _, cores in of_model} == {None}
    said = run.captions.select("caption_set", "caption").unique().sort("caption_set").collect()
    assert said.rows() == [("a", "a"), ("b", "b")]


class Refuses(Started):
    """Does not start."""

    def wait(self) -> None:
        super().wait()  # both are being started
        raise EngineError("unexpected keyword argument 'max_num_seq'")


def test_an_engine_that_does_not_start_is_not_tried_again_by_each_thread_that_wants_it(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: Devices
) -> None:
    monkeypatch.setattr(vllm, "VllmEngine", Refuses)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    tiny: dict[str, Any] = {"captioning": {"model_variant": "tiny"}, "generate_previews": False}

    with pytest.raises(EngineError, match="unexpected keyword argument"):
        colcap.run(manifest, tmp_path / "out", captions=SETS, runtime={"engines": 1}, **tiny)

    assert [len(of_model) for of_model in started.values()] == [1, 1]
