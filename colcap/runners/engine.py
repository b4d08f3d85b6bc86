"""The engine of a run: checked before any work, started when first needed, closed once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from colcap.config import Captioning, Config, Enhancement
from colcap.engines.base import Engine
from colcap.engines.cores import CorePlan
from colcap.models.weights import ResolvedModel


def check_engine(chosen: Captioning | Enhancement) -> None:
    """Refuse, before any work, what the engine could not do. Raises ConfigError or EngineError."""
    from colcap.engines import openai, vllm  # they look at package metadata; neither is imported itself

    if chosen.engine == "openai":
        openai.check_available(chosen.server, fp8=chosen.fp8)
    else:
        vllm.check_available(fp8=chosen.fp8)


def start_engine(config: Config, model: ResolvedModel, cores: CorePlan) -> Engine:
    """Start vLLM with the captioning options, or go to a server.

    vLLM takes ten seconds, and much longer for large weights.
    """
    from colcap.engines.openai import OpenAIEngine
    from colcap.engines.vllm import VllmEngine  # heavy: only where captions are made

    c = config.captioning
    if c.engine == "openai":
        return OpenAIEngine(model.id, c.server, options=config.runtime.engine_kwargs)
    return VllmEngine(
        model,
        fp8=c.fp8,
        disable_mmcache=c.disable_mmcache,
        model_does_preprocess=c.model_does_preprocess,
        preprocess_dtype=c.preprocess_dtype,
        cores=cores.engine,
        renderers=config.runtime.renderers,
        engine_kwargs=config.runtime.engine_kwargs,
        verbose=c.verbose,
    )


def start_text_engine(config: Config, model: ResolvedModel, cores: CorePlan) -> Engine:
    """The same with the enhancement options."""
    from colcap.engines.openai import OpenAIEngine
    from colcap.engines.vllm import VllmEngine

    e = config.enhancement
    if e.engine == "openai":
        return OpenAIEngine(model.id, e.server, options=config.runtime.engine_kwargs)
    return VllmEngine(
        model, fp8=e.fp8, cores=cores.engine, engine_kwargs=config.runtime.engine_kwargs, verbose=e.verbose
    )


class EngineHandle:
    """An engine that is started when first asked for, and closed if it was started here.

    Parameters
    ----------
    engine : a running engine, or what starts one; None where none will be asked for.
    """

    def __init__(self, engine: Engine | Callable[[], Engine] | None) -> None:
        self._start = engine if callable(engine) else None
        self._engine = None if callable(engine) else engine
        self._lock = threading.Lock()
        self._closed = False

    def get(self) -> Engine:
        """The running engine; the first call starts it."""
        with self._lock:
            if self._engine is None:
                assert self._start is not None
                self._engine = self._start()
                if self._closed:  # the run was stopped while the engine came up
                    self._engine.close()
            return self._engine

    def idle_share(self) -> float | None:
        """Share of the time since it was ready in which it had nothing to do; None before it is ready."""
        engine = self._engine
        return None if engine is None else engine.stats.idle_share

    def close(self) -> None:
        """Stop the engine if it was started here."""
        self._closed = True
        engine = self._engine
        if self._start is not None and engine is not None:
            engine.close()
