"""What the model sees while it learns: short clips, drawn near the model's own size, some through a real encoder."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2.functional import InterpolationMode, resize

from colcap.media.resize import smart_resize
from colcap.models.tiny.pairs import Pair, is_held_out_pair, pair_paths, random_pair
from colcap.models.tiny.scenes import Scene, as_seen, scene_of
from colcap.models.tiny.synth import Frames, drawn, encode_mp4, trajectory

FACTOR: Final = 28
MIN_PIXELS: Final = 10 * FACTOR**2
MAX_PIXELS: Final = 20 * FACTOR**2
SHAPES_OF_FRAMES: Final = {
    (4, 3): 5,
    (16, 9): 5,
    (1, 1): 4,
    (3, 4): 5,
    (9, 16): 5,
    (5, 4): 2,
    (4, 5): 2,
    (3, 2): 1,
    (2, 3): 1,
    (12, 5): 1,
    (5, 12): 1,
}
"""Width to height of the sources, and how often each is drawn; the model's sizes follow by `smart_resize`."""

ENCODED: Final = 0.25
"""Share of the clips that went through H.264; it costs three times the drawing."""
NOISY: Final = 0.2


@dataclass(frozen=True, slots=True)
class Look:
    """A clip as the model sees it."""

    frames: Frames
    """uint8 RGB at the model's size, (frames, height, width, 3); an even number of them."""
    scene: Scene | Pair
    """What they show."""
    places: NDArray[np.float32]
    """x, y, radius of each shape in each frame as shares of the sides (the radius: of the shorter one): (shapes,
    frames, 3)."""


def frame_shape(rng: random.Random) -> tuple[int, int]:
    """Draw the sources' width to height."""
    (shape,) = rng.choices(list(SHAPES_OF_FRAMES), list(SHAPES_OF_FRAMES.values()))
    return shape


def model_size(shape: tuple[int, int]) -> tuple[int, int]:
    """Height and width at which the model sees a source.

    >>> model_size((4, 3)), model_size((9, 16))
    ((84, 140), (140, 84))
    """
    width, height = (side * 100 for side in shape)
    return smart_resize(height, width, factor=FACTOR, min_pixels=MIN_PIXELS, max_pixels=MAX_PIXELS)


def look(shape: tuple[int, int], num_frames: int, rng: random.Random, *, only_pair: bool = False) -> Look:
    """Draw a clip of a combination that is not held out.

    Parameters
    ----------
    shape : the source's width to height.
    num_frames : sampled frames; where odd, the last is shown twice, as the model's processor does.
    only_pair : keep two neighbouring frames of them.
    """
    scene = scene_of(rng, held_out=False)
    width, height = _source_size(shape, rng)
    path = trajectory(scene.motion, num_frames, width, height, rng)
    if only_pair:
        first = rng.randrange(max(1, num_frames - 1))
        path = path[first : first + 2]
    shown = as_seen(scene, len(path) if only_pair else num_frames)
    return _look(shown, [scene], [path], shape, (width, height), rng)


def look_at_two(shape: tuple[int, int], num_frames: int, rng: random.Random) -> Look:
    """Draw a clip of a pair that is not held out; as `look`."""
    while is_held_out_pair(pair := random_pair(rng)):
        pass
    width, height = _source_size(shape, rng)
    return _look(pair, pair.scenes, pair_paths(pair, num_frames, width, height, rng), shape, (width, height), rng)


def _look(
    shown: Scene | Pair,
    scenes: Sequence[Scene],
    paths: Sequence[NDArray[np.float64]],
    shape: tuple[int, int],
    size: tuple[int, int],
    rng: random.Random,
) -> Look:
    whole = np.stack(paths)
    if whole.shape[1] % 2:
        whole = np.concatenate([whole, whole[:, -1:]], axis=1)
    frames = _worn(np.stack(list(drawn(scenes, list(whole), *size, rng))), rng)
    places = whole / [*size, min(size)]
    return Look(_scaled(frames, *model_size(shape)), shown, places.astype(np.float32))


def _source_size(shape: tuple[int, int], rng: random.Random) -> tuple[int, int]:
    """A little larger than the model's size; sides are even, for the encoder."""
    area = MAX_PIXELS * rng.uniform(1.0, 2.0) ** 2
    width, height = shape
    scale = (area / (width * height)) ** 0.5
    return int(width * scale) // 2 * 2, int(height * scale) // 2 * 2


def _worn(frames: Frames, rng: random.Random) -> Frames:
    kind = rng.random()
    if kind < ENCODED:
        return _through_h264(frames, crf=rng.choice((20, 23, 26, 28, 31)))
    if kind < ENCODED + NOISY:
        noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 6), frames.shape[1:])
        return np.clip(frames + noise.astype(np.float32), 0, 255).astype(np.uint8)
    return frames


def _through_h264(frames: Frames, *, crf: int) -> Frames:
    with av.open(io.BytesIO(encode_mp4(frames, 2, crf=crf)), "r") as container:
        container.streams.video[0].thread_type = "NONE"
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.asarray(decoded, np.uint8)


def _scaled(frames: Frames, height: int, width: int) -> Frames:
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    scaled = resize(pixels, [height, width], interpolation=InterpolationMode.BICUBIC, antialias=True)
    result: Frames = scaled.permute(0, 2, 3, 1).contiguous().numpy()
    return result
