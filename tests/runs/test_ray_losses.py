"""A machine, an actor or the driver of a Ray run is lost: every row is there once, and little is done again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from clusters import MACHINE, loopback_cluster
from ray.cluster_utils import Cluster
from simulated import Simulated, simulated_engine

import colcap
from colcap.qa.check import check
from colcap.runners.ray import PARTS_PER_ACTOR

FLAGS = ["--clips-per-part", "1", "--runner", "ray", "--ray-address"]
NUM_PARTS = 24


@pytest.fixture
def fragile() -> Iterator[Cluster]:
    """A machine; more can be added, and killed."""
    with loopback_cluster(1) as started:
        yield started


@pytest.fixture
def headless() -> Iterator[Cluster]:
    """A cluster whose head does no work, so that whoever works can be killed."""
    with loopback_cluster(1, num_cpus=0) as started:
        yield started


@pytest.fixture(scope="module")
def simulated() -> Iterator[Simulated]:
    """A server that takes its time, so that captions are in hand when something is killed."""
    with simulated_engine(prefill_ms=300, token_ms=0.1) as started:
        yield started


@pytest.fixture(scope="module")
def many(clips_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of small clips, a part each."""
    path = tmp_path_factory.mktemp("many") / "m.parquet"
    names = (["short", "across"] * NUM_PARTS)[:NUM_PARTS]
    ids = [f"{i:02d}-{name}" for i, name in enumerate(names)]
    pl.DataFrame({"clip_id": ids, "uri": [str(clips_folder / f"{n}.mp4") for n in names]}).write_parquet(path)
    return path


def start(cluster: Cluster, many: Path, run: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "colcap", "run", str(many), str(run), *FLAGS, cluster.address, *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_parts(run: Path, table: str, count: int, process: subprocess.Popen[str]) -> None:
    wait_until(lambda: len(list(run.glob(f"{table}/**/part-*.parquet"))) >= count, process)


def wait_until(holds: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not holds():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(process: subprocess.Popen[str]) -> int:
    said = process.communicate(timeout=120)[1]
    if process.returncode:
        print(said)
    return process.returncode


def told(run: Path) -> dict[str, Any]:
    """What the driver said at its end."""
    (line,) = [line for line in (run / "run.log").read_text().splitlines() if '"on ray"' in line]
    return dict(json.loads(line))


def asking(engine: Simulated) -> list[str]:
    """Flags of a run that is captioned by it."""
    flags = ["--engine", "openai", "--api-base", engine.url, "--captioning-algorithm", "simulated"]
    return [*flags, "--video-as", "images"]


def ids(run: Path, table: str) -> list[str]:
    return sorted(colcap.open(run).table(table).collect()[{"clips": "clip_id"}.get(table, "window_id")])


@pytest.mark.slow
def test_a_machine_with_an_engine_dies_and_another_joins(
    headless: Cluster, simulated: Simulated, many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, machines = tmp_path / "out", [headless.add_node(**MACHINE) for _ in range(2)]
    process = start(headless, many, run, *asking(simulated))
    wait_for_parts(run, "clips", 2, process)
    wait_until(lambda: bool(with_engines(machines)), process)
    headless.remove_node(with_engines(machines)[0], allow_graceful=False)
    joined = headless.add_node(**MACHINE)

    assert finish(process) == 0
    assert check(run) == []
    assert ids(run, "clips") == sorted(pl.read_parquet(many)["clip_id"])
    assert ids(run, "captions") == ids(run, "windows")
    again, by_machine = told(run)["parts_begun_again"], told(run)["parts_begun_by"]
    assert again.get("media", 0) <= 1  # it had one CPU
    assert again.get("captions", 0) <= PARTS_PER_ACTOR
    assert by_machine.get(joined.node_id, 0) > 0
    with capsys.disabled():
        print(f"\na machine was killed: begun again, of {NUM_PARTS} parts: {again}; begun by: {by_machine}")


def caption_actors() -> list[psutil.Process]:
    every = psutil.process_iter(["cmdline"])
    return [process for process in every if "CaptionParts" in " ".join(process.info["cmdline"] or [])]


def with_engines(machines: list[Any]) -> list[Any]:
    """Those whose actor has started by now."""
    return [machine for machine in machines if any(of_node(actor, machine) for actor in caption_actors())]


def of_node(process: psutil.Process, node: Any) -> bool:
    """Whether a worker was started by this machine's raylet."""
    return any(parent.pid == node.all_processes["raylet"][0].process.pid for parent in process.parents())


@pytest.mark.slow
def test_an_actor_that_dies(
    fragile: Cluster, simulated: Simulated, many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, others = tmp_path / "out", caption_actors()  # of the machine that was killed: it hears of that after a while
    process = start(fragile, many, run, *asking(simulated))
    wait_for_parts(run, "captions", 2, process)
    actors = [actor for actor in caption_actors() if actor not in others]
    for actor in actors:
        actor.kill()

    assert finish(process) == 0
    assert len(actors) == 1
    assert check(run) == []
    assert ids(run, "captions") == ids(run, "windows")
    again = told(run)["parts_begun_again"]
    assert again.get("media", 0) == 0
    assert again.get("captions", 0) <= PARTS_PER_ACTOR
    with capsys.disabled():
        print(f"\nan actor was killed: begun again, of {NUM_PARTS} parts: {again}")


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_goes_on_here(fragile: Cluster, many: Path, tmp_path: Path) -> None:
    run = tmp_path / "out"
    process = start(fragile, many, run, "--no-generate-captions")
    wait_for_parts(run, "clips", 2, process)
    process.send_signal(signal.SIGINT)

    assert finish(process) == 130
    before = {path: path.stat().st_ino for path in run.rglob("part-*.parquet")}
    colcap.run(many, run, generate_captions=False)
    assert len(before) < 5 * NUM_PARTS
    assert {path: path.stat().st_ino for path in before} == before
    assert check(run) == []
    assert ids(run, "clips") == sorted(pl.read_parquet(many)["clip_id"])
