"""A run folder on an object store, written by the machines of a Ray cluster: the same objects as by one machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from clusters import loopback_cluster
from simulated import Simulated, simulated_engine
from stores_s3 import KEY, S3, SECRET, TOKEN

import colcap
from colcap import objects, store
from colcap.errors import RunError
from colcap.objects import Url
from colcap.qa.check import check
from colcap.store.helper import Helper


@pytest.fixture(scope="module")
def address(s3: S3) -> Iterator[str]:
    """A cluster of two machines, with the store's credentials in their environment."""
    with loopback_cluster() as cluster:
        yield cluster.address


@pytest.fixture(scope="module")
def engine() -> Iterator[Simulated]:
    with simulated_engine(prefill_ms=5, token_ms=0.1) as started:
        yield started


@pytest.fixture
def manifest(s3: S3, clips_folder: Path, tmp_path: Path) -> str:
    """Six clips on the store; `across` is not there yet, `broken` cannot be read."""
    for name in ("short", "change", "broken"):
        s3.put(f"clips/{name}.mp4", (clips_folder / f"{name}.mp4").read_bytes())
    names = ["across", "broken", "change", "short", "change", "short"]
    ids = [f"{i}-{name}" for i, name in enumerate(names)]
    pl.DataFrame({"clip_id": ids, "uri": [f"clips/{name}.mp4" for name in names]}).write_parquet(tmp_path / "m.parquet")
    s3.put("m.parquet", (tmp_path / "m.parquet").read_bytes())
    return f"{s3.url}/m.parquet"


def parts(s3: S3, run: str) -> dict[str, bytes]:
    """Every part of a run, timings apart."""
    names = [name for name in s3.names(f"{run}/") if "/part-" in name and "/timings/" not in name]
    return {name.removeprefix(f"{run}/"): s3.get(name) for name in names}


@contextmanager
def helped(run: Url) -> Iterator[Helper]:
    """A machine that makes parts for this process, which is the run's writer."""
    objects.put(run / "manifest.parquet", b"PAR1 of no use PAR1")
    with store.writable(str(run)) as folder:
        mirror = store.mirror_of(folder)
        assert mirror is not None
        assert mirror.lease is not None
        yield store.helper(run, mirror.lease.ident)


def written(final: Path, data: bytes) -> tuple[Path, Path]:
    """A file beside its place, as a writer leaves it, and the place."""
    final.parent.mkdir(exist_ok=True)
    temp = final.with_suffix(".tmp")
    temp.write_bytes(data)
    return temp, final


def test_a_cluster_writes_the_very_same_objects_and_mends_them(
    s3: S3, address: str, engine: Simulated, manifest: str, clips_folder: Path
) -> None:
    options: dict[str, Any] = {
        "captioning": engine.captioning(),
        "enhance_captions": True,
        "enhancement": {"engine": "openai", "model_variant": "simulated", "server": {"api_base": engine.url}},
        "clips_per_part": 2,
    }
    on_ray: dict[str, Any] = {"runner": "ray", "ray_address": address}

    s3.faults(seed=5, rate=0.1, slow_s=0.01)
    there = colcap.run(manifest, f"{s3.url}/there", **options, **on_ray)
    s3.faults()
    here = colcap.run(manifest, f"{s3.url}/here", **options)

    assert parts(s3, "there") == parts(s3, "here")
    assert there.enhanced.collect().height == here.windows.collect().height > 0

    s3.put("clips/across.mp4", (clips_folder / "across.mp4").read_bytes())
    colcap.run(manifest, f"{s3.url}/there", retry_errors=True, **options, **on_ray)
    colcap.run(manifest, f"{s3.url}/here", retry_errors=True, **options)

    assert parts(s3, "there") == parts(s3, "here")
    assert there.clips.filter(status="error").collect()["clip_id"].to_list() == ["1-broken"]
    assert not [name for name in s3.names("there/.") if name != "there/.lock"]
    assert check(there.path, verify=True) == []
    caches = Path(os.environ["XDG_CACHE_HOME"])
    kept = [path for path in caches.rglob("*") if path.is_file() and "help" in path.parts]
    assert not [path for path in kept if "/part-" in str(path)]  # machines keep nothing of a part that is done
    secrets = [secret.encode() for secret in (KEY, SECRET, TOKEN)]
    assert not [path for path in kept if any(secret in path.read_bytes() for secret in secrets)]


def test_helpers_write_for_their_writer_alone(s3: S3) -> None:
    run = Url.parse(f"{s3.url}/helped")
    with helped(run) as helper:
        with helper.part(0, [], rewritten=False) as here:
            made = written(here / "clips" / "part-000000.parquet", b"of a machine that was taken for dead")
            s3.put("helped/clips/part-000000.parquet", b"of the machine that took its place")

            assert helper.publish([made]) is False

        with helper.part(1, [], rewritten=False) as here:
            made = written(here / "windows" / "part-000001.parquet", b"of another part")

            assert helper.publish([made]) is True

    assert s3.get("helped/clips/part-000000.parquet") == b"of the machine that took its place"
    assert s3.get("helped/windows/part-000001.parquet") == b"of another part"
    with pytest.raises(RunError, match="has taken this run over"), helper.part(1, [], rewritten=False):
        pass


def test_a_second_attempt_leaves_all_tables_of_the_first(s3: S3) -> None:
    """On two machines, one of them taken for dead: the first to have committed all of a part keeps it."""
    names = ("windows/part-000000.parquet", "clips/part-000000.parquet")
    with helped(Url.parse(f"{s3.url}/twice")) as helper, helper.part(0, [], rewritten=False) as here:
        made = [written(here / name, b"second") for name in names]
        for name in names:
            s3.put(f"twice/{name}", b"first")

        assert helper.publish(made) is False

    assert [s3.get(f"twice/{name}") for name in names] == [b"first", b"first"]


def test_names_are_asked_for_by_their_beginning(s3: S3) -> None:
    for name in ("a/part-000001.parquet", "a/part-000002.a2.parquet", "a/part-000002.parquet", "a/part-000003.parquet"):
        s3.put(f"listed/{name}", b"x")

    result = objects.list_named(Url.parse(f"{s3.url}/listed/a"), "part-000002.")

    assert [meta.url.name for meta in result] == ["part-000002.a2.parquet", "part-000002.parquet"]
