"""Clips that have lost something: what decodes is used, and the row says how much is gone."""

from __future__ import annotations

import gc
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import av
import clips
import making
import pytest

from colcap.errors import RowError
from colcap.media import PreviewSpec, Sample, SampleSpec, Wanted, process_clip

WANTED = Wanted(window_size=32, remainder_threshold=16, preview=PreviewSpec(target_height=60), sample=SampleSpec())


@pytest.mark.parametrize("name", ["h264 fragmented", "h264 mkv", "vp9 webm", "mpeg4 avi", "h264 flv", "mjpeg mkv"])
def test_truncated_clips_give_what_is_there_and_a_warning(name: str) -> None:
    data = clips.clip(name)
    result = process_clip(data[: len(data) * 6 // 10], WANTED)

    assert 20 < result.probe.num_frames < 80
    assert result.probe.warning is not None
    for window in result.windows:
        assert window.mp4 is not None
        assert len(clips.frame_hashes(window.mp4)) == window.num_frames


def test_an_mp4_without_its_index_is_unreadable() -> None:
    data = clips.clip("h264 gop 12")
    with pytest.raises(RowError) as raised:
        process_clip(data[: len(data) // 2], WANTED)

    assert raised.value.kind == "unreadable"
    assert "moov" in raised.value.text


def test_a_broken_middle_costs_its_frames_only() -> None:
    data = bytearray(clips.clip("h264 ts"))
    for packet in range(len(data) // 188 // 3, len(data) // 188 // 2):
        data[188 * packet + 4 : 188 * packet + 188] = bytes(184)
    result = process_clip(bytes(data), WANTED)

    assert 10 < result.probe.num_frames <= 90
    assert sum(len(clips.frame_hashes(w.mp4)) for w in result.windows if w.mp4) == result.probe.num_frames


def _cut_out(ts: bytes) -> bytes:
    """Without 78 transport packets, after which the video's counter of 16 goes on as if nothing were missing."""
    packets = [ts[at : at + 188] for at in range(0, len(ts), 188)]
    assert packets[132][1:4] == packets[210][1:4]
    return b"".join(packets[:132] + packets[210:])


def _overwritten(flv: bytes) -> bytes:
    start = len(flv) // 10
    return flv[:start] + b"\xff" * 6000 + flv[start + 6000 :]


@pytest.mark.parametrize(("name", "lose"), [("h264 ts", _cut_out), ("h264 flv", _overwritten)])
def test_frames_lost_from_containers_that_do_not_count_them_are_told(name: str, lose: Callable[[bytes], bytes]) -> None:
    result = process_clip(lose(clips.clip(name)), WANTED)

    assert result.probe.num_frames < 90
    assert "damaged: libav: " in (result.probe.warning or "")
    for window in result.windows:
        assert window.mp4 is not None
        assert len(clips.frame_hashes(window.mp4)) == window.num_frames


@pytest.mark.parametrize(("num_frames", "kind"), [(1, "too_short"), (3, "too_short")])
def test_short_clips_are_skipped(num_frames: int, kind: str) -> None:
    with pytest.raises(RowError) as raised:
        process_clip(making.make(making.Made(num_frames=num_frames)), WANTED)

    assert (raised.value.kind, raised.value.status) == (kind, "skipped")


def test_a_clip_without_video_is_skipped() -> None:
    with pytest.raises(RowError) as raised:
        process_clip(clips.sound_only(), WANTED)

    assert (raised.value.kind, raised.value.status) == ("no_video", "skipped")


@pytest.mark.parametrize("container", ["matroska", "avi", "mpegts"])
def test_a_clip_without_frames_is_skipped(container: str) -> None:
    with pytest.raises(RowError) as raised:
        process_clip(clips.sound_only(container, empty_video=True), WANTED)

    assert (raised.value.kind, raised.value.status) == ("no_frames", "skipped")


def test_a_clip_whose_frames_are_cut_off_is_an_error() -> None:
    with pytest.raises(RowError) as raised:
        process_clip(clips.clip("h264 mkv")[:1100], WANTED)

    assert (raised.value.kind, raised.value.status) == ("no_frames", "error")
    assert "File ended prematurely" in raised.value.text


def test_a_clip_whose_frames_do_not_decode_is_corrupt() -> None:
    data = bytearray(clips.clip("h264 gop 12"))
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[start:end] = bytes((i * 7 + 3) % 251 for i in range(end - start))
    with pytest.raises(RowError) as raised:
        process_clip(bytes(data), WANTED)

    assert raised.value.kind == "corrupt"
    assert "h264" in raised.value.text
    assert "libav:" in raised.value.text


def test_libav_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    data = clips.clip("h264 mkv")
    process_clip(data[: len(data) // 2], WANTED)
    process_clip(data[: len(data) // 2], Wanted(num_threads=2, preview=PreviewSpec()))

    assert capfd.readouterr() == ("", "")


def test_a_cover_picture_is_not_the_video() -> None:
    result = process_clip(clips.with_cover(clips.clip("h264 gop 12")), WANTED)

    assert (result.probe.codec, result.probe.num_frames) == ("h264", 90)
    with pytest.raises(RowError) as raised:
        process_clip(clips.with_cover(None), WANTED)
    assert (raised.value.kind, raised.value.status) == ("no_video", "skipped")


@pytest.mark.parametrize(
    ("name", "number", "share"),
    [("av1 mp4", 39, 0.5), ("vp9 webm", 39, 0.7), ("h264 gop 12", 34, 0.02), ("hevc", 39, 0.02)],
)
def test_damage_in_frames_that_nobody_wants_is_told(name: str, number: int, share: float) -> None:
    data = bytearray(clips.clip(name))
    wanted = Wanted(window_size=90, sample=SampleSpec(sampling_fps=1.2))
    chosen = process_clip(bytes(data), wanted).windows[0].sample
    assert isinstance(chosen, Sample)
    assert chosen.frame_indices == [0, 30, 59, 89]
    at, size = packet_at(bytes(data), number)
    data[at : at + max(4, int(share * size))] = b"\xff" * max(4, int(share * size))
    result = process_clip(bytes(data), wanted)

    assert result.probe.warning is not None
    assert "damaged: " in result.probe.warning
    for window in result.windows:
        assert window.mp4 is not None
        assert len(clips.frame_hashes(window.mp4)) == window.num_frames


def packet_at(data: bytes, number: int) -> tuple[int, int]:
    """Where the packet of a displayed frame is in a file, and its size."""
    with av.open(io.BytesIO(data)) as container:
        packets = sorted((p for p in container.demux(video=0) if p.size), key=lambda packet: packet.pts or 0)
        body = bytes(packets[number])
        return data.index(body), len(body)


@pytest.mark.parametrize("cut", ["copy", "encode"])
def test_frames_and_encoders_do_not_wait_for_the_garbage_collector(cut: Literal["copy", "encode"]) -> None:
    data = bytearray(clips.clip("h264 mkv"))
    data[len(data) // 3 : len(data) // 3 + 400] = b"\x5a" * 400  # encoders of the first pass are given up
    gc.collect()
    gc.disable()
    try:
        process_clip(bytes(data), replace(WANTED, cut=cut))
        left = gc.collect()
    finally:
        gc.enable()

    assert left == 0
