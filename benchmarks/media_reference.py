"""The media work on a clip against a plain decode of it, and against the reference's own functions.

    python benchmarks/media_reference.py [--clips 720p-8s 720p-34s …] [--rounds 3] [--environment DIR]

The reference is `nemo-curator[video_cpu]` from PyPI in an environment of its own, made on first use (6.4 GB), with
the ffmpeg command of the system: `split_video_into_windows(..., return_bytes=True)`, then its preview stage's command
on each window. Sides take turns; each call has a process of its own. Printed: medians of CPU seconds (children
included), wall seconds, the largest process's peak of resident memory, and CPU time as a multiple of PyAV's plain
decode on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PACKAGE = "nemo-curator[video-cpu]==1.4.0"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "colcap-benchmarks"
CLIPS = {
    f"{height}p-{seconds}s": (width, height, frames)
    for width, height in ((1280, 720), (1920, 1080))
    for seconds, frames in ((8, 250), (34, 1020), (60, 1800))
}
Work = Callable[[bytes], object]


def pyav_decode(_: Path) -> Work:
    """Every frame by PyAV, one thread."""
    from media_cpu import plain_decode

    return plain_decode


def ffmpeg_decode(path: Path) -> Work:
    """Every frame by the ffmpeg command, one thread."""
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", path, "-map", "0:v", "-f", "null", "-"]
    return lambda _: subprocess.run(command, check=True)


def ffmpeg_preview(path: Path) -> Work:
    """One decode and one WebP of the whole clip, by one ffmpeg command: what a clip of one window takes at least
    where every frame is decoded."""
    picture = ["-vf", "fps=1,scale=-1:240", "-c:v", "libwebp", "-compression_level", "6", "-q:v", "50", "-loop", "0"]
    command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", path, *picture, "-f", "webp", "-y", os.devnull]
    return lambda _: subprocess.run(command, check=True)


def ours(sample: str | None) -> Callable[[Path], Work]:
    """Windows, previews and perhaps samples."""

    def prepare(_: Path) -> Work:
        from media_cpu import PREVIEW, QWEN, TINY

        from colcap import media
        from colcap.media.worker_process import keep_memory

        keep_memory()  # as workers do
        spec = {"tiny": TINY, "qwen": QWEN, None: None}[sample]
        return lambda data: media.process_clip(data, media.Wanted(preview=PREVIEW, sample=spec))

    return prepare


def reference(*, frames: bool) -> Callable[[Path], Work]:
    """The reference's windows and previews, with or without the frames it samples."""

    def prepare(_: Path) -> Work:
        from nemo_curator.stages.video.preview.preview import PreviewStage
        from nemo_curator.tasks.video import _Window
        from nemo_curator.utils.windowing_utils import split_video_into_windows

        stage = PreviewStage()

        def work(data: bytes) -> None:
            split = split_video_into_windows(data, return_bytes=True, return_video_frames=frames)
            for mp4, span in zip(split[0], split[2], strict=True):
                window = _Window(span.start, span.end, mp4_bytes=mp4)
                stage._generate_preview(window)
                assert window.webp_bytes

        return work

    return prepare


FLOOR = "floor: decode + WebP, ffmpeg"
SIDES: dict[str, Callable[[Path], Work]] = {
    "plain decode, PyAV": pyav_decode,
    "plain decode, ffmpeg": ffmpeg_decode,
    FLOOR: ffmpeg_preview,
    "windows + previews": ours(None),
    "+ samples, tiny's size": ours("tiny"),
    "+ samples, Qwen's size": ours("qwen"),
    "reference: windows + previews": reference(frames=False),
    "reference: + frames": reference(frames=True),
}


def measure(side: str, path: Path) -> dict[str, float]:
    """One call in this process, after everything is imported."""
    work, data = SIDES[side](path), path.read_bytes()
    before, started = used(), time.monotonic()
    work(data)
    wall, after = time.monotonic() - started, used()
    return {"cpu": after - before, "wall": wall, "peak": max(peak_mb(), children_peak_mb())}


def peak_mb() -> float:
    """Peak of this process's resident memory; `ru_maxrss` would start from that of the process which started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def children_peak_mb() -> float:
    """Peak of its largest child, or its own size when it started that: never more than the larger peak of both."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def used() -> float:
    """CPU seconds of this process and its children so far."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def in_process(python: Path, side: str, path: Path) -> dict[str, float]:
    """`measure` in a process of its own."""
    command = [python, __file__, "--measure", side, str(path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(said.splitlines()[-1])
    return found


def reference_python(folder: Path) -> Path:
    """The interpreter of the reference's environment, which is made if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {PACKAGE} into {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", PACKAGE], check=True)
    return python


def clip(name: str) -> Path:
    """A film-like clip, kept for the next time."""
    from media_cpu import film

    path = CACHE / f"{name}.mp4"
    if not path.exists():
        width, height, frames = CLIPS[name]
        CACHE.mkdir(parents=True, exist_ok=True)
        path.write_bytes(film(frames, width=width, height=height))
    return path


def compare(name: str, path: Path, rounds: int, reference: Path) -> None:
    """Print one clip's table."""
    seen: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side, found in seen.items():
            python = reference if side.startswith("reference") else Path(sys.executable)
            found.append(in_process(python, side, path))
    floor = median(seen["plain decode, PyAV"], "cpu")
    print(f"\n| {name} | CPU s | x decode | wall s | peak MB |\n|---|---|---|---|---|")
    for side, found in seen.items():
        cpu, wall, peak = (median(found, what) for what in ("cpu", "wall", "peak"))
        print(f"| {side} | {cpu:.2f} | {cpu / floor:.2f} | {wall:.1f} | {peak:.0f} |")
    for kind, mine, theirs in (
        ("windows + previews", "windows + previews", "reference: windows + previews"),
        ("windows + previews, the floor for colcap", FLOOR, "reference: windows + previews"),
        ("with frames", "+ samples, Qwen's size", "reference: + frames"),
    ):
        print(
            f"reference / colcap, {kind}: {median(seen[theirs], 'cpu') / median(seen[mine], 'cpu'):.1f} x CPU",
            flush=True,
        )


def median(found: list[dict[str, float]], what: str) -> float:
    """Of one column."""
    return statistics.median(each[what] for each in found)


def main() -> None:
    """Read the arguments and compare each clip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", nargs="*", choices=list(CLIPS), default=list(CLIPS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--environment", type=Path, default=CACHE / "reference")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure[0], Path(args.measure[1]))))
        return
    python = reference_python(args.environment)
    for name in args.clips:
        compare(name, clip(name), args.rounds, python)


if __name__ == "__main__":
    main()
