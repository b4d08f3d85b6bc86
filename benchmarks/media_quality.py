"""What `cut="encode"` costs in quality and size, measured with the ffmpeg command's psnr and ssim filters.

    python benchmarks/media_quality.py [FILE...]

Each window that is encoded again is compared with the same window copied, which holds exactly the source's frames.
Without files it makes three clips: film-like, flat graphics, static noise.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from media_cpu import cpu_s, film, plain_decode
from numpy.typing import NDArray

from colcap import media

NUM_FRAMES = 256


def encoded(pictures: Iterator[NDArray[np.uint8]]) -> bytes:
    """H.264 of some pictures at 30 frames a second, with x264's own settings."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def graphics() -> Iterator[NDArray[np.uint8]]:
    """Flat shapes that move over a flat ground."""
    for index in range(NUM_FRAMES):
        picture = np.full((720, 1280, 3), 235, np.uint8)
        picture[100:400, 4 * index % 1000 :][:, :280] = (200, 30, 20)
        picture[350:650, 1000 - 3 * index % 1000 :][:, :200] = (20, 60, 200)
        yield picture


def noise() -> Iterator[NDArray[np.uint8]]:
    """What no encoder can foresee."""
    rng = np.random.default_rng(0)
    for _ in range(NUM_FRAMES // 4):
        yield rng.integers(0, 255, (180, 320, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)


def similarity(ours: bytes, theirs: bytes) -> tuple[float, float]:
    """PSNR in dB and SSIM of two files' frames, as ffmpeg sees them."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("ours.mp4", "theirs.mp4")]
        for path, data in zip(paths, (ours, theirs), strict=True):
            path.write_bytes(data)
        graph = "[0:v]split[a][b];[1:v]split[c][d];[a][c]psnr;[b][d]ssim"
        command = ["ffmpeg", "-hide_banner", "-i", paths[0], "-i", paths[1], "-lavfi", graph, "-f", "null", "-"]
        said = subprocess.run(command, capture_output=True, check=True).stderr.decode()
    psnr, ssim = re.search(r"average:(\S+)", said), re.search(r"SSIM.*All:(\S+)", said)
    assert psnr is not None
    assert ssim is not None
    return float(psnr[1]), float(ssim[1])


def compare(name: str, data: bytes) -> None:
    """Print one clip's line."""
    copied = media.process_clip(data, media.Wanted()).windows
    floor = cpu_s(lambda: plain_decode(data))
    cost = cpu_s(lambda: media.process_clip(data, media.Wanted(cut="encode")))
    again = media.process_clip(data, media.Wanted(cut="encode")).windows
    pairs = [(a.mp4, b.mp4) for a, b in zip(again, copied, strict=True) if a.mp4 and b.mp4]
    found = [similarity(*pair) for pair in pairs]
    size = sum(len(a) for a, _ in pairs) / sum(len(b) for _, b in pairs)
    print(
        f"{name}: PSNR {min(psnr for psnr, _ in found):.1f} dB, SSIM {min(ssim for _, ssim in found):.4f} at worst of "
        f"{len(found)} windows; {size:.2f} x the bytes, {cost / floor:.1f} x the CPU time of a decode",
        flush=True,
    )


def main() -> None:
    """Read the arguments and compare each clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_args()
    clips = {file.name: file.read_bytes() for file in args.files}
    made = {
        "film": lambda: film(NUM_FRAMES),
        "graphics": lambda: encoded(graphics()),
        "noise": lambda: encoded(noise()),
    }
    for name, data in (clips or {name: make() for name, make in made.items()}).items():
        compare(name, data)


if __name__ == "__main__":
    main()
