"""Clips to score the model on: encoded, decoded and sampled as in a run, half of combinations never trained."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Final

from colcap.engines.base import Video
from colcap.media import Sample, SampleSpec, Wanted, process_clip
from colcap.models.tiny.pairs import Pair, is_held_out_pair, pair_frames, random_pair
from colcap.models.tiny.scenes import Scene, as_seen, scene_of
from colcap.models.tiny.synth import Frames, encode_mp4, frames_of
from colcap.models.weights import ResolvedModel

SIZES: Final = {
    (320, 240): 5,
    (426, 240): 4,
    (240, 240): 4,
    (240, 320): 4,
    (240, 426): 3,
    (640, 360): 2,
    (360, 640): 1,
    (300, 240): 1,
    (360, 240): 1,
}
"""Width and height of the sources, and how often each is drawn."""
RATES: Final = (1, 2, 2, 3, 4)
"""Sampled frames per second."""
SOURCE_RATES: Final = (8, 10, 12, Fraction(30000, 1001))
"""Frames per second of the sources; low ones, since drawing is what an evaluation spends its time on."""
WINDOW: Final = 256
"""Most frames of a source."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """A window and what it shows."""

    video: Video
    scene: Scene
    held_out: bool
    """The combination was never trained."""
    rate: int
    """Sampled frames per second."""


def fresh_windows(count: int, model: ResolvedModel, *, seed: int) -> list[Fresh]:
    """Make windows of 4 to 40 sampled frames, seen and held-out combinations in turn."""
    return [_fresh(random.Random(f"fresh {seed} {i}"), model, held_out=bool(i % 2)) for i in range(count)]


def _fresh(rng: random.Random, model: ResolvedModel, *, held_out: bool) -> Fresh:
    scene = scene_of(rng, held_out=held_out)
    video, rate = _video(partial(frames_of, scene), model, rng)
    return Fresh(video, scene, held_out, rate)


def fresh_pairs(count: int, model: ResolvedModel, *, seed: int) -> list[tuple[Video, Pair]]:
    """Make windows of two shapes, trained and held-out pairs in turn."""
    made = []
    for i in range(count):
        rng = random.Random(f"fresh pair {seed} {i}")
        while is_held_out_pair(pair := random_pair(rng)) != bool(i % 2):
            pass
        made.append((_video(partial(pair_frames, pair), model, rng)[0], pair))
    return made


def _video(draw: Callable[..., Iterator[Frames]], model: ResolvedModel, rng: random.Random) -> tuple[Video, int]:
    """A drawn clip as a run samples it, and how many frames a second it takes."""
    (size,) = rng.choices(list(SIZES), list(SIZES.values()))
    rate, source_rate = rng.choice(RATES), rng.choice(SOURCE_RATES)
    wanted = rng.randint(4, 16) if rng.random() < 0.7 else rng.randint(17, 40)
    num_frames = max(8, min(WINDOW, round(wanted / rate * source_rate)))
    data = encode_mp4(draw(num_frames, *size, rng), source_rate)
    spec = SampleSpec(float(rate), model.factor, model.min_pixels, model.max_pixels, model.total_pixels)
    (window,) = process_clip(data, Wanted(window_size=WINDOW, cut=None, sample=spec)).windows
    sample = window.sample
    assert isinstance(sample, Sample)
    shown = Video(sample.frames, sample.frame_indices, sample.source_frames, sample.source_fps, sample.content_id)
    return shown, rate


def first_two(windows: list[Fresh]) -> Iterator[Fresh]:
    """The windows' first two frames, of which no motion is said."""
    for each in windows:
        video = each.video
        short = replace(
            video,
            frames=video.frames[:2].copy(),
            frame_indices=[0, 1],
            source_frames=2,
            source_fps=2.0,
            content_id=f"{video.content_id} two",
        )
        yield Fresh(short, as_seen(each.scene, 2), each.held_out, 2)
