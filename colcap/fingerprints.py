"""What decides a result, hashed: the same choices give the same fingerprint, and nothing is made again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from colcap.config import Config


def fingerprint(values: Mapping[str, Any]) -> str:
    """A short stable hash of what can change a result: 16 hex digits.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def media_facts(config: Config) -> dict[str, Any]:
    """What decides the windows and the frames sampled from them."""
    c = config.captioning
    return {
        "window_size": c.window_size,
        "remainder_threshold": c.remainder_threshold,
        "sampling_fps": c.sampling_fps,
        "cut": config.cut,
        **({} if config.store_mp4 else {"store_mp4": False}),  # not there before: runs of then keep their fingerprint
    }


def preview_facts(config: Config) -> dict[str, Any]:
    """What decides the bytes of a preview."""
    return config.preview.model_dump(exclude={"verbose", "num_cpus_per_worker"})
