"""A run on a Ray cluster makes the tables that a run on one machine makes, and either goes on with the other's."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hashing import hashes
from polars.testing import assert_frame_equal
from ray.cluster_utils import Cluster
from rich.console import Console
from simulated import Simulated

import colcap
from colcap.errors import ConfigError
from colcap.qa.check import check

MEDIA_ONLY = {"generate_captions": False, "clips_per_part": 2}


@pytest.fixture(scope="module")
def local(many: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The media of `many`, made on this machine."""
    return colcap.run(many, tmp_path_factory.mktemp("local") / "out", **MEDIA_ONLY).path


def digests(run: Path) -> dict[str, str]:
    """Every committed part file's content, timings apart."""
    return hashes(run, "part-*.parquet", without="timings")


def logged(run: Path, event: str) -> list[dict[str, object]]:
    lines = map(json.loads, (run / "run.log").read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def test_a_cluster_makes_the_very_same_files(cluster: Cluster, many: Path, local: Path, tmp_path: Path) -> None:
    said = io.StringIO()
    on_ray = {"runner": "ray", "ray_address": cluster.address, "console": Console(file=said)}
    run = colcap.run(many, tmp_path / "out", **on_ray, **MEDIA_ONLY)

    assert digests(run.path) == digests(local)
    assert check(run.path) == []
    where, there = (
        one.sql("@throughput").select("stage", "parts", "rows", "num_bytes").sort("stage")
        for one in (run, colcap.open(local))
    )
    assert_frame_equal(where, there)
    assert "parts 6/6 · clips 12/12 · windows 9 · errors 3 (3 unreadable)" in said.getvalue()
    done = logged(run.path, "part done")
    assert sum(int(str(line["clips"])) for line in done) == 12
    assert len(done) == 6


def test_a_run_that_starts_here_finishes_on_a_cluster_and_the_other_way_round(
    cluster: Cluster, simulated: Simulated, many: Path, tmp_path: Path
) -> None:
    address = {"local": None, "ray": cluster.address}
    options = {"captioning": simulated.captioning(), "clips_per_part": 2}
    calm = digests(colcap.run(many, tmp_path / "calm", **options).path)
    for first, then in (("local", "ray"), ("ray", "local")):
        run = tmp_path / f"{first}-{then}"
        colcap.run(many, run, runner=first, ray_address=address[first], **options)
        for table in ("clips", "windows_mp4", "captions/set=default"):
            (run / table / "part-000001.parquet").unlink()
        (run / "previews" / "part-000004.parquet").unlink()
        (run / "captions/set=default" / "part-000005.parquet").unlink()
        before = {path: path.stat().st_ino for path in run.rglob("part-*.parquet")}
        colcap.run(many, run, runner=then, ray_address=address[then], **options)

        again = {path.name for path, inode in before.items() if path.stat().st_ino != inode}
        assert digests(run) == calm
        assert again == {"part-000001.parquet", "part-000004.parquet"}
        assert check(run, verify=True) == []


def test_what_cannot_work_is_refused_in_words(many: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="host:port"):
        colcap.run(many, tmp_path / "a", runner="ray", ray_address="ray://head:10001", **MEDIA_ONLY)
    with pytest.raises(ConfigError, match="no Ray at"):
        colcap.run(many, tmp_path / "b", runner="ray", ray_address="127.0.0.1:9", **MEDIA_ONLY)
    with pytest.raises(ConfigError, match="runner='ray'"):
        colcap.run(many, tmp_path / "c", ray_address="auto", **MEDIA_ONLY)
