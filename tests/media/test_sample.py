"""Sampled frames: the right ones, at the model's size, with the right colours, and an id of their own."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import clips
import making
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from colcap.errors import RowError
from colcap.media import Limits, Preview, PreviewSpec, Sample, SampleSpec, Wanted, process_clip

RAW = SampleSpec(resize=False)
TINY = SampleSpec(min_pixels=7840, max_pixels=15680)


def sample_of(data: bytes, spec: SampleSpec) -> Sample:
    result = process_clip(data, Wanted(sample=spec, cut=None)).windows[0].sample
    assert isinstance(result, Sample), result
    return result


@pytest.mark.parametrize(
    "name", ["h264 gop 250", "h264 open gop", "h264 vfr", "vp9 webm", "hevc", "mpeg2 mpg", "edit list"]
)
def test_raw_samples_are_the_sources_frames(name: str) -> None:
    data = clips.clip(name)
    result = sample_of(data, RAW)
    source = clips.decoded(data)

    assert result.frames.shape == (len(result.frame_indices), 112, 160, 3)
    assert (result.frame_indices[0], result.frame_indices[-1]) == (0, len(source) - 1)
    assert result.source_frames == len(source)
    for pixels, index in zip(result.frames, result.frame_indices, strict=True):
        assert (pixels == rgb(source[index])).all()


@pytest.mark.parametrize("width", range(146, 178, 2))
def test_raw_samples_are_whole_whatever_their_width(width: int) -> None:
    """swscale's shortcut for frames of their own size left the last columns as the memory was."""
    made = making.Made(width=width, num_frames=8, x264="qp=10")
    data = making.make(made)
    shown = next(making.pictures(made))

    assert clips.psnr([sample_of(data, RAW).frames[0, :, -9:]], [shown[:, -9:]]) > 25


def rgb(frame: VideoFrame) -> NDArray[np.uint8]:
    return frame.reformat(format="rgb24", interpolation=Interpolation.BICUBIC).to_ndarray()


def test_size_is_the_models_budget() -> None:
    result = sample_of(clips.clip("h264 gop 12"), TINY)

    assert result.frames.shape == (8, 84, 140, 3)
    assert result.frames.dtype == np.uint8
    assert result.frames.flags["C_CONTIGUOUS"]


def test_frames_share_the_total_budget() -> None:
    few = sample_of(clips.clip("h264 gop 12"), SampleSpec(sampling_fps=1, total_pixels=100 * 784))
    many = sample_of(clips.clip("h264 gop 12"), SampleSpec(sampling_fps=10, min_pixels=784, total_pixels=100 * 784))

    assert few.frames.shape[0] == 4
    assert many.frames.shape[0] == 36
    assert many.frames[0].size < few.frames[0].size


@pytest.mark.parametrize(
    ("name", "turn"), [("h264 rotated", lambda a: np.rot90(a, 1)), ("h264 mirrored", lambda a: a[:, ::-1])]
)
def test_samples_are_upright(name: str, turn: object) -> None:
    coded = clips.decoded(clips.clip(name))
    result = sample_of(clips.clip(name), RAW)

    for pixels, index in zip(result.frames, result.frame_indices, strict=True):
        assert (pixels == turn(rgb(coded[index]))).all()


def test_id_is_of_content_and_sampling() -> None:
    data = clips.clip("h264 gop 12")
    specs = [TINY, RAW, replace(TINY, sampling_fps=3.0), replace(TINY, factor=14)]
    ids = [sample_of(data, spec).content_id for spec in specs]
    other = sample_of(making.make(making.Made(num_frames=91)), TINY).content_id
    parts = process_clip(data, Wanted(window_size=30, remainder_threshold=30, sample=TINY)).windows

    assert len({*ids, other, *(part.sample.content_id for part in parts)}) == 5 + 3  # type: ignore[union-attr]
    assert sample_of(clips.clip("h264 gop 12"), TINY).content_id == ids[0]


COLORS = {
    "601": making.Made(color=(5, 1)),
    "601 full": making.Made(color=(5, 2)),
    "709": making.Made(color=(1, 1)),
    "709 full": making.Made(color=(1, 2)),
    "untagged": making.Made(),
    "10 bit 709": making.Made(color=(1, 1), pix_fmt="yuv420p10le"),
    "444": making.Made(pix_fmt="yuv444p"),
    "jpeg": making.Made("mjpeg", "matroska", pix_fmt="yuvj420p"),
    "rgb": making.Made("png", "mov", pix_fmt="rgb24"),
    "pq": replace(clips.COPIED["hevc pq"], x264=clips.COPIED["hevc pq"].x264 + "crf=6:", color=(9, 1)),
    "hlg": replace(
        clips.COPIED["hevc hlg 422 mkv"], x264=clips.COPIED["hevc hlg 422 mkv"].x264 + "crf=6:", color=(9, 1)
    ),
    "rotated": making.Made(rotation=90),
    "turned over": making.Made(rotation=180),
}


def colored(name: str) -> bytes:
    made = COLORS[name]
    return making.make(replace(made, num_frames=8, x264=made.x264 or "qp=10"))


def by_ffmpeg(ffmpeg: str, data: bytes, height: int, *, deep: bool) -> np.ndarray:
    """The first frame in RGB, upright; with the flags without which `deep` colours come out darker than drawn."""
    scale = f"scale=-1:{height}:flags=bicubic" + "+full_chroma_int+accurate_rnd" * deep
    options = ["-v", "error", "-i", "-", "-frames:v", "1", "-vf", scale, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run([ffmpeg, *options], input=data, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(height, -1, 3)


def softened(picture: np.ndarray) -> np.ndarray:
    """Means of 8x8 pixels: versions of libswscale differ in how they fill in colour samples between pixels."""
    height, width = picture.shape[0] // 8, picture.shape[1] // 8
    return picture[: height * 8, : width * 8].reshape(height, 8, width, 8, 3).mean((1, 3))


@pytest.mark.parametrize("name", list(COLORS))
def test_colours_are_those_of_ffmpeg(name: str, ffmpeg: str) -> None:
    from test_preview import images

    spec = PreviewSpec(target_fps=25, target_height=80, quality=100)
    (window,) = process_clip(colored(name), Wanted(preview=spec, sample=RAW)).windows

    assert isinstance(window.preview, Preview)
    assert isinstance(window.sample, Sample)
    sample, preview = window.sample.frames[0], np.asarray(images(window.preview)[0])
    for ours in (sample, preview):
        expected = by_ffmpeg(ffmpeg, colored(name), ours.shape[0], deep="10" in COLORS[name].pix_fmt)
        assert clips.psnr([softened(ours)], [softened(expected)]) > 33
        assert np.abs(ours.mean((0, 1)) - expected.mean((0, 1))).max() < 2.5  # a wrong matrix or range is 10 off


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hevc pq", "HDR (PQ): previews and samples are not tone-mapped and look pale"),
        ("hevc hlg 422 mkv", "HDR (HLG): previews and samples are not tone-mapped and look pale"),
        ("h264 pixel aspect", "pixels of 4:3: previews and samples show them square"),
    ],
)
def test_what_is_not_shown_as_a_player_would_is_warned_of(name: str, expected: str) -> None:
    assert process_clip(clips.clip(name), Wanted()).probe.warning == expected


@pytest.mark.parametrize("name", list(COLORS))
def test_colours_are_those_that_were_drawn(name: str) -> None:
    data = colored(name)
    turns = {90: 1, 180: 2}.get(COLORS[name].rotation, 0)
    pixels = np.rot90(sample_of(data, RAW).frames[0], -turns)

    assert np.abs(pixels[4:28, 4:44].mean((0, 1)) - (200, 30, 20)).max() < 2.5  # another matrix would be 15 off


@pytest.mark.parametrize("name", ["601", "601 full", "709", "709 full", "jpeg", "rgb", "10 bit 709"])
@pytest.mark.parametrize("lossless", [False, True])
def test_previews_have_the_colours_of_samples(name: str, lossless: bool) -> None:
    from test_preview import images

    data = colored(name)
    spec = PreviewSpec(target_fps=25, target_height=112, quality=95, lossless=lossless)
    (window,) = process_clip(data, Wanted(preview=spec, sample=RAW)).windows

    assert isinstance(window.preview, Preview)
    assert isinstance(window.sample, Sample)
    ours = np.asarray(images(window.preview)[0]).astype(float)
    assert np.abs(ours.mean((0, 1)) - window.sample.frames[0].mean((0, 1))).max() < 2


def test_samples_over_the_output_limit_fail_alone() -> None:
    data = clips.clip("h264 gop 12")
    limits = Limits(max_output_bytes=200_000)
    windows = process_clip(data, Wanted(window_size=32, remainder_threshold=16, sample=TINY), limits).windows
    results = [window.sample for window in windows]

    assert isinstance(results[-1], RowError)
    assert results[-1].kind == "too_large"
    assert all(window.mp4 for window in windows)


def test_a_strip_no_model_takes_fails_alone() -> None:
    data = making.make(making.Made(width=4000, height=16, num_frames=8))
    (window,) = process_clip(data, Wanted(sample=SampleSpec())).windows

    assert isinstance(window.sample, RowError)
    assert window.sample.kind == "unsupported"
    assert window.mp4 is not None
