"""A run whose engine is killed: it is started again once with what it had in hand, and then the run stops cleanly."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import polars as pl
import pytest
from processes import engine_processes

import colcap
from colcap.engines.base import Engine, Request, Sampling
from colcap.engines.vllm import VllmEngine
from colcap.errors import EngineError
from colcap.models.tiny.scenes import caption, random_scene
from colcap.models.tiny.synth import clip
from colcap.models.weights import resolve
from colcap.qa.check import check

CLIPS = 60
TINY = {"model_variant": "tiny"}


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A manifest of small clips, and their captions."""
    folder, rng = tmp_path_factory.mktemp("many"), random.Random(2)
    scenes = {f"c{i:02d}": random_scene(rng) for i in range(CLIPS)}
    data = [clip([(scene, 24)], width=112, height=112, fps=6, rng=rng) for scene in scenes.values()]
    pl.DataFrame({"clip_id": list(scenes), "mp4": data}).write_parquet(folder / "m.parquet")
    return folder / "m.parquet", {name: caption(scene) for name, scene in scenes.items()}


def kill_twice(run: Path, engine: VllmEngine, killed: list[int]) -> None:
    """Kill the engine once captions are there, and the next one too; `killed` has the captioned parts at each time."""
    dead: set[int] = set()
    while len(killed) < 2:
        front = engine._front
        host = front._host if front._ready.done() else None
        parts = len(list(run.glob("captions/set=default/part-*.parquet")))
        if host is not None and host.pid not in dead and parts > (killed[-1] if killed else 0):
            killed.append(parts)
            dead.add(host.pid)
            os.kill(host.pid, signal.SIGKILL)
        time.sleep(0.01)


def test_the_run_goes_on_once_then_stops_and_can_be_resumed(
    many: tuple[Path, dict[str, str]], tiny_engine: Engine, tmp_path: Path
) -> None:
    manifest, truth = many
    run, killed = tmp_path / "out", list[int]()
    others = set(engine_processes())
    engine = VllmEngine(resolve("tiny", model_dir=Path("models")))
    options = {"captioning": {**TINY, "caption_batch_size": 2}, "generate_previews": False, "clips_per_part": 3}
    killer = threading.Thread(target=kill_twice, args=(run, engine, killed), daemon=True)
    killer.start()

    with pytest.raises(EngineError, match="died, and again after a restart"):
        colcap.run(manifest, run, engine=engine, **options)
    killer.join(10)
    for text in ("died, and again after a restart", "closed"):  # what it says once it is dead, and once it is closed
        with pytest.raises(EngineError, match=text):
            engine.generate([Request("Describe.")], Sampling())
        engine.close()
    assert set(engine_processes()) <= others
    before = {path: path.stat().st_mtime_ns for path in run.glob("captions/*/part-*.parquet")}
    resumed = colcap.run(manifest, run, engine=tiny_engine, **options)

    first, second = killed
    assert 0 < first < second <= len(before) < CLIPS // 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    rows = resumed.captions.select(pl.col("window_id").str.head(3), "caption", "status").collect()
    assert rows["status"].to_list() == ["ok"] * CLIPS
    assert sum(truth[name] == said for name, said, _ in rows.iter_rows()) >= 0.9 * CLIPS
    assert check(run, verify=True) == []
