"""What a product of a window is: it names the frames it wants, gets them decoded, and finishes.

Preview, sample and encoded window know nothing of each other. A further one is a file with a `Recipe` and its
`Product`; callers ask for it in `Wanted.others` and find it by its name in `Window.others`.
"""

from __future__ import annotations

from typing import Any, Generic, Protocol, TypeVar

from av.video.frame import VideoFrame

from colcap.errors import RowError
from colcap.media.libav import LIBAV_ERRORS, Log, media_error, unforeseen
from colcap.media.timeline import Timeline

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Product(Protocol[T_co]):
    """Something made of a window's decoded frames."""

    indices: set[int]
    """Frames it needs, counted from the window's first."""

    @property
    def encoder(self) -> str:
        """What makes it, with its options; quoted when that fails."""

    def add(self, index: int, frame: VideoFrame) -> None:
        """Take one of them; they come in display order, each once. The frame is shared: leave its pixels alone."""

    def finish(self) -> T_co:
        """Give the product; called once all have come."""


class Budget:
    """Bytes that the products of a clip may take together."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._left = max_bytes

    def spend(self, num_bytes: int) -> None:
        """Take bytes from the budget; raises RowError(too_large) where it has not enough."""
        if num_bytes > self._left:
            raise RowError("too_large", f"the clip's products exceed {self._max} bytes (max_output_bytes)")
        self._left -= num_bytes


class Recipe(Protocol):
    """A further product that is wanted of each window; it must pickle, since workers make it."""

    @property
    def name(self) -> str:
        """Key of the product in `Window.others`."""

    def start(self, part: Timeline, fps: float, budget: Budget) -> Product[Any]:
        """Begin the product of a window.

        Parameters
        ----------
        part : when the window's frames are shown; there are `len(part)`.
        fps : displayed frames per second of the clip.
        budget : to spend the product's bytes from, before they are taken.
        """


class Attempt(Generic[T]):
    """A product in the making whose failure is its own: the window's other products go on."""

    def __init__(self, product: Product[T], start: int, log: Log) -> None:
        self._product: Product[T] | None = product
        self._encoder = product.encoder
        self._start = start
        self._last = max(product.indices)
        self._log = log
        self.wanted = {start + index for index in product.indices}
        """Frames it needs, counted from the clip's first."""
        self.result: T | RowError = RowError("unknown", "its frames have not come")
        """The product, or why there is none; final once the last wanted frame was added."""

    def add(self, number: int, frame: VideoFrame) -> None:
        """Pass on a frame, by its number in the clip; the last one finishes the product and frees its encoder."""
        if self._product is None:
            return
        try:
            self._product.add(number - self._start, frame)
            if number - self._start < self._last:
                return
            self.result = self._product.finish()
        except Exception as error:
            self.result = self._row_error(error)
        self._product = None

    def _row_error(self, error: Exception) -> RowError:
        if isinstance(error, RowError):
            return error
        if not isinstance(error, LIBAV_ERRORS):
            return unforeseen(error, self._log)
        kind = "too_large" if isinstance(error, MemoryError) else "encode_failed"
        return media_error(kind, self._encoder, self._log, error)
