"""Kill runs on an object store that loses requests and answers, again and again, and look at what is left.

    python benchmarks/chaos_store.py [--kills N] [--seed S] [--clips N] [--rate R]

Windows and previews. Each start is killed (SIGKILL of the process group) after a time that is drawn by seed. A share R
of the requests fails, before or after they were done, or their answers are cut. Parts that were committed must stay as
they are, and in the end every row must be there once, as in an undisturbed run on this disk, and no other object.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from object_stores import make_clips, store

import colcap
from colcap import objects
from colcap.manifests import from_sources, write_manifest
from colcap.objects import Url
from colcap.qa.check import check

HASHED = """
select window_id, sha256(mp4) as hash from windows_mp4
union all select window_id, sha256(webp) from previews_webp
"""


def rows(run: colcap.Run) -> dict[str, list[tuple[object, ...]]]:
    """Every row, and the hashes of all bytes."""
    frames = {name: run.table(name).collect().drop("uri", strict=False) for name in ("clips", "windows", "previews")}
    frames["bytes"] = run.sql(HASHED, blobs=True)
    return {name: sorted(frame.rows(), key=repr) for name, frame in frames.items()}


def committed(url: Url) -> dict[str, str]:
    """Clips tables that are there, which say that their parts are."""
    return {str(meta.url): meta.etag for meta in objects.list_under(url / "clips")}


def killed(command: list[str], after_s: float) -> bool:
    """Start it and kill it; whether it was still alive."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def main() -> None:
    """Kill, look, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--rate", type=float, default=0.05)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, store(0.0) as endpoint:
        torture(Path(name), endpoint, given)


def torture(folder: Path, endpoint: str, given: argparse.Namespace) -> None:
    """All of it."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    (folder / "clips").mkdir()
    make_clips(folder / "clips", given.clips)
    for path in (folder / "clips").iterdir():
        objects.put(Url.parse(f"s3://bucket/clips/{path.name}"), path)
    write_manifest(from_sources(["s3://bucket/clips"]), Url.parse("s3://bucket/m.parquet"))
    calm = rows(colcap.run("s3://bucket/m.parquet", folder / "calm", generate_captions=False, clips_per_part=1))
    faults = f"{endpoint}/-faults?seed={given.seed}&rate={given.rate}"
    urllib.request.urlopen(urllib.request.Request(faults, method="POST")).close()

    run, dice, kills, rewritten = Url.parse("s3://bucket/run"), random.Random(given.seed), 0, 0
    command = [sys.executable, "-m", "colcap", "run", "s3://bucket/m.parquet", str(run)]
    started = time.monotonic()
    for _ in range(given.kills):
        before = committed(run)
        kills += killed([*command, "--no-generate-captions", "--clips-per-part", "1"], dice.uniform(1.0, 4.0))
        after = committed(run)
        rewritten += sum(after.get(name) != etag for name, etag in before.items())
    made = colcap.run("s3://bucket/m.parquet", run, generate_captions=False, clips_per_part=1)
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/-faults", method="POST")).close()
    left = [str(m.url) for m in objects.list_under(run) if m.url.name.startswith((".stage", ".commit"))]
    print(f"{kills} kills in {time.monotonic() - started:.0f} s; committed parts written again: {rewritten}")
    print(f"rows as undisturbed: {rows(made) == calm}; problems: {check(made.path, verify=True)}; left over: {left}")


if __name__ == "__main__":
    main()
