"""The engine of a run: checked before any work, started when first needed, closed once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from colcap import flags
from colcap.config import Captioning, Config, Enhancement
from colcap.engines.base import Engine
from colcap.engines.cores import CorePlan, plan_cores, visible_gpus
from colcap.engines.several import SeveralEngines, share_out
from colcap.errors import EngineError
from colcap.models.weights import ResolvedModel

T = TypeVar("T")


def check_engine(chosen: Captioning | Enhancement) -> None:
    """Refuse, before any work, what the engine could not do. Raises ConfigError or EngineError."""
    from colcap.engines import openai, vllm  # they look at package metadata; neither is imported itself

    def named(parameter: str) -> str:
        return flags.named(f"{'enhancement' if isinstance(chosen, Enhancement) else 'captioning'}.{parameter}")

    if chosen.engine == "openai":
        openai.check_available(chosen.server, fp8=chosen.fp8, named=named)
    else:
        vllm.check_available(fp8=chosen.fp8, named=named)


def check_devices(config: Config) -> None:
    """Refuse, before any work, more engines than this machine has devices for. Raises ConfigError."""
    runtime, gpus = config.runtime, visible_gpus()
    usable = len(os.sched_getaffinity(0))
    cores = () if gpus else range(min(runtime.engine_cores or usable, usable))
    share_out(runtime.engines, runtime.tensor_parallel_size, cores=cores, gpus=gpus)


def models_at_once(config: Config) -> int:
    """How many models this machine's devices hold side by side, each on as many engines as were asked for."""
    runtime = config.runtime
    each = runtime.engines or 1
    if gpus := visible_gpus():
        return max(1, len(gpus) // (each * runtime.tensor_parallel_size))
    return max(1, (runtime.engine_cores or len(os.sched_getaffinity(0)) // 2) // each)


def engine_cores(config: Config, chosen: Captioning | Enhancement | None, *, models: int = 1) -> CorePlan:
    """Share this machine's cores between media work and the engines of this choice, whose cores are claimed.

    Parameters
    ----------
    config : how many cores and engines.
    chosen : what the engine is for; None where there is none.
    models : how many models have such engines, side by side.

    Raises
    ------
    ConfigError : there are fewer cores than are asked for.
    """
    if chosen is None or chosen.engine != "vllm":
        return plan_cores(num_engine_cores=0)
    return plan_cores(config.runtime.engine_cores, num_engines=models * (config.runtime.engines or 1))


def start_engine(config: Config, model: ResolvedModel, cores: CorePlan, share: tuple[int, int] = (0, 1)) -> Engine:
    """Start vLLM with the captioning options, or go to a server.

    vLLM takes ten seconds, and much longer for large weights.

    Parameters
    ----------
    config : the options.
    model : who captions.
    cores : of engines on the CPU.
    share : which of how many equal shares of the devices it gets, counted from 0.
    """
    c = config.captioning
    if c.engine == "openai":
        return _server(config, c, model)
    options = {
        "fp8": c.fp8,
        "disable_mmcache": c.disable_mmcache,
        "model_does_preprocess": c.model_does_preprocess,
        "preprocess_dtype": c.preprocess_dtype,
        "renderers": config.runtime.renderers,
        "verbose": c.verbose,
    }
    return _start(config, model, cores, options, share)


def start_text_engine(config: Config, model: ResolvedModel, cores: CorePlan) -> Engine:
    """The same with the enhancement options."""
    e = config.enhancement
    if e.engine == "openai":
        return _server(config, e, model)
    return _start(config, model, cores, {"fp8": e.fp8, "verbose": e.verbose})


def _server(config: Config, chosen: Captioning | Enhancement, model: ResolvedModel) -> Engine:
    from colcap.engines.openai import OpenAIEngine

    return OpenAIEngine(model.id, chosen.server, options=config.runtime.engine_kwargs)


def _start(
    config: Config, model: ResolvedModel, cores: CorePlan, options: Mapping[str, Any], share: tuple[int, int] = (0, 1)
) -> Engine:
    """Start as many engines as there should be, side by side."""
    from colcap.engines.vllm import VllmEngine  # heavy: only where captions are made

    runtime = config.runtime
    mine = partial(_share_of, share)
    gpus = mine(visible_gpus())
    devices = share_out(runtime.engines, runtime.tensor_parallel_size, cores=mine(cores.engine), gpus=gpus)
    engines: list[VllmEngine] = []
    try:
        for device in devices:
            on: dict[str, Any] = {"cores": device.cores or None, "gpus": device.gpus}
            engines.append(VllmEngine(model, **on, **options, engine_kwargs=runtime.engine_kwargs, wait=False))
        for engine in engines:
            engine.wait()
    except BaseException:  # Ctrl-C among them
        for engine in engines:
            engine.close()
        raise
    return engines[0] if len(engines) == 1 else SeveralEngines(engines)


def _share_of(share: tuple[int, int], devices: Sequence[T]) -> Sequence[T]:
    """Neighbouring devices, so that a model that takes several of them has those that are best connected."""
    number, count = share
    return devices[number * len(devices) // count : (number + 1) * len(devices) // count]


class EngineHandle:
    """An engine that is started when first asked for, and closed if it was started here.

    Parameters
    ----------
    engine : a running engine, or what starts one; None where none will be asked for.

    One that did not start is not started again: what it raised is raised for whoever asks for it later.
    """

    def __init__(self, engine: Engine | Callable[[], Engine] | None) -> None:
        self._start = engine if callable(engine) else None
        self._engine = None if callable(engine) else engine
        self._lock = threading.Lock()
        self._failed: Exception | None = None
        self._closed = False

    def get(self) -> Engine:
        """The running engine; the first call starts it."""
        with self._lock:
            if self._failed is not None:
                raise self._failed
            if self._engine is None:
                if self._closed:
                    raise EngineError("the run was stopped before its engine was started")
                self._engine = self._started()
                if self._closed:  # the run was stopped while the engine came up
                    self._engine.close()
            return self._engine

    def _started(self) -> Engine:
        assert self._start is not None
        try:
            return self._start()
        except Exception as error:
            self._failed = error
            raise

    @property
    def running(self) -> Engine | None:
        """The engine, where it runs by now."""
        return self._engine

    def idle_share(self) -> float | None:
        """Share of the time since it was ready in which it had nothing to do; None before it is ready."""
        engine = self._engine
        return None if engine is None else engine.stats.idle_share

    def close(self) -> None:
        """Stop the engine if it was started here; one that is starting is stopped when it is up."""
        self._closed = True
        engine = self._engine
        if self._start is not None and engine is not None:
            engine.close()
