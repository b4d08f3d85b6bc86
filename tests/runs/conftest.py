"""What tests of runs share: a Ray cluster and an engine that answers by the request alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clusters import loopback_cluster
from ray.cluster_utils import Cluster
from simulated import Simulated, simulated_engine


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
