"""What a clip is, and what is to be said about it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Self

from av.video.frame import VideoFrame

from colcap.media.damage import missing_seconds
from colcap.media.demux import Source
from colcap.media.frames import CountedFrames, FrameSource
from colcap.media.orientation import Orientation, orientation_of
from colcap.media.values import Probe

HDR_TRANSFERS: Final = {16: "PQ", 18: "HLG"}
"""Transfer functions of high dynamic range, by their number in ITU-T H.273."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What the first frame says of the clip."""

    width: int
    """Pixels, as displayed."""
    height: int
    """Pixels, as displayed."""
    orientation: Orientation
    """How the coded picture is turned."""
    transfer: int
    """Transfer function, by its number in ITU-T H.273."""

    @classmethod
    def of(cls, frame: VideoFrame) -> Self:
        """Read it off a frame."""
        orientation = orientation_of(frame)
        return cls(*orientation.displayed(frame.width, frame.height), orientation, int(frame.color_trc))


def probe(source: Source, frames: FrameSource, fps: float, picture: Picture, said: str | None) -> Probe:
    """The clip's facts; `said` is what the decoder complained of."""
    timeline = frames.timeline
    warnings = [*_damages(source, frames, fps, said), *_look(picture, source.stream.sample_aspect_ratio)]
    return Probe(
        width=picture.width,
        height=picture.height,
        fps=fps,
        num_frames=len(timeline),
        duration_s=timeline.seconds(len(timeline)),
        codec=source.codec,
        rotation=picture.orientation.degrees,
        has_audio=source.has_audio,
        num_bytes=len(source.data),
        warning="; ".join(warnings) or None,
    )


def _look(picture: Picture, aspect: Fraction | None) -> list[str]:
    """What previews and samples do not show as a player would."""
    found = []
    if transfer := HDR_TRANSFERS.get(picture.transfer):
        found.append(f"HDR ({transfer}): previews and samples are not tone-mapped and look pale")
    if aspect and aspect != 1:
        found.append(f"pixels of {aspect.numerator}:{aspect.denominator}: previews and samples show them square")
    return found


def _damages(source: Source, frames: FrameSource, fps: float, said: str | None) -> list[str]:
    """What the clip has lost, as far as it shows."""
    end_s = float(frames.timeline.end * source.time_base)
    found = [source.damage, missing_seconds(source.container, source.stream, end_s, 1 / fps)]
    if isinstance(frames, CountedFrames):
        found.append(frames.damage(len(source.packets)))
    if said is not None:
        found.append(f"damaged: {said}")
    return [what for what in found if what is not None]
