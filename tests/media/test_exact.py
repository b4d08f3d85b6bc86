"""Windows show exactly the source's frames; products of a stored window are those made of the source."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from typing import Literal

import av
import clips
import pytest

from colcap.media import Clip, Preview, PreviewSpec, Sample, SampleSpec, Wanted, process_clip, process_window

WANTED = Wanted(
    window_size=32,
    remainder_threshold=16,
    preview=PreviewSpec(target_fps=5, target_height=60, compression_level=1),
    sample=SampleSpec(sampling_fps=3.0, min_pixels=7840, max_pixels=15680),
)
COPIED = clips.COPIED_NAMES


@cache
def made_of(name: str) -> Clip:
    return process_clip(clips.clip(name), WANTED)


def window_hashes(made: Clip) -> list[list[str]]:
    return [clips.frame_hashes(window.mp4) for window in made.windows if window.mp4 is not None]


def is_warned_of(made: Clip) -> bool:
    """Whether the clip is said to be damaged; all that is said of an intact one is how it looks."""
    return not (made.probe.warning or "HDR").startswith(("HDR", "pixels of"))


@pytest.mark.parametrize("name", COPIED)
def test_copied_windows_show_exactly_the_sources_frames(name: str) -> None:
    data, result = clips.clip(name), made_of(name)
    expected = clips.frame_hashes(data)

    assert {window.cut for window in result.windows} == {"copy"}
    assert window_hashes(result) == [expected[w.start_frame : w.end_frame + 1] for w in result.windows]
    assert sum(w.num_frames for w in result.windows) == result.probe.num_frames == len(expected)
    assert not is_warned_of(result)


@pytest.mark.parametrize("name", [*COPIED, *clips.ENCODED_NAMES])
def test_ffmpeg_reads_the_same_frames_of_each_window(name: str, ffmpeg: str) -> None:
    assert ffmpeg
    data, result = clips.clip(name), made_of(name)
    source = clips.frame_hashes(data)
    for window in result.windows:
        assert window.mp4 is not None
        expected = clips.frame_hashes(window.mp4)

        found = clips.ffmpeg_hashes(window.mp4)
        if result.probe.codec == "av1":  # ffmpeg 5.1 hands AV1 to dav1d without telling it what not to show
            found = found[-window.num_frames :]

        assert len(expected) == window.num_frames
        assert found == expected
        assert window.cut == "encode" or expected == source[window.start_frame : window.end_frame + 1]


@pytest.mark.parametrize("size", [5, 7, 8, 13, 15])
@pytest.mark.parametrize(
    "name",
    ["h264 open gop", "h264 open gop ts", "hevc open gop", "mpeg2 ts", "h264 vfr", "edit list", "vp9 mp4 alt ref"],
)
def test_windows_may_start_anywhere_in_a_gop(name: str, size: int) -> None:
    data = clips.clip(name)
    result = process_clip(data, replace(WANTED, window_size=size, remainder_threshold=2))

    assert {window.cut for window in result.windows} == {"copy"}
    assert all(isinstance(window.sample, Sample) for window in result.windows)
    assert [one for some in window_hashes(result) for one in some] == clips.frame_hashes(data)


@pytest.mark.parametrize("name", COPIED)
def test_copied_windows_start_at_zero_and_keep_their_times(name: str) -> None:
    data = clips.clip(name)
    source = [float(frame.pts * frame.time_base) for frame in clips.decoded(data)]
    for window in process_clip(data, Wanted(window_size=32, remainder_threshold=16)).windows:
        assert window.mp4 is not None
        times = [float(frame.pts * frame.time_base) for frame in clips.decoded(window.mp4)]
        expected = source[window.start_frame : window.end_frame + 1]

        assert times == pytest.approx([at - expected[0] for at in expected], abs=1e-9)
        assert window.start_s == pytest.approx(expected[0] - source[0])
        if window.end_frame + 1 < len(source):
            assert window.end_s == pytest.approx(source[window.end_frame + 1] - source[0])


@pytest.mark.parametrize("name", COPIED)
def test_a_stored_window_gives_the_same_products(name: str) -> None:
    result = made_of(name)
    for window in result.windows:
        assert window.mp4 is not None
        later = process_window(window.mp4, WANTED, fps=result.probe.fps, duration_s=window.end_s - window.start_s)

        assert isinstance(window.preview, Preview)
        assert isinstance(window.sample, Sample)
        assert isinstance(later.sample, Sample)
        assert later.preview == window.preview
        assert later.sample.frame_indices == window.sample.frame_indices
        assert (later.sample.frames == window.sample.frames).all()


def test_encoded_windows_are_the_same_bytes_in_every_run() -> None:
    wanted = Wanted(window_size=32, remainder_threshold=16)
    result = {tuple(window.mp4 for window in process_clip(clips.clip("vp8 webm"), wanted).windows) for _ in range(40)}

    assert len(result) == 1


@pytest.mark.parametrize("name", clips.ENCODED_NAMES)
def test_what_cannot_be_copied_is_encoded_again_with_every_frame(name: str) -> None:
    data, result = clips.clip(name), made_of(name)
    source = [frame.to_ndarray(format="gray") for frame in clips.decoded(data)]

    assert {window.cut for window in result.windows} == {"encode"}
    assert all("encoded again" in (window.warning or "") for window in result.windows)
    assert sum(w.num_frames for w in result.windows) == len(source)
    assert not is_warned_of(result)
    for window in result.windows:
        assert window.mp4 is not None
        frames = [frame.to_ndarray(format="gray") for frame in clips.decoded(window.mp4)]

        assert len(frames) == window.num_frames
        assert clips.psnr(frames, source[window.start_frame : window.end_frame + 1]) > 30


@pytest.mark.parametrize(
    "name",
    [
        "h264 gop 12",
        "h264 vfr",
        "h264 rotated",
        "h264 rotated and mirrored",
        "h264 odd 444",
        "h264 full range 709",
        "h264 pixel aspect",
        "hevc pq",
        "edit list",
    ],
)
def test_encoding_on_request_keeps_frames_times_colours_and_orientation(name: str) -> None:
    data = clips.clip(name)
    source = clips.decoded(data)
    result = process_clip(data, Wanted(window_size=32, remainder_threshold=16, cut="encode"))
    for window in result.windows:
        assert window.mp4 is not None
        frames, expected = clips.decoded(window.mp4), source[window.start_frame : window.end_frame + 1]
        pixels = [[frame.to_ndarray(format="rgb24") for frame in some] for some in (frames, expected)]

        assert window.cut == "encode"
        assert clips.psnr(*pixels) > (30 if frames[0].format.name == expected[0].format.name else 25)  # 10 bits to 8
        assert [look(frame) for frame in frames] == [look(frame) for frame in expected]
        assert pixel_aspect(window.mp4) == pixel_aspect(data)
        assert [float((f.pts - expected[0].pts) * f.time_base) for f in expected] == pytest.approx(
            [float(f.pts * f.time_base) for f in frames]
        )
        assert packets_in_order(window.mp4)


def look(frame: av.VideoFrame) -> tuple[object, ...]:
    """How a frame is to be shown."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    tags = (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc)
    return (frame.width, frame.height, *tags, matrix and bytes(matrix))


def pixel_aspect(mp4: bytes) -> object:
    with av.open(io.BytesIO(mp4)) as container:
        return container.streams.video[0].sample_aspect_ratio


def packets_in_order(mp4: bytes) -> bool:
    """No frame comes before its turn, so that no reader needs an edit list."""
    with av.open(io.BytesIO(mp4)) as container:
        times = [(packet.pts, packet.dts, packet.is_discard) for packet in container.demux(video=0) if packet.size]
    return all(pts == dts and not discard for pts, dts, discard in times)


def test_threads_change_nothing() -> None:
    data = clips.clip("h264 open gop")
    alone, many = process_clip(data, WANTED), process_clip(data, replace(WANTED, num_threads=3))

    assert [w.mp4 for w in many.windows] == [w.mp4 for w in alone.windows]
    assert [w.preview for w in many.windows] == [w.preview for w in alone.windows]


def test_a_clip_that_is_a_window_already_is_passed_on_unchanged() -> None:
    data = clips.clip("h264 gop 12")
    (window,) = process_clip(data, Wanted()).windows

    assert (window.cut, window.mp4) == ("whole", data)


@pytest.mark.parametrize("name", ["h264 audio", "h264 mov", "h264 mkv", "edit list"])
def test_windows_hold_video_and_nothing_else(name: str) -> None:
    (window,) = process_clip(clips.clip(name), Wanted()).windows

    assert window.cut == "copy"
    assert window.mp4 is not None
    with av.open(io.BytesIO(window.mp4)) as container:
        assert [stream.type for stream in container.streams] == ["video"]


@pytest.mark.parametrize("cut", ["copy", "encode"])
def test_the_index_comes_first(cut: Literal["copy", "encode"]) -> None:
    for window in process_clip(clips.clip("h264 mkv"), Wanted(window_size=32, cut=cut)).windows:
        assert window.mp4 is not None
        assert window.mp4.index(b"moov") < window.mp4.index(b"mdat")


@pytest.mark.parametrize("name", ["repeated times", "h264 asf", "h264 avi", "mpeg1 mpg", "theora ogv"])
def test_frames_without_times_of_their_own_are_spread_over_the_clip(name: str, ffmpeg: str) -> None:
    assert ffmpeg
    result = made_of(name)

    assert result.probe.fps == pytest.approx(25, rel=0.05)
    assert result.probe.duration_s == pytest.approx(3.6, rel=0.05)
