"""vLLM as an engine: called from any thread, started again once when it dies."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from colcap.config import PreprocessDtype
from colcap.engines import cores as core_plan
from colcap.engines import options, terms
from colcap.engines.base import EngineStats, Generation, Request, Sampling, Video
from colcap.engines.breaker import Breaker
from colcap.engines.chat import ChatEncoder
from colcap.engines.frontend import FrontEnd, Launch
from colcap.engines.pixels import Sight
from colcap.errors import ConfigError, EngineError, RowError
from colcap.models.weights import ResolvedModel

log = logging.getLogger(__name__)

MAX_RESTARTS: Final = 1
"""An engine that dies again would die on and on."""

GPU_RENDERERS: Final = 2
"""Render processes of an engine on a GPU: one renders 12 to 30 windows/s of Qwen's size, the GPU takes 10 to 20."""

NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})


def check_available(*, fp8: bool = False, named: Callable[[str], str] = str) -> None:
    """Refuse, in plain words and without importing vLLM, what cannot work here.

    Parameters
    ----------
    fp8 : whether the weights are to be quantized.
    named : what whoever chose a parameter calls it.

    Raises
    ------
    ConfigError : vLLM is not installed, or needs a GPU that cannot be seen, or fp8 is asked of a CPU.
    """
    if core_plan.vllm_version() is None:
        raise ConfigError("captions need vLLM, which is not installed: README.md has its CPU and its GPU build")
    if core_plan.is_cpu_build():
        if fp8:
            raise ConfigError(f"{named('fp8')}: needs a GPU; the installed vLLM is the build for CPUs")
    elif not core_plan.has_gpu():
        raise ConfigError("the installed vLLM needs a GPU and none can be seen; README.md has its build for CPUs")


def _num_renderers(chosen: int | None, *, sees: bool, on_gpu: bool) -> int:
    """Render processes of an engine.

    >>> _num_renderers(None, sees=True, on_gpu=True), _num_renderers(3, sees=False, on_gpu=True)
    (2, 0)
    """
    if not sees:
        return 0
    return (GPU_RENDERERS if on_gpu else 0) if chosen is None else chosen


class VllmEngine:
    """Answers requests with vLLM.

    Parameters
    ----------
    model : weights that are here; see models/weights.py.
    fp8 : quantize the weights (GPU only).
    disable_mmcache : remember no videos between requests.
    model_does_preprocess : frames come as they are and the model's processor resizes them; otherwise their sides
        must be multiples of the model's factor and they are left alone.
    preprocess_dtype : `uint8` lets the engine rescale and normalise pixels on its device; a float type does that
        before, here or, with `model_does_preprocess`, in the processor; `auto` is `uint8` where the engine can.
    cores : cores of an engine on the CPU; the front-end takes the others.
    gpus : what CUDA_VISIBLE_DEVICES is for the engine, which then spreads over all of them; none: one GPU of those
        there are.
    renderers : processes that turn frames into the engine's input; default 2 on a GPU, and none on a CPU, where they
        would take its cores from decoding. With them the engine remembers no videos.
    engine_kwargs : further options of vLLM's `AsyncEngineArgs`; they win over ours.
    verbose : let the engine's processes say more, and log it as INFO under `colcap.engines`, else as DEBUG.
    wait : block while the engine starts; otherwise `wait` must be called before the first request.

    Raises
    ------
    ConfigError : this cannot work here; see `check_available` and `pixels.check`.
    EngineError : the engine does not start.
    """

    def __init__(
        self,
        model: ResolvedModel,
        *,
        fp8: bool = False,
        disable_mmcache: bool = False,
        model_does_preprocess: bool = False,
        preprocess_dtype: PreprocessDtype = "auto",
        cores: Sequence[int] | None = None,
        gpus: Sequence[str] = (),
        renderers: int | None = None,
        engine_kwargs: Mapping[str, Any] = NO_OPTIONS,
        verbose: bool = False,
        wait: bool = True,
    ) -> None:
        check_available(fp8=fp8)
        self.model, self.revision, self._folder = model.id, model.revision, model.path
        sees = model.family != "text"
        self._sight = Sight(preprocess_dtype, model_does_preprocess, model.factor) if sees else None
        on_cores = None if core_plan.has_gpu() else tuple(cores or core_plan.plan_cores().engine)
        rendering = _num_renderers(renderers, sees=sees, on_gpu=on_cores is None)
        args = options.engine_args(
            model,
            on_gpu=on_cores is None,
            fp8=fp8,
            disable_mmcache=disable_mmcache,
            model_does_preprocess=model_does_preprocess,
            preprocess_dtype=preprocess_dtype,
            renderers=rendering,
            tensor_parallel_size=max(1, len(gpus)),
            overrides=engine_kwargs,
        )
        self._launch = Launch(args, on_cores, tuple(gpus), verbose, self._sight, rendering)
        self._start()
        if wait:
            self.wait()

    def _start(self) -> None:
        self._lock, self._restarts, self._closed = threading.Lock(), 0, False
        self._breaker, self.stats = Breaker(), EngineStats()
        self._front = FrontEnd(self._launch)
        atexit.register(self.close)

    def wait(self) -> None:
        """Wait until the engine is ready; where it does not start, it is closed. Raises ConfigError or EngineError."""
        try:
            self._wait()
            self._encoder = ChatEncoder(self._folder)
        except BaseException:  # Ctrl-C among them
            self.close()
            raise
        self.stats = EngineStats()

    def _wait(self) -> None:
        """Wait for the first engine; one that is killed while it starts has died as one does later."""
        first = self._front
        try:
            first.wait()
        except EngineError:
            if self._closed or not first.was_killed:
                raise
            self._revive(first)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Answer requests; see `Engine.generate`."""
        if sampling.json_schema and (unsayable := self._encoder.spelled_out(sampling.json_schema)):
            raise ConfigError(f"json_schema: the model cannot write {', '.join(unsayable)}: leave it out of the schema")
        params = terms.sampling_params(sampling)
        self.stats.begin(len(requests))
        answers: list[Generation] = []
        try:
            prompts = [self._prepare(request) for request in requests]
            answers = self._answer(prompts, params)
            self._breaker.see(answers)
        finally:
            self.stats.end(len(requests), output_tokens=sum(answer.output_tokens or 0 for answer in answers))
        return answers

    def close(self) -> None:
        """Stop the engine; whoever waits for an answer gets an EngineError."""
        self._closed = True
        atexit.unregister(self.close)
        self._front.stop()

    def _answer(self, prompts: Sequence[dict[str, Any] | RowError], params: Any) -> list[Generation]:
        answers = {i: Generation(error=prompt) for i, prompt in enumerate(prompts) if isinstance(prompt, RowError)}
        open_ = {i: prompt for i, prompt in enumerate(prompts) if not isinstance(prompt, RowError)}
        while open_:
            front = self._front
            asked = zip(list(open_), front.ask(list(open_.values()), params), strict=True)
            answers |= {i: answer for i, answer in asked if answer is not None}
            open_ = {i: prompt for i, prompt in open_.items() if i not in answers}
            if open_:
                self._revive(front)
        return [answers[i] for i in range(len(prompts))]

    def _revive(self, dead: FrontEnd) -> None:
        """Start a new engine in the place of a dead one, unless another caller has done so already."""
        with self._lock:
            if self._front is not dead:
                return
            if self._closed or self._restarts >= MAX_RESTARTS:
                raise EngineError(f"the engine died, and again after a restart. Its last lines:\n{dead.last_words}")
            self._restarts += 1
            log.warning("the engine died and is started again, once. Its last lines:\n%s", dead.last_words)
            dead.stop(died=True)
            self._front = FrontEnd(self._launch)
            if self._closed:
                self._front.stop()
            self._front.wait()

    def _prepare(self, request: Request) -> dict[str, Any] | RowError:
        """A request as vLLM takes it."""
        try:
            video = {} if request.video is None else self._shown(request.video)
            return {"prompt_token_ids": self._encoder.encode(request), **video}
        except RowError as error:
            return error

    def _shown(self, video: Video) -> dict[str, Any]:
        if self._sight is None:
            raise RowError("rejected", f"{self.model} is a text model and cannot see a video")
        return terms.video_parts(video, factor=self._sight.side_factor)
