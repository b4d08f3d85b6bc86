"""A fourth product is one file: this one adds a JPEG strip, and the media layer's other products don't notice."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import av
import clips
import numpy as np
import pytest
from PIL import Image

from colcap.errors import RowError
from colcap.media import Budget, Limits, MediaPool, PreviewSpec, SampleSpec, Timeline, Wanted, process_clip

WANTED = Wanted(
    window_size=32,
    remainder_threshold=16,
    preview=PreviewSpec(target_height=56),
    sample=SampleSpec(min_pixels=7840, max_pixels=15680),
)


@dataclass(frozen=True)
class StripSpec:
    """Asks for evenly spread frames side by side in one JPEG."""

    count: int = 4
    name: str = "strip"

    def start(self, part: Timeline, fps: float, budget: Budget) -> Strip:
        return Strip([index * len(part) // self.count for index in range(self.count)], budget)


class Strip:
    """One in the making."""

    encoder = "JPEG by Pillow"

    def __init__(self, chosen: list[int], budget: Budget) -> None:
        self.indices = set(chosen)
        self._budget = budget
        self._pictures: list[np.ndarray] = []

    def add(self, index: int, frame: av.VideoFrame) -> None:
        if index not in self.indices:
            raise ValueError(f"frame {index} was not asked for")
        self._pictures.append(frame.to_ndarray(format="rgb24"))

    def finish(self) -> bytes:
        jpeg = joined(self._pictures)
        self._budget.spend(len(jpeg))
        return jpeg


def joined(pictures: list[np.ndarray]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.hstack(pictures)).save(file, "jpeg")
    return file.getvalue()


@pytest.mark.parametrize("name", ["h264 open gop", "h264 vfr", "vp9 webm"])
def test_a_fourth_product_comes_beside_the_others(name: str) -> None:
    data = clips.clip(name)
    alone, result = process_clip(data, WANTED), process_clip(data, replace(WANTED, others=(StripSpec(),)))
    source = [frame.to_ndarray(format="rgb24") for frame in clips.decoded(data)]

    for before, window in zip(alone.windows, result.windows, strict=True):
        chosen = [source[window.start_frame + i * window.num_frames // 4] for i in range(4)]

        assert window.others == {"strip": joined(chosen)}
        assert (window.mp4, window.preview) == (before.mp4, before.preview)
        assert window.sample.content_id == before.sample.content_id  # type: ignore[union-attr]
        assert before.others == {}


def test_its_failure_is_its_own() -> None:
    @dataclass(frozen=True)
    class Broken(StripSpec):
        def start(self, part: Timeline, fps: float, budget: Budget) -> Strip:
            strip = super().start(part, fps, budget)
            strip._budget = Budget(10)
            return strip

    windows = process_clip(clips.clip("h264 gop 12"), replace(WANTED, others=(Broken(),))).windows

    assert {window.others["strip"].kind for window in windows} == {"too_large"}
    assert not any(isinstance(product, RowError) for w in windows for product in (w.error, w.preview, w.sample))


@dataclass(frozen=True)
class Faulty(StripSpec):
    """Has a defect that nobody foresaw, where it starts or where it finishes."""

    starts: bool = False

    def start(self, part: Timeline, fps: float, budget: Budget) -> Strip:
        return super().start(part, fps, None if self.starts else budget.missing)  # type: ignore[arg-type, attr-defined]


def test_a_defect_costs_the_product_that_has_it() -> None:
    windows = process_clip(clips.clip("h264 gop 12"), replace(WANTED, others=(Faulty(starts=True),))).windows
    errors = [window.others["strip"] for window in windows]

    assert {error.kind for error in errors} == {"unknown"}
    assert "AttributeError at test_products.py:" in errors[0].text
    assert not any(isinstance(product, RowError) for w in windows for product in (w.error, w.preview, w.sample))


def test_a_defect_outside_of_products_costs_the_clip() -> None:
    with pytest.raises(RowError, match=r"unknown: AttributeError at test_products\.py:"):
        process_clip(clips.clip("h264 gop 12"), replace(WANTED, others=(Faulty(),)))


def test_workers_make_it_too() -> None:
    wanted = replace(WANTED, others=(StripSpec(),))
    with MediaPool(1) as pool:
        result = pool.submit(process_clip, clips.clip("h264 gop 12"), wanted, Limits()).result()

    assert result.windows[0].others == process_clip(clips.clip("h264 gop 12"), wanted).windows[0].others
