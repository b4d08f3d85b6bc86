"""Starting vLLM's front-end in this process and its engine in another."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from colcap.engines.host import EngineHost

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

GOODBYE_S: Final = 5.0
"""How long an engine on a GPU may take to give its memory back, in seconds; one on a CPU has nothing to give."""


@dataclass(frozen=True, slots=True)
class Running:
    """vLLM, running."""

    llm: AsyncLLM
    """The front-end, on the event loop of the thread that started it."""
    host: EngineHost
    """The engine's process."""

    @property
    def dead(self) -> bool:
        """Whether the engine is gone, so that no request can be answered."""
        return bool(self.llm.errored) or not self.host.is_alive()

    def stop(self, *, patience_s: float) -> None:
        """Stop the engine's process and the front-end's threads."""
        self.llm.shutdown(timeout=patience_s)
        self.host.kill()
        # vLLM calls it again when the object is collected: at the interpreter's end that prints a traceback.
        self.llm.shutdown = lambda *_, **__: None


def boot(args: Mapping[str, Any], env: Mapping[str, str], host: EngineHost) -> Running:
    """Import vLLM and start it on `host`; blocks for some ten seconds, and much longer for large weights.

    Raises
    ------
    Exception : whatever vLLM says; `host.last_words()` often says more. The host is then dead.
    """
    try:
        with _environment(env), _without_collector():
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.v1.engine.async_llm import AsyncLLM
            from vllm.v1.executor import Executor

            config = AsyncEngineArgs(**args).create_engine_config()
            if config.device_config.device_type == "cpu" and config.parallel_config.world_size == 1:
                # vLLM puts a lone CPU worker in a process of its own, only to set its OpenMP variables, and the
                # process between spins on a core while it waits: 12 s more to start, and a core less.
                config.parallel_config.distributed_executor_backend = "uni"
            with host.offered():
                llm = AsyncLLM(config, Executor.get_class(config), log_stats=False, log_requests=False)
    except BaseException:
        host.kill()
        raise
    return Running(llm, host)


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    """Set variables that are not set, and undo that and whatever vLLM sets besides, LD_PRELOAD among it."""
    before = dict(os.environ)
    for name, value in env.items():
        os.environ.setdefault(name, value)
    logger = logging.getLogger("vllm")
    if not logger.handlers:  # without one, logging's last resort prints to the terminal
        logger.addHandler(logging.NullHandler())
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Importing vLLM makes millions of objects that stay; looking through them for garbage takes 1 to 4 s."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
