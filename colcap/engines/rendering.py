"""Prompts become engine inputs: the model's processor cuts frames into patches, and tokens get their places.

`InlineRendering` does that in this process, on the one thread that vLLM has for it: enough for an engine on the CPU.
`PooledRendering` does it in processes of its own, for engines that are faster than that thread.
"""

from __future__ import annotations

import asyncio
import io
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from math import prod
from multiprocessing.connection import Connection
from multiprocessing.reduction import send_handle
from typing import Any, Final, Protocol

from colcap.engines.child import Child
from colcap.engines.pixels import Pixels, Sight, in_floats
from colcap.engines.render_worker import Job, Setup
from colcap.engines.slots import Slot, SlotPickler, Slots, SlotUnpickler
from colcap.errors import RowError, printable

log = logging.getLogger(__name__)

MAX_DEATHS: Final = 3
"""Renderers that may die before the rest is rendered in this process."""

SMALL_TENSORS: Final = 1 << 16
"""Room for what comes along with the patches, in bytes."""

BYTES_PER_FLOAT: Final = 2
"""Floats reach the engine in the model's type, which is bfloat16."""


class Rendering(Protocol):
    """Turns prompts into what `AsyncLLM.generate` takes."""

    def rendered(self, prompt: dict[str, Any]) -> AbstractAsyncContextManager[dict[str, Any]]:
        """The engine's input, good until the block is left."""
        ...

    def close(self) -> None:
        """Stop; whoever waits gets an error."""
        ...


class InlineRendering:
    """Renders in this process.

    Parameters
    ----------
    renderer : vLLM's.
    pixels : what is done with frames first; None for a model that sees none.
    """

    def __init__(self, renderer: Any, pixels: Pixels | None) -> None:
        self._renderer, self._pixels = renderer, pixels

    @asynccontextmanager
    async def rendered(self, prompt: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The engine's input."""
        (made,) = await self._renderer.render_cmpl_async([await self._prepared(prompt)])
        yield made

    def close(self) -> None:
        """Nothing to stop."""

    async def _prepared(self, prompt: dict[str, Any]) -> dict[str, Any]:
        video = prompt.get("multi_modal_data", {}).get("video")
        if video is None or self._pixels is None or self._pixels.dtype == "uint8":
            return dict(prompt)
        [(frames, metadata)] = video
        floats = await asyncio.to_thread(self._pixels.prepared, frames)
        return {**prompt, "multi_modal_data": {"video": [(floats, metadata)]}}


class RenderProcess:
    """One worker and the line to it.

    It must be made by a thread that outlives it, see `Child`.
    """

    def __init__(self, setup: Setup, *, env: Mapping[str, str], verbose: bool) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            module = "colcap.engines.render_worker"
            self.child = Child(module, [str(fd)], env={**env, "OMP_NUM_THREADS": "1"}, verbose=verbose, fds=[fd])
        self._connection = Connection(ours.detach())
        self._setup = setup

    def start(self) -> None:
        """Wait until it can render; raises OSError or EOFError where it dies before."""
        self._connection.send(self._setup)
        self._connection.recv()

    def render(self, prompt: dict[str, Any], slot: Slot) -> Any:
        """An engine's input whose tensors are in the slot; raises OSError or EOFError where the worker dies."""
        [(frames, metadata)] = prompt["multi_modal_data"]["video"]
        slot.write(frames)
        rest = {name: value for name, value in prompt.items() if name != "multi_modal_data"}
        self._connection.send(Job(rest, frames.shape, metadata, slot.capacity))
        send_handle(self._connection, slot.fd, self.child.pid)
        return SlotUnpickler(io.BytesIO(self._connection.recv_bytes()), slot).load()

    def kill(self) -> None:
        """End it; whoever waits for it gets an error."""
        self.child.kill()


class PooledRendering:
    """Renders in processes; what none of them can do is done in this one.

    Frames go to a process through a slot of shared memory and come back in it as patches. The slot belongs to its
    request until that is answered, since the engine may read it, and is thrown away where that did not end well.

    Parameters
    ----------
    processes : that were just made, on the event loop's thread, which outlives them.
    new : makes another, for one that died.
    inline : does what they cannot: requests without a video, and the request of a process that died.
    bytes_per_value : of the patches; see `bytes_per_value`.
    """

    def __init__(
        self,
        processes: Sequence[RenderProcess],
        new: Callable[[], RenderProcess],
        inline: Rendering,
        *,
        bytes_per_value: int,
    ) -> None:
        self._new, self._inline, self._bytes_per_value = new, inline, bytes_per_value
        self._loop = asyncio.get_event_loop()
        self._slots, self._deaths, self._closed = Slots(), 0, False
        self._threads = ThreadPoolExecutor(len(processes), thread_name_prefix="renderer")
        self._idle: asyncio.Queue[RenderProcess | None] = asyncio.Queue()
        self._alive: set[RenderProcess] = set()
        for process in processes:
            self._start(process)

    @asynccontextmanager
    async def rendered(self, prompt: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The engine's input."""
        if "multi_modal_data" not in prompt:
            async with self._inline.rendered(prompt) as made:
                yield made
            return
        slot = self._slots.take(self._num_bytes(prompt))
        made = await self._render(prompt, slot) or await self._render_here(prompt, slot)
        if not isinstance(made, RowError):
            yield made
        self._slots.give_back(slot)
        if isinstance(made, RowError):
            raise made

    async def _render_here(self, prompt: dict[str, Any], slot: Slot) -> Any:
        """Without a process: into the slot all the same, since torch would lend from /dev/shm, which may be tiny."""
        async with self._inline.rendered(prompt) as made:
            out = io.BytesIO()
            SlotPickler(out, slot).dump(made)
            out.seek(0)
            return SlotUnpickler(out, slot).load()

    def close(self) -> None:
        """End the processes."""
        self._closed = True
        for process in self._alive:
            process.kill()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._inline.close()

    async def _render(self, prompt: dict[str, Any], slot: Slot) -> Any:
        """An engine's input, a RowError, or None where no process could do it."""
        process = await self._idle.get()
        if process is None:  # none is left, and the next who looks is to know it, too
            self._idle.put_nowait(None)
            return None
        work = self._loop.run_in_executor(self._threads, process.render, prompt, slot)
        work.add_done_callback(partial(self._take_back, process))
        try:
            return await asyncio.shield(work)  # a request may be cancelled; its process answers first
        except (OSError, EOFError):
            return None

    # ---- processes

    def _start(self, process: RenderProcess) -> None:
        self._alive.add(process)
        ready = self._loop.run_in_executor(self._threads, process.start)
        ready.add_done_callback(partial(self._take_back, process))

    def _take_back(self, process: RenderProcess, work: asyncio.Future[Any]) -> None:
        """A process has answered, or has died of it."""
        if not work.cancelled() and not isinstance(work.exception(), OSError | EOFError):
            self._idle.put_nowait(process)
            return
        process.kill()
        self._alive.discard(process)
        if self._closed:
            return
        self._deaths += 1
        told = printable(process.child.last_words()) or "it said nothing"
        log.warning("a renderer died (%d of %d that may). Its last lines:\n%s", self._deaths, MAX_DEATHS, told)
        if self._deaths < MAX_DEATHS:
            self._start(self._new())
        elif not self._alive:
            self._idle.put_nowait(None)

    def _num_bytes(self, prompt: dict[str, Any]) -> int:
        """Room for the frames and, in their place, the patches of an even number of them, and some small tensors."""
        [(frames, _)] = prompt["multi_modal_data"]["video"]
        count, *sides = (int(side) for side in frames.shape)
        return (count + count % 2) * prod(sides) * self._bytes_per_value + SMALL_TENSORS


def bytes_per_value(sight: Sight) -> int:
    """Bytes of each value that an engine is sent.

    >>> bytes_per_value(Sight("uint8", False, 28))
    1
    """
    return BYTES_PER_FLOAT if in_floats(sight.preprocess_dtype) else 1
