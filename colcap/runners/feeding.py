"""How an engine is fed: with as many requests as keep it busy, since a batch is only done when its last one is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from colcap.config import Captioning, Config, Enhancement
from colcap.engines.cores import visible_gpus

REQUESTS_IN_FLIGHT: Final = 128
"""Windows given to an engine at once, over all batches. It works on 64 on a CPU; with as many again it made 1.3 and 1.8
times the captions a second, likely because one that ends makes room for one that is rendered already. (Measured while
media work still shared the engine's cores.)"""

MAX_BATCHES: Final = 8
"""Batches under way at an engine, at most; each is a thread."""

SERVED_BATCH: Final = 4
"""Requests given to a server at a time, at most: the smaller, the sooner the next ones follow; one costs a few ms."""


@dataclass(frozen=True, slots=True)
class Feeding:
    """How many requests the engine is given at once."""

    threads: int
    """Batches under way: at least two, so that the tail of one overlaps the head of the next."""
    batch_size: int
    """Requests of a batch, at most."""


def caption_feeding(configs: Sequence[Config]) -> Feeding:
    """How windows are fed to the engines that caption, one for each of the configurations, which all see each window.

    >>> served = Config.model_validate({"captioning": {"engine": "openai"}})
    >>> caption_feeding([served]), caption_feeding([served, served])
    (Feeding(threads=32, batch_size=4), Feeding(threads=64, batch_size=4))
    """
    fed = [_feeding(config, config.captioning, config.captioning.caption_batch_size) for config in configs]
    return Feeding(sum(each.threads for each in fed), min((each.batch_size for each in fed), default=1))


def enhance_feeding(config: Config) -> Feeding:
    """How captions are fed to the engine that enhances.

    >>> enhance_feeding(Config())
    Feeding(threads=2, batch_size=128)
    """
    return _feeding(config, config.enhancement, config.enhancement.model_batch_size)


def _feeding(config: Config, chosen: Captioning | Enhancement, batch_size: int) -> Feeding:
    """For a server that answers C requests at once: twice that many, four at a time.

    Where answers differ in length as captions do, none of its slots then waits for a request; with as many as slots,
    sixteen at a time, they would for 60% of the time.
    """
    if chosen.engine == "vllm":
        engines = config.runtime.engines or max(1, len(visible_gpus()) // config.runtime.tensor_parallel_size)
        return Feeding(engines * max(2, min(MAX_BATCHES, -(-REQUESTS_IN_FLIGHT // batch_size))), batch_size)
    at_once = chosen.server.max_concurrent_requests
    batch_size = min(batch_size, SERVED_BATCH, max(1, at_once // 8))
    return Feeding(max(2, -(-2 * at_once // batch_size)), batch_size)
