"""Synthetic clips whose true captions are known: the only world the embedded model can describe.

One shape moves over one plain background. Sizes, ranges and proportions are the ones the checkpoint was
trained on; changing a number here makes its captions wrong, not its training better.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from colcap.models.tiny.scenes import BACKGROUNDS, COLORS, Scene, caption, random_scene

Frames = NDArray[np.uint8]


def render(scene: Scene, num_frames: int, width: int, height: int, rng: random.Random) -> Frames:
    """Draw a scene: uint8 RGB of shape (num_frames, height, width, 3). `rng` picks sizes, path and shades.

    >>> render(Scene("red", "star", "gray", "up"), 5, 64, 48, random.Random(0)).shape
    (5, 48, 64, 3)
    """
    return np.stack(list(frames_of(scene, num_frames, width, height, rng)))


def frames_of(scene: Scene, num_frames: int, width: int, height: int, rng: random.Random) -> Iterator[Frames]:
    """Draw a scene one frame at a time: uint8 RGB of shape (height, width, 3)."""
    return drawn([scene], [trajectory(scene.motion, num_frames, width, height, rng)], width, height, rng)


def drawn(
    scenes: Sequence[Scene], paths: Sequence[NDArray[np.float64]], width: int, height: int, rng: random.Random
) -> Iterator[Frames]:
    """Draw scenes of one background, each along its path of x, y and radius in pixels, one frame at a time."""
    colors = [_shade(COLORS[scene.color], 12, rng) for scene in scenes]
    background = _shade(BACKGROUNDS[scenes[0].background], 8, rng)
    outlines = [_outline(scene.shape, rotation=rng.uniform(-0.12, 0.12)) for scene in scenes]
    canvas = _canvas(background, width, height, rng)
    for places in np.stack(paths, axis=1).tolist():
        frame = canvas.copy()
        for outline, (x, y, radius), color in zip(outlines, places, colors, strict=True):
            _draw(frame, outline, x, y, radius, color)
        yield frame


def _shade(color: tuple[int, int, int], by: int, rng: random.Random) -> Frames:
    return np.clip([channel + rng.randint(-by, by) for channel in color], 0, 255).astype(np.uint8)


def _canvas(background: Frames, width: int, height: int, rng: random.Random) -> Frames:
    canvas = np.broadcast_to(background, (height, width, 3))
    if rng.random() < 0.3:  # a mild gradient, so that "plain" is not "one value"
        across = rng.random() < 0.5
        ramp = np.linspace(-1, 1, width if across else height) * rng.uniform(2, 9)
        canvas = np.clip(canvas + ramp.reshape((1, -1, 1) if across else (-1, 1, 1)), 0, 255)
    return np.ascontiguousarray(canvas, dtype=np.uint8)


def trajectory(motion: str, num_frames: int, width: int, height: int, rng: random.Random) -> NDArray[np.float64]:
    """Return x, y and radius in pixels, shape (num_frames, 3)."""
    short = min(width, height)
    time = np.linspace(0, 1, num_frames)
    if rng.random() < 0.25:
        time = time * time * (3 - 2 * time)
    radius = np.full(num_frames, rng.uniform(0.18, 0.33) * short)
    if motion in ("grow", "shrink"):
        small = rng.uniform(0.13, 0.18) * short
        large = min(small * rng.uniform(1.8, 2.8), 0.44 * short)
        radius = small + (large - small) * (time if motion == "grow" else 1 - time)
    margin = 0.9 * float(radius.max())
    x = np.full(num_frames, rng.uniform(margin, width - margin))
    y = np.full(num_frames, rng.uniform(margin, height - margin))
    if motion in ("left", "right"):
        x = travel(margin, width - margin, time, motion == "left", rng)
        y = y + _drift(height, rng) * time
    elif motion in ("up", "down"):
        y = travel(margin, height - margin, time, motion == "up", rng)
        x = x + _drift(width, rng) * time
    return np.stack([x, y, radius], axis=1)


def travel(
    low: float, high: float, time: NDArray[np.float64], backwards: bool, rng: random.Random
) -> NDArray[np.float64]:
    """Return where a shape is that goes at least half of the way from `low` to `high`, or back."""
    distance = (high - low) * rng.uniform(0.5, 1.0)
    start = rng.uniform(low, high - distance)
    return start + distance * (1 - time if backwards else time)


def _drift(extent: int, rng: random.Random) -> float:
    return rng.uniform(-0.04, 0.04) * extent if rng.random() < 0.3 else 0.0


HalfPlanes = NDArray[np.float32]
"""Lines as (a, b, c): a*x + b*y + c is the distance outside, in radii. A convex piece has one row a side."""


def _outline(shape: str, *, rotation: float) -> list[HalfPlanes]:
    """Return the convex pieces whose union is the shape, around 0 and of radius 1; none for the unit circle."""
    if shape == "circle":
        return []
    if shape == "square":
        return [_half_planes([(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)], rotation)]
    if shape == "triangle":
        return [_half_planes([(0, -1.05), (1.0, 0.8), (-1.0, 0.8)], rotation)]
    return [_half_planes(_star_ray(), rotation + k * 2 * math.pi / 5) for k in range(5)]


def _star_ray(outer: float = 1.12, inner: float = 0.46) -> list[tuple[float, float]]:
    """Return the triangle from a star's upper tip, along both its edges, down to the height of the centre."""
    edge_x, edge_y = inner * math.sin(math.pi / 5), -inner * math.cos(math.pi / 5)
    half_base = edge_x * outer / (outer + edge_y)
    return [(0, -outer), (half_base, 0), (-half_base, 0)]


def _half_planes(points: Sequence[tuple[float, float]], rotation: float) -> HalfPlanes:
    """Return the sides of a convex polygon whose points go clockwise on the screen (y points down)."""
    cos, sin = math.cos(rotation), math.sin(rotation)
    turned = np.array([(x * cos - y * sin, x * sin + y * cos) for x, y in points])
    step = np.roll(turned, -1, axis=0) - turned
    normal = np.stack([step[:, 1], -step[:, 0]], axis=1) / np.hypot(step[:, 0], step[:, 1])[:, None]
    return np.column_stack([normal, -(normal * turned).sum(axis=1)]).astype(np.float32)


def _draw(frame: Frames, outline: list[HalfPlanes], x: float, y: float, radius: float, color: Frames) -> None:
    """Paint the shape over `frame` in place; a pixel's share of colour falls over one pixel across the edge."""
    reach = 1.3 * radius + 2
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    box = frame[top : int(y + reach) + 1, left : int(x + reach) + 1]
    columns = np.arange(left, left + box.shape[1], dtype=np.float32) - np.float32(x)
    rows = (np.arange(top, top + box.shape[0], dtype=np.float32) - np.float32(y))[:, None]
    # Half a pixel outside the outline, as in the clips the model was trained on (areas agree within 1.2%).
    share = np.clip(1 - _distance(outline, columns, rows, radius), 0, 1)[:, :, None]
    box[:] = np.rint(box + share * (color.astype(np.float32) - box))


def _distance(
    outline: list[HalfPlanes], columns: NDArray[np.float32], rows: NDArray[np.float32], radius: float
) -> NDArray[np.float32]:
    """Return each pixel's signed distance to the edge, in pixels, negative inside."""
    if not outline:
        return np.sqrt(columns * columns + rows * rows) - np.float32(radius)
    pieces = ((a * columns + (b * rows + c * np.float32(radius)) for a, b, c in piece) for piece in outline)
    return _fold(np.minimum, (_fold(np.maximum, piece) for piece in pieces))


def _fold(merge: np.ufunc, fields: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
    first, *others = fields
    for other in others:
        merge(first, other, out=first)
    return first


def encode_mp4(frames: Iterable[Frames], fps: Fraction | int, *, gop: int = 250, crf: int = 23) -> bytes:
    """Encode uint8 RGB frames of shape (height, width, 3) as H.264 in mp4, holding one at a time.

    Parameters
    ----------
    frames : at least one; all of one size, whose sides are even.
    fps : frames per second.
    gop : frames between two keyframes at the most.
    crf : x264's quality, 0 (lossless) to 51.
    """
    ahead = iter(frames)
    first = next(ahead)
    height, width, _ = first.shape
    if height % 2 or width % 2:
        raise ValueError(f"the sides must be even for 4:2:0, got {width}x{height}")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        # The bytes must depend on no machine: one thread, and no macroblock tree, which AVX-512 makes vary.
        options = {"preset": "veryfast", "crf": str(crf), "g": str(gop), "threads": "1", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=Fraction(fps), options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in chain([first], ahead):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def clip(
    scenes: Sequence[tuple[Scene, int]], *, width: int, height: int, fps: Fraction | int, rng: random.Random
) -> bytes:
    """Encode an mp4 in which each scene is shown for its number of frames, one after the other."""
    shots = (frames_of(scene, num_frames, width, height, rng) for scene, num_frames in scenes)
    return encode_mp4(chain.from_iterable(shots), fps)


@dataclass(frozen=True, slots=True)
class DemoClip:
    """A clip of the demo and what is true of it."""

    name: str
    """A file name."""
    data: bytes = field(repr=False)
    """The mp4's bytes."""
    scenes: tuple[Scene, ...]
    """What each window of the default size shows, in order; empty for a broken file."""

    @property
    def truths(self) -> list[str]:
        """The true caption of each window, in order."""
        return [caption(scene) for scene in self.scenes]

    @property
    def broken(self) -> bool:
        """The file cannot be opened."""
        return not self.scenes


WIDE, SQUARE, PORTRAIT = (320, 240), (240, 240), (240, 320)
NTSC: Final = Fraction(30000, 1001)
DEMO: Final[dict[str, tuple[tuple[int, int], Fraction | int, tuple[int, ...]]]] = {
    "wide-1.mp4": (WIDE, 30, (180,)),
    "wide-2.mp4": (WIDE, 24, (200,)),
    "wide-3.mp4": (WIDE, NTSC, (90,)),
    "wide-4.mp4": (WIDE, 25, (130,)),
    "square-1.mp4": (SQUARE, 30, (150,)),
    "square-2.mp4": (SQUARE, 24, (96,)),
    "portrait-1.mp4": (PORTRAIT, 30, (210,)),
    "portrait-2.mp4": (PORTRAIT, 25, (100,)),
    "long-1.mp4": (WIDE, 30, (256, 160)),
    "long-2.mp4": (WIDE, 24, (256, 256)),
    "long-3.mp4": (SQUARE, 30, (256, 256, 200)),
    "broken.mp4": (WIDE, 30, (60,)),
}
"""Size, frames per second and the frames of each window. Sampled at 2 fps, a window has 4 to 24 frames, which
leaves room to sample it faster: the model was trained on up to 42."""


def demo_clips(seed: int = 0) -> Iterator[DemoClip]:
    """Make the demo's clips; scenes change where windows of 256 frames do, and `broken.mp4` lost its end.

    Examples
    --------
    >>> first = next(demo_clips())
    >>> first.name, len(first.truths)
    ('wide-1.mp4', 1)
    """
    for name, ((width, height), fps, lengths) in DEMO.items():
        rng = random.Random(f"{seed} {name}")
        scenes = tuple(random_scene(rng) for _ in lengths)
        data = clip(list(zip(scenes, lengths, strict=True)), width=width, height=height, fps=fps, rng=rng)
        if name == "broken.mp4":  # the index is at the end of an mp4, so half a file cannot be opened
            yield DemoClip(name, data[: len(data) // 2], ())
        else:
            yield DemoClip(name, data, scenes)
