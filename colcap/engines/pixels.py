"""How pixels travel to the engine: as bytes that it normalises on its device, or as floats that are normalised here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from colcap.config import PreprocessDtype
from colcap.errors import ConfigError, EngineError
from colcap.flags import named

if TYPE_CHECKING:
    import torch

FLOATS: Final = ("float32", "float16", "bfloat16")

PROBE: Final = 200
"""A light grey: normalised it is about 1.2, normalised twice it would be about -1.7, and as bytes it stays 200."""

TOLERANCE: Final = 0.05
"""Rounding of bfloat16, twice."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """The last step between sampled frames and what the model's processor is given."""

    dtype: str
    """`uint8` where nothing is left to do here; otherwise the type that frames are rescaled and normalised in."""
    scale: float
    """What a byte is multiplied by."""
    mean: tuple[float, ...]
    """Of each channel, after scaling."""
    std: tuple[float, ...]
    """Of each channel, after scaling."""

    def prepared(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8] | torch.Tensor:
        """Frames as the processor takes them, shape (T, H, W, 3) as before.

        Examples
        --------
        >>> grey = np.full((2, 28, 28, 3), 255, np.uint8)
        >>> float(Pixels("float32", 1 / 255, (0.5,) * 3, (0.25,) * 3).prepared(grey).max())
        2.0
        """
        if self.dtype == "uint8":
            return frames
        import torch

        dtype = getattr(torch, self.dtype)
        scaled = torch.from_numpy(frames).to(dtype).mul_(self.scale)
        return scaled.sub_(torch.tensor(self.mean, dtype=dtype)).div_(torch.tensor(self.std, dtype=dtype))

    def normalised(self, byte: int) -> list[float]:
        """What the model sees of a grey pixel, channel by channel."""
        return [(byte * self.scale - mean) / std for mean, std in zip(self.mean, self.std, strict=True)]


def in_floats(preprocess_dtype: PreprocessDtype) -> bool:
    """Whether pixels reach the engine normalised, and it must not do that again."""
    return preprocess_dtype in FLOATS


@dataclass(frozen=True, slots=True)
class Sight:
    """How a model is shown frames."""

    preprocess_dtype: PreprocessDtype
    """As configured."""
    model_does_preprocess: bool
    """As configured: the model's processor gets frames as they are."""
    factor: int
    """Of the model: sides of what it sees are multiples of it, in pixels."""

    @property
    def side_factor(self) -> int:
        """What the sides of frames must be multiples of here."""
        return 1 if self.model_does_preprocess else self.factor


def pixels(renderer: Any, sight: Sight) -> Pixels:
    """What is left to do with frames before vLLM's renderer gets them."""
    processor = renderer.mm_processor.info.get_hf_processor().video_processor
    is_ours = in_floats(sight.preprocess_dtype) and not sight.model_does_preprocess
    return Pixels(
        sight.preprocess_dtype if is_ours else "uint8",
        float(processor.rescale_factor),
        tuple(processor.image_mean),
        tuple(processor.image_std),
    )


def check(renderer: Any, wanted: Pixels, sight: Sight) -> None:
    """Render a grey video and look at what the engine would get: normalising twice gives wrong captions in silence.

    Raises
    ------
    ConfigError : this engine cannot take the pixels so, or its own options make it do something else with them.
    """
    on_device = bool(renderer.model_config.multimodal_config.mm_device_do_normalize)
    if sight.preprocess_dtype == "uint8" and not on_device:
        raise ConfigError(
            f"{named('captioning.preprocess_dtype')}: uint8: this engine cannot normalise on its device; take float32"
        )
    side = 4 * sight.factor
    seen = _rendered(renderer, wanted.prepared(np.full((2, side, side, 3), PROBE, np.uint8)))
    expected = [float(PROBE)] * 3 if on_device else wanted.normalised(PROBE)
    if any(abs(a - b) > TOLERANCE for a, b in zip(seen, expected, strict=True)):
        raise ConfigError(
            f"{named('captioning.preprocess_dtype')}: {sight.preprocess_dtype}: {PROBE} grey should reach the engine "
            f"as {[round(value, 2) for value in expected]} and would arrive as {[round(value, 2) for value in seen]}: "
            "an option in runtime.engine_kwargs changes what is done with pixels, or this vLLM does it differently"
        )


def _rendered(renderer: Any, frames: Any) -> list[float]:
    """Each channel's mean of what the engine gets."""
    metadata = {"fps": 1.0, "total_num_frames": 2, "frames_indices": [0, 1], "duration": 2.0, "do_sample_frames": False}
    hf = renderer.mm_processor.info.get_hf_processor()
    [made] = renderer.render_cmpl(
        [
            {
                "prompt_token_ids": [hf.tokenizer.convert_tokens_to_ids(hf.video_token)],
                "multi_modal_data": {"video": [(frames, metadata)]},
                "multi_modal_uuids": {"video": ["colcap's grey probe"]},
            }
        ],
        skip_mm_cache=True,
    )
    values = made["mm_kwargs"].get_data()["pixel_values_videos"]
    if values.ndim != 2 or values.shape[1] % 3:
        raise EngineError(f"vLLM's renderer gave pixels of shape {tuple(values.shape)}, which colcap does not know")
    return [float(mean) for mean in values.float().reshape(len(values), 3, -1).mean(dim=(0, 2))]
