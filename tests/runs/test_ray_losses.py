"""A machine, an actor or the driver of a Ray run is lost: every row is there once, and little is done again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest
from ray.cluster_utils import Cluster
from simulated import simulated_engine

import colcap
from colcap.qa.check import check

FLAGS = ["--clips-per-part", "1", "--runner", "ray", "--ray-address"]
NUM_PARTS = 14


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A machine of one CPU, as Ray sees it; more can be added."""
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def many(clips_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of small clips, a part each."""
    path = tmp_path_factory.mktemp("many") / "m.parquet"
    names = (["short", "across"] * NUM_PARTS)[:NUM_PARTS]
    ids = [f"{i:02d}-{name}" for i, name in enumerate(names)]
    pl.DataFrame({"clip_id": ids, "uri": [str(clips_folder / f"{n}.mp4") for n in names]}).write_parquet(path)
    return path


def start(cluster: Cluster, many: Path, run: Path, *flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "colcap.cli", "run", str(many), str(run), *FLAGS, cluster.address, *flags]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for_parts(run: Path, table: str, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while len(list(run.glob(f"{table}/**/part-*.parquet"))) < count:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(process: subprocess.Popen[str]) -> int:
    said = process.communicate(timeout=120)[1]
    if process.returncode:
        print(said)
    return process.returncode


def begun_again(run: Path) -> dict[str, Any]:
    (line,) = [line for line in (run / "run.log").read_text().splitlines() if '"on ray"' in line]
    return dict(json.loads(line)["parts_begun_again"])


def ids(run: Path, table: str) -> list[str]:
    return sorted(colcap.open(run).table(table).collect()[{"clips": "clip_id"}.get(table, "window_id")])


@pytest.mark.slow
def test_a_machine_that_dies_and_one_that_joins(
    cluster: Cluster, many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, dying = tmp_path / "out", cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    process = start(cluster, many, run, "--no-generate-captions")
    wait_for_parts(run, "clips", 2, process)
    cluster.remove_node(dying, allow_graceful=False)
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)

    assert finish(process) == 0
    assert check(run) == []
    assert ids(run, "clips") == sorted(pl.read_parquet(many)["clip_id"])
    assert sum(begun_again(run).values()) <= 2  # what the dead machine had in hand
    with capsys.disabled():
        print(f"\na machine was killed: begun again, of {NUM_PARTS} parts: {begun_again(run)}")


@pytest.mark.slow
def test_an_actor_that_dies(cluster: Cluster, many: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "out"
    with simulated_engine() as engine:
        flags = ["--engine", "openai", "--api-base", engine.url, "--captioning-algorithm", "simulated"]
        process = start(cluster, many, run, *flags, "--video-as", "images")
        wait_for_parts(run, "captions", 2, process)
        actors = [
            p for p in psutil.process_iter(["name", "cmdline"]) if "CaptionParts" in " ".join(p.info["cmdline"] or [])
        ]
        for actor in actors:
            actor.kill()
        code = finish(process)

    assert actors
    assert code == 0
    assert check(run) == []
    assert ids(run, "captions") == ids(run, "windows")
    with capsys.disabled():
        print(f"\nan actor was killed: begun again, of {NUM_PARTS} parts: {begun_again(run)}")


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_goes_on_here(cluster: Cluster, many: Path, tmp_path: Path) -> None:
    run = tmp_path / "out"
    process = start(cluster, many, run, "--no-generate-captions")
    wait_for_parts(run, "clips", 2, process)
    process.send_signal(signal.SIGINT)

    assert finish(process) == 130
    before = {path: path.stat().st_ino for path in run.rglob("part-*.parquet")}
    colcap.run(many, run, generate_captions=False)
    assert len(before) < 5 * NUM_PARTS
    assert {path: path.stat().st_ino for path in before} == before
    assert check(run) == []
    assert ids(run, "clips") == sorted(pl.read_parquet(many)["clip_id"])
