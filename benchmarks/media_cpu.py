"""CPU seconds of the media work on a clip against one plain decode of it, on one thread.

    python benchmarks/media_cpu.py [FILE...] [--rounds N]

Without files it makes two: a film-like one (moving noise over gradients) of 34 s and one of a single window.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from colcap import media
from colcap.media.worker_process import keep_memory

TINY = media.SampleSpec(factor=28, min_pixels=7840, max_pixels=15680)
QWEN = media.SampleSpec()
PREVIEW = media.PreviewSpec()
WORK = {
    "windows + previews": media.Wanted(preview=PREVIEW, sample=None),
    "+ samples, tiny's size": media.Wanted(preview=PREVIEW, sample=TINY),
    "+ samples, Qwen's size": media.Wanted(preview=PREVIEW, sample=QWEN),
}


def film(num_frames: int, *, width: int = 1280, height: int = 720, fps: int = 30) -> bytes:
    """H.264 that costs what film costs: textured, everything moves, x264's own default settings."""
    rng = np.random.default_rng(0)
    texture = rng.normal(0, 18, (height * 2, width * 2)).astype(np.float32)
    for axis in (0, 1):  # soften, so that it is grain and not static
        texture = (texture + np.roll(texture, 1, axis) + np.roll(texture, 2, axis)) / 3
    ramp = (
        np.linspace(60, 190, width, dtype=np.float32)[None, :] + np.linspace(-30, 30, height, dtype=np.float32)[:, None]
    )
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "23", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(num_frames):
            dy, dx = 3 * index % height, 5 * index % width
            luma = np.clip(ramp + texture[dy : dy + height, dx : dx + width], 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.repeat(luma[..., None], 3, axis=2), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def plain_decode(data: bytes) -> None:
    """Every frame, nothing done with it: the floor."""
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "NONE", 1
        for _ in container.decode(stream):
            pass


def cpu_s(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(name: str, data: bytes, rounds: int) -> None:
    """Interleave the floor with each kind of work and print the ratios."""
    floors: list[float] = []
    ours: dict[str, list[float]] = {label: [] for label in WORK}
    for _ in range(rounds):
        floors.append(cpu_s(lambda: plain_decode(data)))
        for label, wanted in WORK.items():
            ours[label].append(cpu_s(lambda wanted=wanted: media.process_clip(data, wanted)))  # type: ignore[misc]
    floor = statistics.median(floors)
    print(f"{name}: one plain decode {floor:.2f} CPU s")
    for label, seconds in ours.items():
        print(f"  {label:<24} {statistics.median(seconds):6.2f} CPU s   {statistics.median(seconds) / floor:.2f} x")
    sys.stdout.flush()


def main() -> None:
    """Read the arguments and compare each clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # one core: CPU time is then comparable
    keep_memory()  # as workers do
    clips = {file.name: file.read_bytes() for file in args.files}
    for name, data in (clips or {"film 720p 34 s": film(1020), "film 720p 8 s": film(250)}).items():
        compare(name, data, args.rounds)


if __name__ == "__main__":
    main()
