"""What an engine is: requests in, generations out. One small file per engine implements it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from colcap.errors import RowError


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Video:
    """Sampled frames of one window, and where they come from.

    Examples
    --------
    >>> frames = np.zeros((4, 56, 84, 3), np.uint8)
    >>> Video(frames, frame_indices=[0, 10, 20, 30], source_frames=31, source_fps=30.0, content_id="w")
    Video(frames=uint8 (4, 56, 84, 3), 31 source frames at 30 fps)
    """

    frames: NDArray[np.uint8]
    """uint8 RGB, shape (frames, height, width, 3)."""
    frame_indices: list[int]
    """Position of each frame in the window, ascending, counted from the window's first frame."""
    source_frames: int
    """Frames of the whole window."""
    source_fps: float
    """Frames per second of the source."""
    content_id: str
    """Names these pixels: two videos with one id are taken for the same one by an engine's caches."""

    def __post_init__(self) -> None:
        shape = self.frames.shape
        if self.frames.dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or 0 in shape:
            raise ValueError(f"frames must be uint8 (T, H, W, 3), got {self.frames.dtype} {shape = }")
        if len(self.frame_indices) != shape[0]:
            raise ValueError(f"{shape[0]} frames need as many frame_indices, got {len(self.frame_indices)}")
        if self.frame_indices[0] < 0 or self.frame_indices[-1] >= self.source_frames:
            raise ValueError(f"frame_indices must be below {self.source_frames = }, got {self.frame_indices}")
        if not 0 < self.source_fps < float("inf"):
            raise ValueError(f"source_fps must be positive and finite, got {self.source_fps}")
        if not self.content_id:
            raise ValueError("content_id must not be empty")

    def __repr__(self) -> str:
        shape = f"{self.frames.dtype} {self.frames.shape}"
        return f"Video(frames={shape}, {self.source_frames} source frames at {self.source_fps:g} fps)"


@dataclass(frozen=True, slots=True)
class Request:
    """One question to the model. Its texts are data: nothing in them becomes a control token."""

    text: str
    """What the user says."""
    system: str | None = None
    """What the system says; None leaves it to the model's chat template."""
    video: Video | None = None
    """What the user shows, before the text."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How text is generated."""

    temperature: float = 0.1
    """Randomness; 0 takes the likeliest token."""
    top_p: float = 0.001
    """Share of the probability that is drawn from; this small a one leaves the likeliest token."""
    repetition_penalty: float = 1.05
    """Above 1 makes tokens that were already there less likely."""
    max_output_tokens: int = 512
    """Longest answer, in tokens; a longer one is cut and its finish_reason is `length`."""
    json_schema: str | None = None
    """JSON schema, as JSON, that the answer has to obey; None for free text."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer."""

    text: str | None = None
    """What the model said."""
    prompt_tokens: int | None = None
    """Tokens of the request, those of its video included."""
    output_tokens: int | None = None
    """Tokens of the answer."""
    finish_reason: str | None = None
    """`stop` or `length`."""
    error: RowError | None = None
    """Why there is no text to use: over_context, rejected, invalid_output or engine_failed."""
    seconds: float | None = field(default=None, compare=False)
    """From the moment there was room for the request until its answer; None where it never was asked."""


@dataclass(slots=True)
class EngineStats:
    """What an engine has done since it was ready; safe to read and to add to from several threads.

    Examples
    --------
    >>> stats = EngineStats()
    >>> stats.begin()
    >>> stats.end(output_tokens=12)
    >>> stats.requests_done, stats.output_tokens
    (1, 12)
    """

    requests_done: int = 0
    """Requests answered, errors included."""
    output_tokens: int = 0
    """Tokens of all answers."""
    _ready_at: float = field(default_factory=time.monotonic)
    _in_flight: int = 0
    _idle_s: float = 0.0
    _idle_since: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, count: int = 1) -> None:
        """Count requests that are now in flight."""
        with self._lock:
            if self._in_flight == 0:
                self._idle_s += time.monotonic() - self._idle_since
            self._in_flight += count

    def end(self, count: int = 1, *, output_tokens: int = 0) -> None:
        """Count requests that are answered."""
        with self._lock:
            self._in_flight -= count
            self.requests_done += count
            self.output_tokens += output_tokens
            if self._in_flight == 0:
                self._idle_since = time.monotonic()

    @property
    def ready_s(self) -> float:
        """Seconds since the engine was ready."""
        return time.monotonic() - self._ready_at

    @property
    def idle_s(self) -> float:
        """Seconds since then in which no request was in flight."""
        with self._lock:
            return self._idle_s + (0.0 if self._in_flight else time.monotonic() - self._idle_since)

    @property
    def idle_share(self) -> float:
        """Share of its time, 0 to 1, in which it had nothing to do."""
        return min(1.0, self.idle_s / max(self.ready_s, 1e-9))


class Engine(Protocol):
    """Something that answers requests."""

    model: str
    """The model's id."""
    revision: str | None
    """The revision of its weights."""
    stats: EngineStats
    """What it has done."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """Answer requests; blocks, keeps the order, and may be called from several threads at once.

        A request that cannot be answered gives a `Generation` with an `error`.

        Raises
        ------
        EngineError : the engine is dead for good.
        """
        ...

    def close(self) -> None:
        """Stop the engine and its processes; may be called twice."""
        ...
