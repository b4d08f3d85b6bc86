"""The models colcap knows by name, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Family = Literal["qwen2_5_vl", "qwen3_vl", "text"]
Kind = Literal["vision", "text"]


@dataclass(frozen=True, slots=True)
class Budget:
    """How large a model sees frames."""

    factor: int
    """Both sides are multiples of it, in pixels."""
    min_pixels: int
    """Least height times width of a frame."""
    max_pixels: int
    """Most height times width of a frame."""
    total_pixels: int
    """Most pixels of all frames of a window together, counted per pair of frames, as Qwen-VL merges them."""


def qwen_budget(factor: int) -> Budget:
    """The public Qwen-VL budget: 128 to 768 tokens a pair of frames, 24,576 a window.

    >>> qwen_budget(28).max_pixels
    602112
    """
    return Budget(factor, 128 * factor**2, 768 * factor**2, 24576 * factor**2)


NO_FRAMES: Final = Budget(factor=1, min_pixels=0, max_pixels=0, total_pixels=0)
"""A text model sees none."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One model, by what must be known before its weights are here; built in, or a user's own `[models.NAME]`."""

    id: str
    """`organisation/name` on the Hugging Face hub; a user's own may be a folder."""
    revision: str | None
    """A commit, so that tomorrow's download is today's model; None takes what is there."""
    family: Family | None
    """The architecture, as `model_type` in its config names it; `text` for a language model; None: as that says."""
    budget: Budget | None
    """How large it sees frames; None: as its video processor's settings say."""


_QWEN2_5_VL: Final = Variant("Qwen/Qwen2.5-VL-7B-Instruct", "cc59489", "qwen2_5_vl", qwen_budget(28))
_QWEN3_VL: Final = Variant("Qwen/Qwen3-VL-8B-Instruct", "0c351dd", "qwen3_vl", qwen_budget(32))
_QWEN2_5: Final = Variant("Qwen/Qwen2.5-14B-Instruct", "cf98f3b", "text", NO_FRAMES)
_QWEN3: Final = Variant("Qwen/Qwen3-14B", "f8c293d", "text", NO_FRAMES)

VARIANTS: Final[dict[Kind, dict[str, Variant]]] = {
    "vision": {"qwen": _QWEN2_5_VL, "qwen2.5": _QWEN2_5_VL, "qwen3": _QWEN3_VL},
    "text": {"qwen": _QWEN2_5, "qwen2.5": _QWEN2_5, "qwen3": _QWEN3},
}
"""Name -> model, for captions (`vision`) and for enhancement (`text`). `tiny`, the embedded model, serves both."""

TINY: Final = "tiny"
"""The embedded model's name."""
