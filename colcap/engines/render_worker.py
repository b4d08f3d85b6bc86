"""A process that renders: it has vLLM's processor and tokenizer, and no engine. See rendering.py for the other end."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import Any

from colcap.engines import pixels as pixel_rules
from colcap.engines.child import die_with
from colcap.engines.pixels import Sight
from colcap.engines.slots import Slot, SlotPickler


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker renders for."""

    args: dict[str, Any]
    """Of vLLM's `AsyncEngineArgs`, as the engine has them."""
    sight: Sight
    """How the model is shown frames."""


@dataclass(frozen=True, slots=True)
class Job:
    """A prompt whose frames are in a slot; the slot's descriptor follows on the socket."""

    prompt: dict[str, Any]
    """As vLLM takes it, without the frames."""
    shape: tuple[int, ...]
    """Of the frames."""
    metadata: dict[str, Any]
    """Of the video."""
    capacity: int
    """Bytes of the slot."""


def renderer_of(args: Mapping[str, Any]) -> Any:
    """vLLM's renderer for an engine with these options."""
    from vllm.config import VllmConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.renderers import renderer_from_config

    # A cache would send the second use of an item as nothing, to an engine that does not have it.
    own = {**args, "mm_processor_cache_gb": 0, "mm_tensor_ipc": "direct_rpc"}
    return renderer_from_config(VllmConfig(model_config=AsyncEngineArgs(**own).create_model_config()))


class Worker:
    """Renders one job after another."""

    def __init__(self, setup: Setup) -> None:
        self._renderer = renderer_of(setup.args)
        self._pixels = pixel_rules.pixels(self._renderer, setup.sight)
        pixel_rules.check(self._renderer, self._pixels, setup.sight)

    def render(self, job: Job, slot: Slot) -> bytes:
        """The engine's input, its tensors in the slot, where the frames were; or the error, pickled the same way."""
        frames = self._pixels.prepared(slot.bytes[: prod(job.shape)].reshape(job.shape))
        prompt = {**job.prompt, "multi_modal_data": {"video": [(frames, job.metadata)]}}
        out = io.BytesIO()
        try:
            (made,) = self._renderer.render_cmpl([prompt])
        except Exception as error:
            from colcap.engines.terms import row_error

            SlotPickler(out, slot).dump(row_error(error))
        else:
            SlotPickler(out, slot).dump(made)
        return out.getvalue()


def main(parent: int, fd: int) -> None:
    """Say when ready, then answer jobs until the other end closes."""
    die_with(parent)
    connection = Connection(fd)
    setup: Setup = connection.recv()
    worker = Worker(setup)
    connection.send(os.getpid())
    with suppress(EOFError):
        while True:
            job: Job = connection.recv()
            slot = Slot(job.capacity, fd=recv_handle(connection))
            connection.send_bytes(worker.render(job, slot))
            del slot


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
