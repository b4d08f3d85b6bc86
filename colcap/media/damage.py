"""What a clip has lost: its container says how much there should be."""

from __future__ import annotations

import re
from typing import Final

import av
from av.container import InputContainer
from av.video.stream import VideoStream

SLACK_S: Final = 0.5
"""Declared durations are rounded, and count the longest stream."""
SLACK_SHARE: Final = 0.01
"""An AVI's count includes empty packets, which repeat a frame."""


def damage(container: InputContainer, stream: VideoStream, num_packets: int, trouble: str | None) -> str | None:
    """What is missing of a clip, in words, or None.

    Parameters
    ----------
    container, stream : the open clip and its video.
    num_packets : packets that could be read.
    trouble : what stopped reading, if something did.
    """
    declared = stream.frames
    if trouble is not None:
        return f"{trouble} ({num_packets} of {declared} declared frames)" if declared > num_packets else trouble
    if container.format.name == "avi" and declared - num_packets > 2 + SLACK_SHARE * declared:
        return f"truncated: {num_packets} of {declared} declared frames are there"
    return None


def missing_seconds(container: InputContainer, stream: VideoStream, end_s: float, frame_s: float) -> str | None:
    """How much shorter the video is than declared, in words, or None.

    Parameters
    ----------
    end_s : where the last frame that was read stops being shown, on the container's clock.
    frame_s : how long a frame is shown.
    """
    declared = _tagged_end(stream)
    slack = 0.0 if declared is not None else SLACK_S
    declared = _container_end(container) if declared is None else declared
    if declared is None or declared - end_s <= max(slack, 2 * frame_s):
        return None
    return f"truncated: {end_s:.2f} of {declared:.2f} declared seconds are there"


def _tagged_end(stream: VideoStream) -> float | None:
    """Seconds; Matroska's tag of a stream, which is exact."""
    tag = re.fullmatch(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", "").strip())
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None


def _container_end(container: InputContainer) -> float | None:
    """Seconds, of containers that declare them, where no other stream could be the longer one."""
    known = container.format.name in ("matroska,webm", "flv") and len(container.streams) == 1
    return container.duration / av.time_base if known and container.duration is not None else None
