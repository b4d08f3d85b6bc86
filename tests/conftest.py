"""What the whole suite shares: one engine, a few clips whose captions are known, and two processes to run in.

`make test` runs it in two processes. One has whatever shares the engine, starts engines or clusters, or watches what
other processes do, test after test in the files' order; the other one has the rest.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import serving
from shared_clips import SCENES
from xdist.scheduler import LoadScopeScheduling

from colcap import manifests
from colcap.engines.base import Engine
from colcap.engines.cores import plan_cores
from colcap.models.tiny.scenes import caption
from colcap.models.tiny.synth import clip
from colcap.models.weights import resolve
from colcap.steps.media_rows import window_id

# A shell's background ignores SIGINT and hands that down to every process the tests start: Ctrl-C would not be heard.
signal.signal(signal.SIGINT, signal.default_int_handler)

BESIDE = (
    "colcap/",
    "tests/docs/test_complete.py",
    "tests/export/",
    "tests/media/",
    "tests/models/test_download.py",
    "tests/models/test_tiny_training.py",
    "tests/models/test_weights.py",
    "tests/qa/",
    "tests/test_cli.py",
    "tests/test_config.py",
    "tests/test_manifest",
    "tests/test_printing.py",
    "tests/test_synth.py",
    "tests/test_wheel.py",
)
"""Tests that may run beside an engine: they share none, and do not mind that it is there."""


class Halves(LoadScopeScheduling):
    """Keeps what is not BESIDE to one process; the rest goes, test by test, to whichever has time."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(BESIDE) else "engine"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Halves:
    return Halves(config, log)


@pytest.fixture(scope="session")
def tiny_engine() -> Iterator[Engine]:
    """The embedded model on vLLM: started once, since that takes tens of seconds."""
    from colcap.engines.vllm import VllmEngine

    engine = VllmEngine(resolve("tiny", model_dir=Path("models")), cores=plan_cores().engine)
    yield engine
    engine.close()


@pytest.fixture(scope="session", autouse=True)
def starting_server(request: pytest.FixtureRequest) -> Iterator[Callable[[], str] | None]:
    """`vllm serve`, if some test wants it: it takes a minute to start, which it does beside the tests before."""
    has_engine = os.environ.get("PYTEST_XDIST_WORKER", "gw0") == "gw0"  # the largest group is the first process's
    if not has_engine or not any("vllm_server" in getattr(item, "fixturenames", ()) for item in request.session.items):
        yield None
        return
    with serving.vllm_serve() as url:
        yield url


@pytest.fixture(scope="session")
def vllm_server(starting_server: Callable[[], str] | None) -> Iterator[str]:
    """The URL of `vllm serve` with the embedded model on loopback."""
    if starting_server is not None:
        yield starting_server()
        return
    with serving.vllm_serve() as url:
        yield url()


@pytest.fixture(scope="session")
def clips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clips of SCENES as mp4 files, and `broken.mp4`, which cannot be opened."""
    folder = tmp_path_factory.mktemp("clips")
    for name, scenes in SCENES.items():
        data = clip(scenes, width=240, height=240, fps=30, rng=random.Random(name))
        (folder / f"{name}.mp4").write_bytes(data)
    (folder / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(200))
    return folder


@pytest.fixture(scope="session")
def manifest(clips_folder: Path) -> Path:
    """A manifest of `clips_folder`: across, broken, change, short."""
    path = clips_folder / "m.parquet"
    manifests.from_sources([str(clips_folder)]).write_parquet(path)
    return path


@pytest.fixture(scope="session")
def truth() -> pl.DataFrame:
    """The true caption of each window."""
    rows = [
        (window_id(name, i), caption(scene)) for name, scenes in SCENES.items() for i, (scene, _) in enumerate(scenes)
    ]
    return pl.DataFrame(rows, schema={"window_id": pl.String, "truth": pl.String}, orient="row")
