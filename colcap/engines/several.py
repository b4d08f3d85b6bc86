"""Several engines as one: each request goes to the one that has the least to do."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

from colcap.engines.base import Engine, EngineStats, Generation, Request, Sampling
from colcap.errors import ConfigError
from colcap.flags import named


@dataclass(slots=True)
class SharedStats(EngineStats):
    """What several engines have done together; its idle time is the mean of theirs."""

    parts: tuple[EngineStats, ...] = field(default=())
    """Of each engine."""

    @property
    def idle_s(self) -> float:
        """Seconds in which an engine had no request in flight, on average."""
        return sum(part.idle_s for part in self.parts) / len(self.parts)


class SeveralEngines:
    """Shares requests out; a batch is answered when its last request is.

    An engine that dies is its own to restart; what it raises when it dies for good ends the call.

    Parameters
    ----------
    engines : running ones, of one model; they are closed together.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self.engines = tuple(engines)
        self.model, self.revision = engines[0].model, engines[0].revision
        self.stats: EngineStats = SharedStats(parts=tuple(engine.stats for engine in engines))
        self._in_flight, self._lock = [0] * len(engines), Lock()
        self._threads = ThreadPoolExecutor(64, thread_name_prefix="engine")

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Answer requests; see `Engine.generate`."""
        places = [self._take() for _ in requests]
        self.stats.begin(len(requests))
        answers: list[Generation] = []
        try:
            answers = self._ask(requests, places, sampling)
        finally:
            self.stats.end(len(requests), output_tokens=sum(answer.output_tokens or 0 for answer in answers))
        return answers

    def close(self) -> None:
        """Close them all."""
        for engine in self.engines:
            engine.close()
        self._threads.shutdown(wait=False)

    def _take(self) -> int:
        """The engine with the fewest requests."""
        with self._lock:
            place = min(range(len(self.engines)), key=self._in_flight.__getitem__)
            self._in_flight[place] += 1
            return place

    def _ask(self, requests: Sequence[Request], places: Sequence[int], sampling: Sampling) -> list[Generation]:
        shares = {place: [i for i, p in enumerate(places) if p == place] for place in sorted(set(places))}
        asked = {
            place: self._threads.submit(self._answer, place, [requests[i] for i in share], sampling)
            for place, share in shares.items()
        }
        answers = {
            i: answer for place, share in shares.items() for i, answer in zip(share, asked[place].result(), strict=True)
        }
        return [answers[i] for i in range(len(requests))]

    def _answer(self, place: int, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        try:
            return self.engines[place].generate(requests, sampling)
        finally:
            with self._lock:
                self._in_flight[place] -= len(requests)


@dataclass(frozen=True, slots=True)
class Devices:
    """What one of several engines runs on: cores, or GPUs."""

    cores: tuple[int, ...] = ()
    """Of an engine on the CPU."""
    gpus: tuple[str, ...] = ()
    """As CUDA_VISIBLE_DEVICES names them; none where it may use all there are."""


def share_out(
    engines: int | None, tensor_parallel_size: int, *, cores: Sequence[int], gpus: Sequence[str]
) -> list[Devices]:
    """What each engine runs on.

    Parameters
    ----------
    engines : how many; None for one per `tensor_parallel_size` GPUs, and one where there are none.
    tensor_parallel_size : GPUs that hold one model together.
    cores : of engines on the CPU; none where there are GPUs.
    gpus : those that can be seen.

    Raises
    ------
    ConfigError : there are not so many GPUs or cores.

    Examples
    --------
    >>> [device.gpus for device in share_out(None, 2, cores=(), gpus=("0", "1", "2", "3"))]
    [('0', '1'), ('2', '3')]
    >>> [device.cores for device in share_out(2, 1, cores=(0, 1, 2), gpus=())]
    [(0, 2), (1,)]
    """
    if cores:
        return _share_cores(engines or 1, tensor_parallel_size, cores)
    count = max(1, len(gpus) // tensor_parallel_size) if engines is None else engines
    if count * tensor_parallel_size > len(gpus):
        raise ConfigError(
            f"{named('runtime.engines')}: {count} engines of runtime.tensor_parallel_size {tensor_parallel_size} "
            f"need {count * tensor_parallel_size} GPUs, and {len(gpus)} can be seen"
        )
    starts = range(0, count * tensor_parallel_size, tensor_parallel_size)
    return [Devices(gpus=tuple(gpus[start : start + tensor_parallel_size])) for start in starts]


def _share_cores(count: int, tensor_parallel_size: int, cores: Sequence[int]) -> list[Devices]:
    if tensor_parallel_size > 1:
        name = named("runtime.tensor_parallel_size")
        raise ConfigError(f"{name}: got {tensor_parallel_size}; an engine on the CPU takes 1")
    if count > len(cores):
        raise ConfigError(f"{named('runtime.engines')}: got {count}; there are {len(cores)} cores for engines")
    return [Devices(cores=tuple(cores[place::count])) for place in range(count)]
