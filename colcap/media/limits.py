"""What one clip may cost. Every bound is checked before the work it bounds is done."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one clip; more is a `too_large` row, never a dead worker."""

    max_bytes: int = 4 << 30
    """Encoded size of the clip, in bytes."""
    max_pixels: int = 8192 * 4608
    """Width times height of a frame, at the start and after any change within the clip."""
    max_duration_s: float = 6 * 3600.0
    """Seconds from the first displayed frame to the end of the last."""
    max_packets: int = 3_000_000
    """Packets of the video stream: six hours at 120 fps."""
    max_streams: int = 64
    """Streams of the container, of any kind."""
    max_output_bytes: int = 4 << 30
    """All products of the clip together (mp4, WebP, sampled frames), in bytes."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"{field.name} must be positive, got {getattr(self, field.name)!r}")
