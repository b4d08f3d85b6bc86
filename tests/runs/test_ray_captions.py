"""Captions made by an actor of a Ray cluster, on an engine of its own, are those made here."""

from __future__ import annotations

from pathlib import Path

import pytest
from clusters import loopback_cluster
from polars.testing import assert_frame_equal
from test_ray import digests

import colcap
from colcap.engines.base import Engine
from colcap.qa.check import check

TINY = {"captioning": {"model_variant": "tiny"}, "clips_per_part": 2}


@pytest.mark.slow
def test_a_caption_actor_says_what_this_machine_says(manifest: Path, tiny_engine: Engine, tmp_path: Path) -> None:
    here = colcap.run(manifest, tmp_path / "here", engine=tiny_engine, **TINY)
    with loopback_cluster(1, num_cpus=2) as cluster:
        there = colcap.run(manifest, tmp_path / "there", runner="ray", ray_address=cluster.address, **TINY)

    media = {name: digest for name, digest in digests(here.path).items() if not name.startswith("captions")}
    assert media.items() <= digests(there.path).items()
    assert_frame_equal(there.captions.collect(), here.captions.collect())
    assert check(there.path) == []
