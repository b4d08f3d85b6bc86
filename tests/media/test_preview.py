"""Previews: animated WebP of the right frames, size and duration, upright."""

from __future__ import annotations

import io

import clips
import making
import numpy as np
import pytest
from PIL import Image

from colcap.errors import RowError
from colcap.media import Preview, PreviewSpec, Wanted, process_clip


def preview_of(name: str, spec: PreviewSpec, **wanted: int) -> Preview:
    result = process_clip(clips.clip(name), Wanted(preview=spec, cut=None, **wanted)).windows[0].preview
    assert isinstance(result, Preview), result
    return result


def images(preview: Preview) -> list[Image.Image]:
    with Image.open(io.BytesIO(preview.webp)) as file:
        assert file.format == "WEBP"
        found = []
        for index in range(getattr(file, "n_frames", 1)):
            file.seek(index)
            found.append(file.convert("RGB"))
        return found


@pytest.mark.parametrize(
    ("fps", "height", "size", "num_frames"),
    [(1.0, 56, (80, 56), 4), (5.0, 112, (160, 112), 18), (12.5, 30, (43, 30), 45)],
)
def test_size_and_count(fps: float, height: int, size: tuple[int, int], num_frames: int) -> None:
    result = preview_of("h264 gop 12", PreviewSpec(target_fps=fps, target_height=height))

    assert (result.num_frames, result.width, result.height) == (num_frames, *size)
    assert [image.size for image in images(result)] == [size] * num_frames
    assert result.warning is None


def test_loops_forever_and_lasts_as_long_as_the_window() -> None:
    result = preview_of("h264 gop 12", PreviewSpec(target_fps=5, target_height=56))

    with Image.open(io.BytesIO(result.webp)) as file:
        durations = []
        for index in range(file.n_frames):
            file.seek(index)
            file.load()  # the duration is known then
            durations.append(file.info["duration"])
        assert file.info["loop"] == 0
    assert durations == [200] * 18


def test_a_window_shorter_than_half_a_period_is_one_frame() -> None:
    data = making.make(making.Made(num_frames=5))
    (window,) = process_clip(data, Wanted(preview=PreviewSpec(target_height=56))).windows

    assert isinstance(window.preview, Preview)
    assert window.preview.num_frames == 1
    assert [image.size for image in images(window.preview)] == [(80, 56)]


def test_source_below_the_target_says_what_to_do() -> None:
    result = preview_of("h264 gop 12", PreviewSpec(target_fps=50, target_height=240))

    assert result.warning == (
        "source height 112 is below target_height 240: lower target_height; "
        "source fps 25 is below target_fps 50: lower target_fps"
    )


@pytest.mark.parametrize(
    ("name", "turn"), [("h264 rotated", lambda a: np.rot90(a, 1)), ("h264 mirrored", lambda a: a[:, ::-1])]
)
def test_preview_is_upright(name: str, turn: object) -> None:
    straight = preview_of("h264 mkv", PreviewSpec(target_height=112, quality=90))
    turned = preview_of(name, PreviewSpec(target_height=160 if name == "h264 rotated" else 112, quality=90))

    for a, b in zip(images(straight), images(turned), strict=True):
        assert clips.psnr([turn(np.asarray(a))], [np.asarray(b)]) > 25


def test_lossless_keeps_every_pixel() -> None:
    source = clips.decoded(clips.clip("h264 gop 12"))[0].to_ndarray(format="rgb24")
    spec = PreviewSpec(target_fps=25, target_height=112, lossless=True, compression_level=0)

    result = images(preview_of("h264 gop 12", spec))

    assert clips.psnr([np.asarray(result[0])], [source]) > 45  # chroma is scaled up by other filters
    assert len({image.tobytes() for image in result}) == 90


@pytest.mark.parametrize(
    ("low", "high"),
    [
        (PreviewSpec(quality=10, target_height=112), PreviewSpec(quality=95, target_height=112)),
        (PreviewSpec(compression_level=6, target_height=112), PreviewSpec(compression_level=0, target_height=112)),
    ],
)
def test_quality_and_effort_change_the_size(low: PreviewSpec, high: PreviewSpec) -> None:
    assert len(preview_of("h264 gop 12", low).webp) < len(preview_of("h264 gop 12", high).webp)


def test_a_preview_too_wide_for_webp_fails_alone() -> None:
    data = making.make(making.Made(width=2000, height=16, num_frames=8))
    (window,) = process_clip(data, Wanted(preview=PreviewSpec(target_height=240))).windows

    assert isinstance(window.preview, RowError)
    assert window.preview.kind == "unsupported"
    assert window.mp4 is not None


def test_slow_clips_repeat_frames() -> None:
    data = making.make(making.Made(num_frames=4, times=lambda i: 100 * i))  # a frame every four seconds
    (window,) = process_clip(data, Wanted(preview=PreviewSpec(target_height=56))).windows

    assert isinstance(window.preview, Preview)
    assert window.preview.num_frames == 16
    shown = [np.asarray(image).tobytes() for image in images(window.preview)]
    assert [shown.index(frame) // 4 for frame in shown] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
