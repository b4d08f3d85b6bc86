"""Parameters of the machine: what one clip may cost, and how work is spread. No caption depends on them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from colcap.sections import PositiveFloat, Section


class Limits(Section):
    """What one clip may cost before it becomes an error row."""

    max_bytes: Annotated[int, Field(ge=1)] = 4 << 30
    """Largest source, in bytes."""
    max_pixels: Annotated[int, Field(ge=1)] = 8192 * 4608
    """Largest frame: its width times its height."""
    max_duration_s: PositiveFloat = 6 * 3600.0
    """Longest clip, in seconds."""
    timeout_s: PositiveFloat = 600.0
    """Longest wall time for all media work on one clip, in seconds."""
    max_worker_bytes: Annotated[int, Field(ge=1 << 28)] = 8 << 30
    """Memory one media worker may use, in bytes."""
    http: bool = False
    """Read clips from http:// and https:// too: then whoever wrote the manifest chooses what this machine asks."""


class Runtime(Section):
    """How work is spread over this machine; belongs to no fingerprint."""

    media_workers: Annotated[int, Field(ge=1)] | None = None
    """Worker processes that decode and encode; default: the cores the engine leaves over."""
    media_threads: bool = False
    """Do media work in threads of the run's own process, in local runs. It starts at once and copies no results, but
    a clip that crashes or hangs its decoder takes the run with it: for clips that are trusted."""
    engine_cores: Annotated[int, Field(ge=1)] | None = None
    """Cores kept for engines that run on the CPU; default: half of them, at least one for each."""
    engines: Annotated[int, Field(ge=1)] | None = None
    """Engines that share the requests; default: one per tensor_parallel_size visible GPUs, one on a CPU."""
    tensor_parallel_size: Annotated[int, Field(ge=1)] = 1
    """GPUs that hold one model together."""
    max_queue_bytes: Annotated[int, Field(ge=1)] = 1 << 30
    """Bytes of media results that may wait for the engine or the disk."""
    renderers: Annotated[int, Field(ge=0)] | None = None
    """Processes per engine that turn frames into its input, 0 for none; default: 2 on a GPU, none on a CPU."""
    engine_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further options for the engine, validated by the engine; for openai, further fields of each request."""
