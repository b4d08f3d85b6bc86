"""What brightness and motion of previews (`@dark`, `@frozen`) cost: their share of the CPU time of its window.

    python benchmarks/preview_statistics.py [--rounds N]

Both times are of the same calls, so that other work on the machine moves the share little.
"""

from __future__ import annotations

import argparse
import statistics
import time

from av.video.frame import VideoFrame
from media_cpu import PREVIEW, cpu_s, film

from colcap import media
from colcap.media.seen import Seen


def main() -> None:
    """Time the media work on a clip, and within it what looks at the preview's frames."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    looked = Looked()
    data = film(250)
    shares = []
    for _ in range(args.rounds):
        looked.seconds = 0.0
        whole = cpu_s(lambda: media.process_clip(data, media.Wanted(preview=PREVIEW, sample=None)))
        shares.append(looked.seconds / whole)
    print(f"720p, 8 s: {100 * statistics.median(shares):.2f} % of {whole:.2f} CPU s, at most {100 * max(shares):.2f} %")


class Looked:
    """Sums up the CPU seconds spent in `Seen.add`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        add = Seen.add

        def timed(seen: Seen, index: int, frame: VideoFrame) -> None:
            start = time.process_time()
            add(seen, index, frame)
            self.seconds += time.process_time() - start

        Seen.add = timed  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
