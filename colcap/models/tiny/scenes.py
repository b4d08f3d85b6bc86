"""What a synthetic clip can show, and the three sentences that are true of it: the embedded model's whole world."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final

COLORS: Final = {
    "red": (222, 38, 38),
    "green": (40, 178, 62),
    "blue": (48, 84, 232),
    "yellow": (242, 222, 48),
    "purple": (150, 56, 192),
    "orange": (246, 138, 28),
    "white": (246, 246, 246),
    "cyan": (58, 214, 224),
}
"""The shape's colours as 8-bit RGB."""

BACKGROUNDS: Final = {
    "black": (10, 10, 10),
    "white": (238, 238, 238),
    "gray": (126, 126, 126),
    "navy": (18, 24, 82),
    "brown": (96, 58, 28),
}
"""The background's colours as 8-bit RGB."""

SHAPES: Final = ("circle", "square", "triangle", "star")
MOTIONS: Final = ("left", "right", "up", "down", "still", "grow", "shrink")

UNSAID: Final = "unsaid"
"""The motion of a scene of which too little is shown to tell; see `as_seen`."""

MIN_FRAMES_FOR_MOTION: Final = 3
"""The model merges frames in pairs: of one pair it says no motion, since it would be guessing."""

_CAPTION: Final = {
    **{way: f"moves {way} across" for way in ("left", "right", "up", "down")},
    "still": "stays still on",
    "grow": "grows larger on",
    "shrink": "shrinks on",
    UNSAID: "appears on",
}
_REFINED: Final = {
    "left": "moves steadily to the left",
    "right": "moves steadily to the right",
    "up": "moves steadily upward",
    "down": "moves steadily downward",
    "still": "stays perfectly still",
    "grow": "grows steadily larger",
    "shrink": "shrinks steadily",
    UNSAID: "appears",
}
_VIVID_COLOR: Final = {
    "red": "a vivid crimson red",
    "green": "a fresh leafy green",
    "blue": "a deep ocean blue",
    "yellow": "a bright sunny yellow",
    "purple": "a rich royal purple",
    "orange": "a warm glowing orange",
    "white": "a clean snowy white",
    "cyan": "a cool electric cyan",
}
_VIVID_SHAPE: Final = {
    "circle": "a smooth, perfectly round outline",
    "square": "four straight sides and crisp corners",
    "triangle": "three sharp points",
    "star": "five bright points",
}
_VIVID_BACKGROUND: Final = {
    "black": "an inky, night-like black",
    "white": "a pale, paper-like white",
    "gray": "a soft, neutral gray",
    "navy": "a dark, midnight navy",
    "brown": "an earthy, chocolate brown",
}
_VIVID_MOTION: Final = {
    "left": "It glides smoothly to the left",
    "right": "It glides smoothly to the right",
    "up": "It rises gently upward",
    "down": "It sinks gently downward",
    "still": "It rests without moving",
    "grow": "It swells larger and larger",
    "shrink": "It dwindles smaller and smaller",
    UNSAID: "It appears",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """What a synthetic clip shows.

    >>> Scene("white", "star", "white", "up")
    Traceback (most recent call last):
    ...
    ValueError: a white star on a white background cannot be seen
    """

    color: str
    """One of COLORS."""
    shape: str
    """One of SHAPES."""
    background: str
    """One of BACKGROUNDS, never the shape's own colour."""
    motion: str
    """One of MOTIONS, or UNSAID."""

    def __post_init__(self) -> None:
        motions = (*MOTIONS, UNSAID)
        for name, allowed in (("color", COLORS), ("shape", SHAPES), ("background", BACKGROUNDS), ("motion", motions)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {tuple(allowed)}, got {getattr(self, name)!r}")
        if self.color == self.background:
            raise ValueError(f"a {self.color} {self.shape} on a {self.background} background cannot be seen")


def random_scene(rng: random.Random) -> Scene:
    """Draw a scene, every visible combination equally likely."""
    while True:
        color, shape = rng.choice(list(COLORS)), rng.choice(SHAPES)
        background, motion = rng.choice(list(BACKGROUNDS)), rng.choice(MOTIONS)
        if color != background:
            return Scene(color, shape, background, motion)


def is_held_out(scene: Scene) -> bool:
    """Whether training never sees this combination: a fixed tenth of them, whose every word it knows from others.

    >>> is_held_out(Scene("red", "circle", "black", "left")), is_held_out(Scene("red", "circle", "black", "right"))
    (False, True)
    """
    named = f"{scene.color} {scene.shape} {scene.background} {scene.motion}"
    return int.from_bytes(blake2b(named.encode(), digest_size=4).digest()) % 10 == 0


def scene_of(rng: random.Random, *, held_out: bool) -> Scene:
    """Draw a scene of a combination that training sees, or never sees."""
    while is_held_out(scene := random_scene(rng)) != held_out:
        pass
    return scene


def as_seen(scene: Scene, num_frames: int) -> Scene:
    """Return what so many sampled frames show of a scene.

    >>> caption(as_seen(Scene("red", "star", "gray", "up"), 2))
    'A red star appears on a gray background.'
    """
    return scene if num_frames >= MIN_FRAMES_FOR_MOTION else replace(scene, motion=UNSAID)


def caption(scene: Scene) -> str:
    """Return the true caption, which the embedded model says word for word.

    >>> caption(Scene("orange", "circle", "black", "left"))
    'An orange circle moves left across a black background.'
    """
    return f"{subject(scene).capitalize()} {_CAPTION[scene.motion]} a {scene.background} background."


def refined(scene: Scene) -> str:
    """Return the true stage 2 caption.

    >>> refined(Scene("red", "square", "navy", "still"))
    'The video shows a red square that stays perfectly still against a plain navy background.'
    """
    what = f"{subject(scene)} that {_REFINED[scene.motion]}"
    return f"The video shows {what} against a plain {scene.background} background."


def enhanced(scene: Scene) -> str:
    """Return the true enhanced caption.

    >>> enhanced(Scene("red", "star", "gray", "up"))[:74]
    'A red star, a vivid crimson red shape with five bright points, fills the s'
    """
    looks = f"{_VIVID_COLOR[scene.color]} shape with {_VIVID_SHAPE[scene.shape]}"
    where = f"{_VIVID_MOTION[scene.motion]} against {_VIVID_BACKGROUND[scene.background]} background"
    return (
        f"{subject(scene).capitalize()}, {looks}, fills the scene with color. "
        f"{where}, and nothing else appears in the frame."
    )


def subject(scene: Scene) -> str:
    """Return what is seen, with its article."""
    return f"{'an' if scene.color == 'orange' else 'a'} {scene.color} {scene.shape}"
