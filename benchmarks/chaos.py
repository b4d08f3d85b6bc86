"""Kill a run at seeded moments, start it again, and compare all it leaves with a run that nobody disturbed.

    python benchmarks/chaos.py [--kills 200] [--seed 0] [--clips 48] [--captions | --served]

A life is one `colcap run` in a process session of its own, which is killed (SIGKILL): the run alone, its whole process
group, one of its media workers, or, with `--captions`, its engine. Moments are seeded: a time after the start, shortly
after a part was committed, or exactly before the n-th file operation (open, rename, remove) in the run folder, so that
every step of a commit is cut off sooner or later. A run is started again until it ends by itself, and then a
new one begins. After every life: what is committed has the bytes that an undisturbed run gives, nothing committed
earlier was touched (inode, time), and no process is left. After every end: every table has every row once, no temp
file is there, and `colcap check --verify` finds nothing. Exits 1 at the first that does not hold.
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
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import psutil
from chaos_left import Broken, Job, compare, finish, parts_of

from colcap.media.awake import AwakeClock
from colcap.models.tiny.synth import clip, random_scene

SERVER = Path(__file__).with_name("simulated_engine.py")
DISTINCT = 6
SEEN_OPERATIONS = frozenset({"open", "os.rename", "os.remove", "os.mkdir"})
GONE_WITHIN_S = 20.0
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Kill:
    """Who dies, and when."""

    target: str
    """run, group, worker or engine."""
    moment: str
    """time (seconds), commit (of how many more parts) or operation (how many in the run folder)."""
    when: float


def make_manifest(folder: Path, num_clips: int, rng: random.Random) -> Path:
    """A manifest of many rows over a few small clips, one of which is broken."""
    for index in range(DISTINCT):
        scenes = [(random_scene(rng), 40)]
        (folder / f"{index}.mp4").write_bytes(clip(scenes, width=160, height=120, fps=24, rng=rng))
    (folder / "0.mp4").write_bytes(bytes(100))
    rows = [(f"clip-{index:03d}", str(folder / f"{index % DISTINCT}.mp4")) for index in range(num_clips)]
    path = folder / "m.parquet"
    pl.DataFrame(rows, schema=["clip_id", "uri"], orient="row").write_parquet(path)
    return path


def command(manifest: Path, run: Path, flags: tuple[str, ...]) -> list[str]:
    """The arguments of `colcap run`."""
    return ["run", str(manifest), str(run), "--clips-per-part", "2", "--media-workers", "2", *flags]


def undisturbed(manifest: Path, run: Path, flags: tuple[str, ...]) -> Job:
    """Run once in peace."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "colcap", *command(manifest, run, flags)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the undisturbed run exited with {done.returncode}:\n{done.stderr}")
    calm = {name: (run / name).read_bytes() for name in parts_of(run)}
    return Job(manifest, flags, calm, time.monotonic() - started)


def draw(rng: random.Random, job: Job, *, captions: bool) -> Kill:
    """The next kill."""
    target = rng.choice(["run", "group", "group", "worker", *(["engine"] if captions else [])])
    moment = rng.choice(["time", "commit"] if target in ("worker", "engine") else ["time", "commit", "operation"])
    when = {
        "time": rng.triangular(0, job.calm_s, 0.8 * job.calm_s),
        "commit": rng.randint(1, 4),
        "operation": rng.randint(1, 150),
    }[moment]
    return Kill(target, moment, when)


def live(job: Job, run: Path, kill: Kill, rng: random.Random) -> bool:
    """Start the run and kill it as told; returns whether the moment came before its end."""
    arguments = command(job.manifest, run, job.flags)
    start = [sys.executable, "-m", "colcap"]
    if kill.moment == "operation":
        start = [sys.executable, __file__, "--die-at", kill.target, str(int(kill.when)), str(run)]
    process = subprocess.Popen(
        [*start, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        killed = kill.moment != "operation" and wait_for(kill, process, run, rng) and strike(kill.target, process.pid)
        said = last_words(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode not in (0, -signal.SIGKILL):
        raise Broken(f"exit code {process.returncode} after {kill}:\n{said}")
    all_gone(process.pid)
    return killed or process.returncode != 0


def last_words(process: subprocess.Popen[bytes]) -> str:
    """What it said, once it has ended; the time in which this command itself was stopped does not count."""
    clock = AwakeClock()
    while clock.time() < PATIENCE_S:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=0.5)[1].decode()
    raise Broken(f"still running after {PATIENCE_S:g} s")


def wait_for(kill: Kill, process: subprocess.Popen[bytes], run: Path, rng: random.Random) -> bool:
    """Wait for the moment; False where the run ended before it."""
    if kill.moment == "time":
        with suppress(subprocess.TimeoutExpired):
            process.wait(kill.when)
        return process.poll() is None
    there = len(list(run.glob("clips/part-*")))
    while len(list(run.glob("clips/part-*"))) < there + kill.when:
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.05))
    return process.poll() is None


def strike(target: str, pid: int) -> bool:
    """SIGKILL the target; False where there is none (yet)."""
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        match target:
            case "run":
                os.kill(pid, signal.SIGKILL)
            case "group":
                os.killpg(pid, signal.SIGKILL)
            case _:
                found = [p for p in psutil.Process(pid).children(recursive=True) if is_a(target, p, pid)]
                for victim in found[-1:]:
                    victim.kill()
                return bool(found)
        return True
    return False


def is_a(target: str, process: psutil.Process, run_pid: int) -> bool:
    """Whether a process of the run is a media worker, or its engine."""
    with suppress(psutil.Error):
        words = " ".join(process.cmdline())
        if target == "engine":
            return f"colcap.engines.host {run_pid}" in words
        return "forkserver" in words and process.ppid() != run_pid  # its parent is the server it was forked from
    return False


def all_gone(pid: int) -> None:
    """Wait until no process of the run's session, and no engine of it, is left."""
    clock = AwakeClock()
    while left := [p.pid for p in psutil.process_iter() if belongs(p, pid)]:
        if clock.time() > GONE_WITHIN_S:
            raise Broken(f"processes {left} outlived their run {pid} by {GONE_WITHIN_S:g} s")
        time.sleep(0.05)


def belongs(process: psutil.Process, pid: int) -> bool:
    """Whether a living process is of this run."""
    with suppress(psutil.Error, ProcessLookupError):
        if process.status() != psutil.STATUS_ZOMBIE:
            return os.getsid(process.pid) == pid or f"colcap.engines.host {pid}" in " ".join(process.cmdline())
    return False


def lives(job: Job, folder: Path, rng: random.Random, *, captions: bool) -> Iterator[tuple[Kill, bool]]:
    """Kill and compare, for ever; gives each kill and whether its moment came."""
    while True:
        run = folder / f"run-{rng.getrandbits(32):08x}"
        ended = False
        while not ended:
            before, kill = parts_of(run), draw(rng, job, captions=captions)
            came = live(job, run, kill, rng)
            compare(job, run, before)
            ended = not came or kill.target in ("worker", "engine")
            if ended:
                finish(job, run)
            yield kill, came


def die_at(target: str, count: int, run: str) -> Callable[[str, tuple[object, ...]], None]:
    """An audit hook that kills this process, or its group, just before the n-th file operation in the run folder."""
    left = count

    def watch(event: str, args: tuple[object, ...]) -> None:
        nonlocal left
        if event in SEEN_OPERATIONS and str(args[0]).startswith(run):
            left -= 1
            if left == 0:
                (os.killpg if target == "group" else os.kill)(os.getpid(), signal.SIGKILL)

    return watch


@contextmanager
def captioned(args: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    """The flags that say who captions, while whoever it is answers."""
    if not args.served:
        yield ("--captioning-algorithm", "tiny") if args.captions else ("--no-generate-captions",)
        return
    words = ("--port", "0", "--slots", "8", "--prefill-ms", "20", "--token-ms", "1")
    # a session of its own, as the runs have: where this command is stopped for a while, they go on, and need it
    server = subprocess.Popen(
        [sys.executable, str(SERVER), *words], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        yield ("--engine", "openai", "--api-base", url, "--video-as", "images", "--captioning-algorithm", "simulated")
    finally:
        server.kill()
        server.wait()


def main() -> None:
    """Kill until it is enough, and print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--captions", action="store_true", help="with the embedded engine: half a minute a life")
    parser.add_argument("--served", action="store_true", help="with captions of a simulated server that stays up")
    args = parser.parse_args()
    rng, counts, started = random.Random(args.seed), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as name, captioned(args) as flags:
        folder = Path(name)
        job = undisturbed(make_manifest(folder, args.clips, rng), folder / "calm", flags)
        print(f"undisturbed: {len(job.calm)} files in {job.calm_s:.1f} s", flush=True)
        for kill, came in lives(job, folder, rng, captions=args.captions):
            counts.update([f"{kill.target} at {kill.moment}", "kills"] if came else ["ended before its moment"])
            if came and counts["kills"] % 20 == 0:
                print(f"{counts['kills']} kills in {time.monotonic() - started:.0f} s", flush=True)
            if counts["kills"] >= args.kills:
                break
    for what, count in sorted(counts.items()):
        print(f"{count:6} {what}")
    print(f"every life and every end was as it should be ({time.monotonic() - started:.0f} s)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--die-at"]:
        from colcap import cli

        sys.addaudithook(die_at(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
        sys.argv[1:5] = []
        cli.main()
    else:
        try:
            main()
        except Broken as error:
            sys.exit(f"broken: {error}")
