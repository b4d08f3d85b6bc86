"""Starting vLLM's front-end in this process and its engine in another."""

from __future__ import annotations

import gc
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from colcap.engines.host import EngineHost

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM


def boot(args: Mapping[str, Any], env: Mapping[str, str], host: EngineHost) -> AsyncLLM:
    """Import vLLM and start it on `host`; blocks for some ten seconds, and much longer for large weights.

    Several may boot at once: they import one after another and load their weights side by side.

    Raises
    ------
    Exception : whatever vLLM says; `host.last_words()` often says more. The host is then dead.
    """
    try:
        with _surroundings.shared(env):
            config, executor = _configure(args, host)
            from vllm.v1.engine.async_llm import AsyncLLM

            with host.offered():
                return AsyncLLM(config, executor, log_stats=False, log_requests=False)
    except BaseException:
        host.kill()
        raise


def _configure(args: Mapping[str, Any], host: EngineHost) -> tuple[Any, Any]:
    with _importing:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.executor import Executor

        assert AsyncLLM
        if not host.is_alive():  # it failed in its imports, or was killed by someone who could not wait
            raise RuntimeError(f"the engine's process ended with exit code {host.exitcode}")
        config = AsyncEngineArgs(**args).create_engine_config()
        parallel = config.parallel_config
        if config.device_config.device_type == "cpu" and parallel.distributed_executor_backend == "mp":
            # vLLM puts a lone CPU worker in a process of its own, only to set its OpenMP variables, and the
            # process between spins on a core while it waits: 12 s more to start, and a core less.
            parallel.distributed_executor_backend = "uni"
        return config, Executor.get_class(config)


def shut_down(llm: AsyncLLM, *, patience_s: float) -> None:
    """End a front-end and its engine, which may take `patience_s` seconds for that."""
    llm.shutdown(timeout=patience_s)
    # vLLM calls it again when the object is collected: at the interpreter's end that prints a traceback.
    llm.shutdown = lambda *_, **__: None


class _Surroundings:
    """What vLLM needs around it while it starts, set by the first that boots and undone by the last."""

    def __init__(self) -> None:
        self._lock, self._booting, self._undo = threading.Lock(), 0, ExitStack()

    @contextmanager
    def shared(self, env: Mapping[str, str]) -> Iterator[None]:
        """Environment variables, quiet loggers and no garbage collection, for the whole process."""
        with self._lock:
            if self._booting == 0:
                for around in (_environment(env), _hushed(), _without_collector()):
                    self._undo.enter_context(around)
            self._booting += 1
        try:
            yield
        finally:
            with self._lock:
                self._booting -= 1
                if self._booting == 0:
                    self._undo.close()


_surroundings = _Surroundings()
_importing = threading.Lock()


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    """Set variables that are not set, and undo that and whatever vLLM sets besides, LD_PRELOAD among it."""
    before = dict(os.environ)
    for name, value in env.items():
        os.environ.setdefault(name, value)
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep vLLM's and torch's loggers from the terminal; vLLM's go on to whatever the program's logging does."""
    vllm, torch = logging.getLogger("vllm"), logging.getLogger("torch")
    if not vllm.handlers:  # without one, logging's last resort prints to the terminal
        vllm.addHandler(logging.NullHandler())
    level = torch.level
    torch.setLevel(logging.ERROR)  # where torch was imported before, its variable in the environment comes too late
    try:
        yield
    finally:
        torch.setLevel(level)


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
