"""One life of vLLM: `AsyncLLM` on an event loop of its own thread, its engine in a process of its own.

A second life gets a second loop: what a dead one leaves registered on the first (file descriptors whose numbers
are given out again) has left requests waiting for ever.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from colcap.engines import options, terms
from colcap.engines import pixels as pixel_rules
from colcap.engines.base import Generation
from colcap.engines.boot import boot, shut_down
from colcap.engines.host import EngineHost
from colcap.engines.pixels import Sight
from colcap.engines.render_worker import Setup
from colcap.engines.rendering import InlineRendering, PooledRendering, Rendering, RenderProcess, bytes_per_value
from colcap.engines.room import Room
from colcap.errors import ConfigError, EngineError, RowError, printable

T = TypeVar("T")

GPU_GOODBYE_S: Final = 5.0
"""How long an engine on a GPU may take to give its memory back."""

MAX_REQUESTS_IN_FLIGHT: Final = 256
"""More than these wait outside the engine."""

MAX_BYTES_IN_FLIGHT: Final = 4 << 30
"""More bytes of video than these wait outside the engine, which holds a second copy of each."""

SEND_HOME_S: Final = 1.0
"""How long requests that nobody waits for any more may take to be taken back, in seconds."""

NOTICE_S: Final = 2.0
"""How long vLLM may take to notice that its engine's process has ended, in seconds."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How vLLM is started."""

    args: Mapping[str, Any]
    """Of its `AsyncEngineArgs`."""
    cores: tuple[int, ...] | None
    """Cores of the engine, which the front-end leaves alone; None where it runs on a GPU."""
    gpus: tuple[str, ...]
    """GPUs of the engine; none where it may use all."""
    verbose: bool
    """Let its processes say more, to the log."""
    sight: Sight | None
    """How it is shown frames; None for a text model."""
    renderers: int
    """Processes that render for it."""

    @property
    def goodbye_s(self) -> float:
        """How long its engine may take to end by itself, in seconds; one on a CPU has no memory to give back."""
        return GPU_GOODBYE_S if self.cores is None else 0.0


class FrontEnd:
    """Starts in the background; `wait` until it is ready."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._host: EngineHost | None = None
        self._llm: Any = None
        self._render_processes: list[RenderProcess] = []
        self._rendering: Rendering | None = None
        self._ids = itertools.count()
        self._asking: set[asyncio.Task[Any]] = set()
        self._waiting: set[Future[Any]] = set()
        self._died, self._stopped, self._stopping = False, False, threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._live, name="vllm front-end", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until the engine is ready, some ten seconds or, for large weights, minutes.

        Raises
        ------
        EngineError : it does not start; the message carries the last lines of its process.
        ConfigError : it cannot take pixels as it is told to.
        """
        try:
            self._ready.result()
        except ConfigError:
            raise
        except Exception as error:
            said = printable(self._said)
            about = f"\nLast lines of its engine:\n{said}" if said else ""
            raise EngineError(f"vLLM does not start: {printable(str(error))}{about}") from error

    @property
    def was_killed(self) -> bool:
        """Whether somebody, or the kernel, short of memory, has killed the engine's process."""
        return self._host is not None and self._host.was_killed

    @property
    def last_words(self) -> str:
        """What the engine's process said last."""
        return printable(self._said) or "it said nothing"

    @property
    def _said(self) -> str:
        return self._host.last_words() if self._host is not None else ""

    def ask(self, prompts: Sequence[dict[str, Any]], params: Any) -> list[Generation | None]:
        """Answer prompts, in order; None for those that the engine took with it when it died.

        Raises
        ------
        EngineError : the front-end was closed meanwhile.
        """
        try:
            future = self._submit(self._ask_all(prompts, params))
            try:
                return future.result()
            finally:
                future.cancel()  # Ctrl-C: nobody waits for the answers any more
                self._waiting.discard(future)
        except CancelledError:
            if self._died:  # another caller may have heard of it first, and cleared away what was left
                return [None] * len(prompts)
            raise EngineError("the engine was closed before it had answered") from None

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._stopping:  # work handed to a loop that has just ended would never be answered
            if not self._stopped and not self._died:
                future = asyncio.run_coroutine_threadsafe(work, self._loop)
                self._waiting.add(future)
                return future
        work.close()
        if self._died:
            raise CancelledError
        raise EngineError("the engine is closed")

    def stop(self, *, died: bool = False) -> None:
        """Stop the engine, also one that is still starting; whoever waits for an answer gets an EngineError.

        Where it has `died`, whoever waits gets what `ask` gives then, since another one will take its place.
        """
        with self._stopping:
            if self._stopped:
                return
            self._died, self._stopped = died, True
        if not self._ready.done() and self._host is not None:
            self._host.kill()  # the loop is busy starting it and hears nothing else
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2 * self._launch.goodbye_s + 10)

    # ---- on the loop's thread

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        cores, verbose = self._launch.cores, self._launch.verbose
        os.sched_setaffinity(0, options.outside(cores))  # this thread and those that vLLM starts from it
        try:
            env = options.engine_env(cores, gpus=self._launch.gpus, verbose=verbose)
            self._host = EngineHost(env=env, cores=cores, verbose=verbose)
            self._room = Room(MAX_REQUESTS_IN_FLIGHT, MAX_BYTES_IN_FLIGHT)
            self._render_processes = [self._new_renderer() for _ in range(self._launch.renderers)]
            self._llm = boot(self._launch.args, options.frontend_env(), self._host)
            self._rendering = self._open_rendering()
            self._loop.add_reader(self._host.sentinel, self._has_ended)
        except BaseException as error:
            self._send_home()  # callers of a dead engine's successor ask it before it is ready
            self._ready.set_exception(error)
        else:
            self._ready.set_result(None)
        self._loop.run_forever()
        self._loop.run_until_complete(self._end())
        self._loop.close()

    def _has_ended(self) -> None:
        """vLLM hears of its process's end by itself, but has been seen to leave requests waiting for ever."""
        assert self._host is not None
        self._loop.remove_reader(self._host.sentinel)
        self._loop.call_later(NOTICE_S, self._send_home)

    def _send_home(self) -> None:
        with self._stopping:
            self._died = True
        self._let_go()

    def _let_go(self) -> None:
        """Whoever waits for an answer hears that there is none, even where vLLM does not take the request back."""
        for future in list(self._waiting):
            future.cancel()

    def _new_renderer(self) -> RenderProcess:
        launch = self._launch
        assert launch.sight is not None  # a text model has no renderers
        env = options.engine_env(None, verbose=launch.verbose)
        return RenderProcess(Setup(dict(launch.args), launch.sight), env=env, verbose=launch.verbose)

    def _open_rendering(self) -> Rendering:
        renderer, sight = self._llm.renderer, self._launch.sight
        if sight is None:
            return InlineRendering(renderer, None)
        pixels = pixel_rules.pixels(renderer, sight)
        pixel_rules.check(renderer, pixels, sight)
        inline = InlineRendering(renderer, pixels)
        if not self._render_processes:
            return inline
        each = bytes_per_value(sight)
        return PooledRendering(self._render_processes, self._new_renderer, inline, bytes_per_value=each)

    async def _end(self) -> None:
        self._let_go()
        if self._asking:
            await asyncio.wait(self._asking, timeout=SEND_HOME_S)
        if self._rendering is not None:
            self._rendering.close()
        for process in self._render_processes:
            process.kill()
        if self._llm is not None:
            # On its own loop: from elsewhere vLLM leaves its sockets to a loop that no longer runs, and then the
            # interpreter never ends, waiting for them.
            shut_down(self._llm, patience_s=self._launch.goodbye_s)
            await asyncio.sleep(0)
        if self._host is not None:
            self._host.kill()

    async def _ask_all(self, prompts: Sequence[dict[str, Any]], params: Any) -> list[Generation | None]:
        task = asyncio.current_task()
        assert task is not None
        self._asking.add(task)
        try:
            return await asyncio.gather(*(self._ask(prompt, params) for prompt in prompts))
        finally:
            self._asking.discard(task)

    async def _ask(self, prompt: dict[str, Any], params: Any) -> Generation | None:
        async with self._room.taken(terms.num_bytes(prompt)):
            started = time.monotonic()
            for last_try in (False, True):
                try:
                    request_id = f"colcap-{next(self._ids)}"
                    output = await terms.generate(self._llm, self._rendering, prompt, params.clone(), request_id)
                except RowError as error:
                    return Generation(error=error)
                except Exception as error:
                    return None if self._dead else Generation(error=terms.row_error(error))
                # Its two caches of videos can drift apart; vLLM then answers "error" and wants to be asked again.
                if output.outputs[0].finish_reason != "error" or last_try:
                    break
            return replace(terms.generation(output), seconds=time.monotonic() - started)

    @property
    def _dead(self) -> bool:
        assert self._host is not None
        return bool(self._llm.errored) or not self._host.is_alive()
