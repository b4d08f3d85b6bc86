"""What one clip becomes with given options, without an engine: the clip, and an engine that remembers."""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image

from colcap.config import parse
from colcap.engines.base import EngineStats, Generation, Request, Sampling
from colcap.manifests import ClipReader
from colcap.models.tiny.scenes import Scene
from colcap.models.tiny.synth import clip
from colcap.models.weights import resolve
from colcap.runners import choices
from colcap.steps.media import MediaStep, table_rows

MODEL = resolve("tiny", model_dir=Path("models"))


class Told:
    """An engine that remembers what it was asked; what it answers is cut off, and goes round in circles."""

    model, revision = "told", None

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.stats, self.requests, self.samplings = EngineStats(), list[Request](), list[Sampling]()
        self.batches, self._seconds = list[int](), seconds

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """The same answer to everything."""
        self.requests += requests
        self.samplings.append(sampling)
        self.batches.append(len(requests))
        time.sleep(self._seconds)
        return [Generation('{"a":1}', 9, 9, "length") for _ in requests]

    def close(self) -> None:
        """Nothing to close."""


@cache
def video() -> bytes:
    """100 frames, 20 a second, 480x360."""
    scene = Scene("red", "circle", "black", "left")
    return clip([(scene, 100)], width=480, height=360, fps=20, rng=random.Random(0))


@cache
def _media(chosen: str) -> pl.DataFrame:
    config = parse(json.loads(chosen))
    wanted = choices.wanted(config, MODEL, cut=True, preview=True, sample=True)
    step = MediaStep(wanted, choices.media_limits(config), ClipReader(max_bytes=1 << 30))
    return step(pl.DataFrame({"clip_id": ["c"], "uri": ["c.mp4"], "part": [0], "mp4": [video()]}))


def made(config: dict[str, Any]) -> pl.DataFrame:
    """What media work makes of the video."""
    return _media(json.dumps(config))


def captioned(config: dict[str, Any]) -> tuple[Told, pl.DataFrame]:
    """What the engine is told of the video's windows, and the caption rows."""
    engine = Told()
    step = choices.caption_step(parse(config), MODEL, engine)
    return engine, step(table_rows(made(config), "samples"))


def enhanced(config: dict[str, Any]) -> tuple[Told, pl.DataFrame]:
    """The same of the text engine."""
    engine = Told()
    caption = {"window_id": "c:00000", "attempt": 1, "caption": "A car.", "status": "ok"}
    rows = pl.DataFrame([{**caption, "error_kind": None, "error": None}])
    return engine, choices.enhance_step(parse(config), lambda: engine, "f")(rows)


def preview(config: dict[str, Any]) -> Image.Image:
    """The first window's."""
    return Image.open(io.BytesIO(table_rows(made(config), "previews_webp")["webp"][0]))


def texts(config: dict[str, Any]) -> list[str]:
    """What the user says, request by request."""
    return [request.text for request in captioned(config)[0].requests]


def shown(config: dict[str, Any]) -> tuple[int, ...]:
    """Shape of the first window's frames."""
    [first, *_] = captioned(config)[0].requests
    assert first.video is not None
    return first.video.frames.shape


def sampled(config: dict[str, Any], name: str) -> Any:
    return getattr(captioned(config)[0].samplings[-1], name)


def windows(config: dict[str, Any]) -> list[int]:
    """Frames of each window."""
    return table_rows(made(config), "windows")["num_frames"].to_list()


def is_lossless(config: dict[str, Any]) -> bool:
    return b"VP8L" in table_rows(made(config), "previews_webp")["webp"][0]
