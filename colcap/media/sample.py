"""The frames of a window that a model sees, at the size it sees them."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
from av.video.frame import VideoFrame

from colcap.errors import RowError
from colcap.media.frame_choice import smart_nframes, spread
from colcap.media.products import Budget
from colcap.media.resize import frame_size
from colcap.media.scale import Scaler, displayed_size, pixels
from colcap.media.values import Frames, Sample, SampleSpec

SAMPLE_FORMAT = "rgb24"


class SampleProduct:
    """Scales frames into one array as they come.

    Parameters
    ----------
    spec : which frames, and how large.
    num_frames : displayed frames of the window.
    fps : displayed frames per second of the clip.
    scaler : to SAMPLE_FORMAT.
    budget : bytes left for the clip's products.
    origin : names the window's frames: the clip they are of, and which of its frames.
    """

    def __init__(
        self, spec: SampleSpec, num_frames: int, fps: float, scaler: Scaler, budget: Budget, origin: str
    ) -> None:
        self._spec = spec
        self._origin = origin
        self._num_frames = num_frames
        self._fps = fps
        self._scaler = scaler
        self._budget = budget
        self._chosen = spread(num_frames, smart_nframes(num_frames, fps, spec.sampling_fps))
        self.indices = set(self._chosen)
        self._frames: Frames | None = None
        self._warning: str | None = None

    @property
    def encoder(self) -> str:
        """Nothing encodes samples; the scaler makes them."""
        return f"scaler to {SAMPLE_FORMAT}"

    def add(self, index: int, frame: VideoFrame) -> None:
        """Scale a frame into its place; the first one decides on the size."""
        if self._frames is None:
            self._frames = self._allocate(*displayed_size(frame))
        _, height, width, _ = self._frames.shape
        scaled = self._scaler.scaled(frame, width, height)
        self._frames[self._chosen.index(index)] = pixels(scaled.planes[0], SAMPLE_FORMAT)

    def finish(self) -> Sample:
        """The frames, with the id of their content."""
        assert self._frames is not None  # at least one frame is chosen
        return Sample(
            frames=self._frames,
            frame_indices=self._chosen,
            source_frames=self._num_frames,
            source_fps=self._fps,
            content_id=self._content_id(self._frames.shape),
            warning=self._warning,
        )

    def _allocate(self, width: int, height: int) -> Frames:
        try:
            width, height = self._size(width, height)
        except ValueError as error:
            raise RowError("unsupported", str(error)) from error
        shape = (len(self._chosen), height, width, 3)
        self._budget.spend(int(np.prod(shape, dtype=np.int64)))
        return np.empty(shape, np.uint8)

    def _size(self, width: int, height: int) -> tuple[int, int]:
        if not self._spec.resize:
            return width, height
        size = frame_size(width, height, self._spec, chosen=self._chosen, fps=self._fps)
        self._warning = size.warning
        return size.width, size.height

    def _content_id(self, shape: tuple[int, ...]) -> str:
        """Of what the pixels are made of, which is a twentieth of their bytes."""
        made_of = (self._origin, shape, self._chosen, self._num_frames, self._fps, self._spec)
        return sha256(repr(made_of).encode()).hexdigest()[:32]
