"""vLLM: `AsyncLLM` on an event loop of its own thread, its engine in a process of its own."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import logging
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any, Final, TypeVar

from colcap.engines import cores as core_plan
from colcap.engines import options
from colcap.engines.base import EngineStats, Generation, Request, Sampling, Video
from colcap.engines.boot import GOODBYE_S, Running, boot
from colcap.engines.chat import ChatEncoder
from colcap.engines.host import EngineHost
from colcap.errors import ConfigError, EngineError, RowError, printable
from colcap.models.weights import ResolvedModel

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_RESTARTS: Final = 1
"""An engine that dies again would die on and on."""

NO_OPTIONS: Final[Mapping[str, Any]] = MappingProxyType({})


def check_available(*, fp8: bool = False) -> None:
    """Refuse, in plain words and without importing vLLM, what cannot work here.

    Raises
    ------
    ConfigError : vLLM is not installed, or needs a GPU that cannot be seen, or fp8 is asked of a CPU.
    """
    if core_plan.vllm_version() is None:
        raise ConfigError("captions need vLLM, which is not installed: README.md has its CPU and its GPU build")
    if core_plan.is_cpu_build():
        if fp8:
            raise ConfigError("fp8: needs a GPU; the installed vLLM is the build for CPUs")
    elif not core_plan.has_gpu():
        raise ConfigError("the installed vLLM needs a GPU and none can be seen; README.md has its build for CPUs")


class VllmEngine:
    """Answers requests with vLLM; blocks while the engine starts.

    Parameters
    ----------
    model : weights that are here; see models/weights.py.
    fp8 : quantize the weights (GPU only).
    disable_mmcache : remember no videos between requests.
    model_does_preprocess : frames come as they are and the model's processor resizes them; otherwise their sides
        must be multiples of the model's factor and they are left alone.
    cores : cores of an engine on the CPU; the front-end takes the others.
    max_requests_in_flight, max_bytes_in_flight : more than these wait outside the engine, which holds a second
        copy of each video.
    engine_kwargs : further options of vLLM's `AsyncEngineArgs`; they win over ours.
    verbose : let vLLM write to the terminal; otherwise it goes to the `vllm` and `colcap` loggers.

    Raises
    ------
    ConfigError : this cannot work here; see `check_available`.
    EngineError : the engine does not start.
    """

    def __init__(
        self,
        model: ResolvedModel,
        *,
        fp8: bool = False,
        disable_mmcache: bool = False,
        model_does_preprocess: bool = False,
        cores: Sequence[int] | None = None,
        max_requests_in_flight: int = 256,
        max_bytes_in_flight: int = 4 << 30,
        engine_kwargs: Mapping[str, Any] = NO_OPTIONS,
        verbose: bool = False,
    ) -> None:
        check_available(fp8=fp8)
        self.model, self.revision = model.id, model.revision
        self._resolved, self._verbose = model, verbose
        self._cores = None if core_plan.has_gpu() else tuple(cores or core_plan.plan_cores().engine)
        self._args = options.engine_args(
            model,
            on_gpu=self._cores is None,
            fp8=fp8,
            disable_mmcache=disable_mmcache,
            model_does_preprocess=model_does_preprocess,
            overrides=engine_kwargs,
        )
        self._factor = 1 if model_does_preprocess else model.factor
        self._room = _Room(max_requests_in_flight, max_bytes_in_flight)
        self._restarts, self._ids = 0, itertools.count()
        self._host: EngineHost | None = None
        self._closed, self._closing = False, threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="vllm front-end", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        try:
            self._running = self._wait(self._first_start())
        except BaseException:  # Ctrl-C among them
            self.close()
            raise
        self._encoder = ChatEncoder(model.path)
        self.stats = EngineStats()

    # ---- for callers, on any thread

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Answer requests; see `Engine.generate`."""
        params = _sampling_params(sampling)
        prompts = [self._prepare(request) for request in requests]
        return self._wait(self._answer_all(prompts, params))

    def close(self) -> None:
        """Stop the engine; whoever waits for an answer gets an EngineError."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        atexit.unregister(self.close)
        if self._host is not None and not hasattr(self, "_running"):
            self._host.kill()  # the loop is busy starting it and hears nothing else
        asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop)
        if threading.current_thread() is not self._thread:
            self._thread.join(2 * GOODBYE_S)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        if self._closed:
            work.close()
            raise EngineError("the engine is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise EngineError("the engine was closed before it had answered") from None
        finally:
            future.cancel()  # Ctrl-C: nobody waits for the answers any more

    def _prepare(self, request: Request) -> dict[str, Any] | RowError:
        """A request as vLLM takes it."""
        try:
            prompt: dict[str, Any] = {"prompt_token_ids": self._encoder.encode(request)}
            if request.video is not None:
                prompt |= self._video_parts(request.video)
        except RowError as error:
            return error
        return prompt

    def _video_parts(self, video: Video) -> dict[str, Any]:
        _, height, width, _ = video.frames.shape
        if self._resolved.family == "text":
            raise RowError("rejected", f"{self.model} is a text model and cannot see a video")
        if height % self._factor or width % self._factor:
            raise RowError("rejected", f"sides must be multiples of {self._factor} pixels, got {width}x{height}")
        metadata = {
            "fps": video.source_fps,  # the source's: the processor derives the sampled rate from the indices
            "total_num_frames": video.source_frames,
            "frames_indices": video.frame_indices,
            "duration": video.source_frames / video.source_fps,
            "do_sample_frames": False,
        }
        return {
            "multi_modal_data": {"video": [(video.frames, metadata)]},
            "multi_modal_uuids": {"video": [video.content_id]},
        }

    # ---- on the loop's thread

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        os.sched_setaffinity(0, options.outside(self._cores))  # this thread and those that vLLM starts from it
        self._loop.run_forever()
        self._loop.close()

    async def _first_start(self) -> Running:
        return self._start()

    def _start(self) -> Running:
        """Start vLLM, blocking the loop: there is nothing else it could do meanwhile."""
        env = options.engine_env(self._cores, verbose=self._verbose)
        self._host = EngineHost(env=env, cores=self._cores, verbose=self._verbose)
        try:
            return boot(self._args, options.frontend_env(verbose=self._verbose), self._host)
        except Exception as error:
            words = self._host.last_words() or "it said nothing"
            raise EngineError(f"vLLM does not start: {error}\nLast lines of its engine:\n{printable(words)}") from error

    async def _answer_all(self, prompts: Sequence[dict[str, Any] | RowError], params: Any) -> list[Generation]:
        answers = await asyncio.gather(*(self._answer(p, params) for p in prompts), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if isinstance(answer, Generation)]

    async def _answer(self, prompt: dict[str, Any] | RowError, params: Any) -> Generation:
        self.stats.begin()
        answer = Generation()
        try:
            if isinstance(prompt, RowError):
                answer = Generation(error=prompt)
            else:
                async with self._room.taken(_bytes(prompt)):
                    answer = await self._ask(prompt, params)
        finally:
            self.stats.end(output_tokens=answer.output_tokens or 0)
        return answer

    async def _ask(self, prompt: dict[str, Any], params: Any) -> Generation:
        while True:
            running = self._running
            try:
                answers = running.llm.generate(prompt, params.clone(), f"colcap-{next(self._ids)}")
                return _generation([answer async for answer in answers][-1])
            except Exception as error:
                if not running.dead:
                    return Generation(error=_row_error(error))
            self._revive(running)

    def _revive(self, dead: Running) -> None:
        """Start a new engine in the place of a dead one, unless another request has done so already."""
        if self._running is not dead:
            return
        words = printable(dead.host.last_words()) or "it said nothing"
        if self._closed or self._restarts >= MAX_RESTARTS:
            raise EngineError(f"the engine died again after a restart. Last lines:\n{words}")
        self._restarts += 1
        log.warning("the engine died and is started again, once; its last lines:\n%s", words)
        dead.stop(patience_s=0)
        del self._running
        self._running = self._start()

    async def _shut_down(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 1)
        if hasattr(self, "_running"):
            self._running.stop(patience_s=GOODBYE_S if self._cores is None else 0)
        self._loop.stop()


class _Room:
    """Bounds requests in flight, by count and by bytes; first come, first served."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self._max_requests, self._max_bytes = max_requests, max_bytes
        self._requests = self._bytes = 0
        self._turn, self._freed = asyncio.Lock(), asyncio.Event()

    @asynccontextmanager
    async def taken(self, size: int) -> AsyncIterator[None]:
        """Wait for room, hold it; one request always finds some, however large."""
        async with self._turn:
            while self._requests and (self._requests >= self._max_requests or self._bytes + size > self._max_bytes):
                self._freed.clear()
                await self._freed.wait()
            self._requests, self._bytes = self._requests + 1, self._bytes + size
        try:
            yield
        finally:
            self._requests, self._bytes = self._requests - 1, self._bytes - size
            self._freed.set()


def _bytes(prompt: dict[str, Any]) -> int:
    videos = prompt.get("multi_modal_data", {}).get("video", ())
    return sum(int(frames.nbytes) for frames, _ in videos)


def _sampling_params(sampling: Sampling) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    try:
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_output_tokens,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
    except ValueError as error:
        raise ConfigError(f"{sampling}: {error}") from None


def _generation(output: Any) -> Generation:
    answer = output.outputs[0]
    text = answer.text.strip()
    return Generation(
        text=text,
        prompt_tokens=len(output.prompt_token_ids),
        output_tokens=len(answer.token_ids),
        finish_reason=answer.finish_reason,
        error=None if text else RowError("invalid_output", "the model's answer is empty"),
    )


def _row_error(error: Exception) -> RowError:
    """vLLM's refusal in our words; it has one class for all of them."""
    from vllm.exceptions import VLLMClientError

    cause = error.__cause__ or error
    text = str(cause) or type(cause).__name__
    if "longer than the maximum model length" in text or "encoder cache size" in text:
        return RowError("over_context", f"{text} Lower sampling_fps or window_size, or shorten the prompt.")
    return RowError("rejected" if isinstance(cause, VLLMClientError | ValueError) else "engine_failed", text)
