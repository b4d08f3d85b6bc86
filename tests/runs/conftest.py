"""What tests of runs share: a manifest, a Ray cluster, and an engine that answers by the request alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from clusters import loopback_cluster
from ray.cluster_utils import Cluster
from simulated import Simulated, simulated_engine


@pytest.fixture(scope="package")
def many(clips_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of twelve small clips, three of them broken."""
    path = tmp_path_factory.mktemp("many") / "m.parquet"
    names = ["short", "across", "short", "broken"] * 3
    ids = [f"{i:02d}-{name}" for i, name in enumerate(names)]
    pl.DataFrame({"clip_id": ids, "uri": [str(clips_folder / f"{n}.mp4") for n in names]}).write_parquet(path)
    return path


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """Two machines, which no test may harm, with two GPUs each, as they say."""
    with loopback_cluster(num_gpus=2) as started:
        yield started


@pytest.fixture(scope="package")
def simulated() -> Iterator[Simulated]:
    """A server whose answers depend on all of a request and on nothing else."""
    with simulated_engine(prefill_ms=5, token_ms=0.1) as started:
        yield started
