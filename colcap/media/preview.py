"""A window's preview: an animated WebP, small enough to look at thousands."""

from __future__ import annotations

import io
from collections import Counter

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from colcap.errors import RowError
from colcap.media.frame_choice import preview_indices, rational
from colcap.media.libav import close_with
from colcap.media.products import Budget
from colcap.media.scale import Scaler, displayed_size
from colcap.media.seen import Seen
from colcap.media.timeline import Timeline
from colcap.media.values import MAX_WEBP_SIDE, Preview, PreviewSpec


def preview_format(spec: PreviewSpec) -> str:
    """Pixel format that the WebP encoder takes: RGB keeps what YUV would round."""
    return "bgra" if spec.lossless else "yuv420p"


class PreviewProduct:
    """Encodes frames as they come and joins them in the end.

    Parameters
    ----------
    spec : how it looks.
    part : when the window's frames are shown.
    fps : displayed frames per second of the clip; only for the warning.
    scaler : to `preview_format(spec)`.
    budget : bytes left for the clip's products.
    """

    def __init__(self, spec: PreviewSpec, part: Timeline, fps: float, scaler: Scaler, budget: Budget) -> None:
        self._spec = spec
        self._fps = fps
        self._scaler = scaler
        self._budget = budget
        self._order = preview_indices(part.pts, part.end, part.time_base, spec.target_fps)
        self._times_shown = Counter(self._order)
        self.indices = set(self._order)
        self._file = io.BytesIO()
        self._output: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._packets: dict[int, Packet[VideoStream]] = {}
        self._warnings: list[str] = []
        self._seen = Seen(self._times_shown)

    @property
    def encoder(self) -> str:
        """The encoder and its options."""
        return f"libwebp {self._options()}"

    def add(self, index: int, frame: VideoFrame) -> None:
        """Scale and encode a frame; the first one decides on the size."""
        stream = self._stream or self._start(frame)
        context = stream.codec_context
        scaled = self._scaler.scaled(frame, context.width, context.height)
        self._seen.add(index, scaled)
        scaled.pts, scaled.time_base = index, context.time_base
        (packet,) = stream.encode(scaled)
        self._budget.spend(packet.size * self._times_shown[index])
        self._packets[index] = packet

    def finish(self) -> Preview:
        """Join the frames; one that is shown for several periods is stored as often."""
        assert self._stream is not None  # the order is never empty, so a frame has come
        assert self._output is not None
        context = self._stream.codec_context
        for slot, index in enumerate(self._order):
            packet = self._packets[index]
            packet.pts = packet.dts = slot
            packet.duration, packet.time_base, packet.stream = 1, context.time_base, self._stream
            self._output.mux_one(packet)
        self._output.close()
        warning = "; ".join(self._warnings) or None
        return Preview(
            self._file.getvalue(),
            len(self._order),
            context.width,
            context.height,
            self._seen.mean_luma,
            self._seen.motion,
            warning,
        )

    def _start(self, frame: VideoFrame) -> VideoStream:
        width, height = displayed_size(frame)
        target = self._spec.target_height
        scaled_width = max(1, (2 * width * target + height) // (2 * height))
        if scaled_width > MAX_WEBP_SIDE:
            text = f"{width}x{height} at height {target} is wider than WebP's {MAX_WEBP_SIDE}: lower target_height"
            raise RowError("unsupported", text)
        self._warnings = self._complaints(height)
        rate = rational(self._spec.target_fps)
        self._output = av.open(self._file, "w", format="webp", options={"loop": "0"})
        close_with(self, self._output)
        stream = self._output.add_stream("libwebp", rate=rate, options=self._options())  # libwebp_anim: 8.3x the time
        stream.width, stream.height, stream.pix_fmt = scaled_width, target, preview_format(self._spec)
        stream.codec_context.time_base = 1 / rate
        self._stream = stream
        return stream

    def _options(self) -> dict[str, str]:
        spec = self._spec
        return {
            "lossless": str(int(spec.lossless)),
            "compression_level": str(spec.compression_level),
            "quality": str(spec.quality),
        }

    def _complaints(self, height: int) -> list[str]:
        spec, said = self._spec, []
        if height < spec.target_height:
            said.append(f"source height {height} is below target_height {spec.target_height}: lower target_height")
        if self._fps < spec.target_fps:
            said.append(f"source fps {self._fps:g} is below target_fps {spec.target_fps:g}: lower target_fps")
        return said
