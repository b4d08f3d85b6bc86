"""Wall time of a run against the slower of its two halves alone, each on the cores it gets in the run.

    python benchmarks/overlap.py [--rounds N] [--only large|little|clearly]

Three cases: media work is the slower half (720p, two windows); clips so small (112x112, 32 frames, previews at
their own height) that the engine is, but not by much; the same clips with twice as many frames shown to the model, so
that the engine is clearly the slower half. On two cores the engine has one, and its front-end (3 ms a request) shares
the other with the media work, so the second case has no room to be 1.00. The engine is started once, before anything
is timed. The media half is the same run with an engine that answers at once; the engine half is the same requests,
ready in memory as token ids and arrays, all given to vLLM's `AsyncLLM.generate` at once and by nothing of colcap's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

import colcap
from colcap import media
from colcap.config import parse
from colcap.engines.base import Engine, EngineStats, Generation, Request, Sampling
from colcap.engines.cores import plan_cores
from colcap.engines.terms import sampling_params
from colcap.engines.vllm import VllmEngine
from colcap.manifests import ClipReader
from colcap.models.tiny.synth import clip, random_scene
from colcap.models.weights import resolve
from colcap.runners import choices
from colcap.steps.captions import video
from colcap.steps.media import MediaStep, table_rows

TINY = {"model_variant": "tiny"}
LARGE = {"captioning": TINY}
SMALL = {"captioning": TINY, "preview": {"target_height": 112}}
SMALL_MORE_FRAMES = {"captioning": TINY | {"sampling_fps": 4.0}, "preview": {"target_height": 112}}


class InstantEngine:
    """Answers at once, so that only the media half is left."""

    model: str = "instant"
    revision: str | None = None

    def __init__(self) -> None:
        self.stats = EngineStats()

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """One word for every request."""
        return [Generation("yes", 1, 1, "stop", None) for _ in requests]

    def close(self) -> None:
        """Nothing to close."""


def make_manifest(
    folder: Path, name: str, rows: int, *, distinct: int, size: tuple[int, int], frames: int, fps: int
) -> Path:
    """A manifest of `rows` clips over `distinct` files."""
    rng = random.Random(0)
    for index in range(distinct):
        data = clip([(random_scene(rng), frames)], width=size[0], height=size[1], fps=fps, rng=rng)
        (folder / f"{name}-{index}.mp4").write_bytes(data)
    uris = [str(folder / f"{name}-{index % distinct}.mp4") for index in range(rows)]
    path = folder / f"{name}.parquet"
    pl.DataFrame({"clip_id": [f"{i:05d}" for i in range(rows)], "uri": uris}).write_parquet(path)
    return path


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def samples_of(manifest: Path, parameters: Mapping[str, Any]) -> list[pl.DataFrame]:
    """Every window's frames, in memory, in batches as a run would take them."""
    config = parse(parameters)
    wanted = choices.wanted(config, choices.resolve_model(config), cut=True, preview=False, sample=True)
    step = MediaStep(wanted, media.Limits(), ClipReader(max_bytes=1 << 30))
    made = [table_rows(step(clip_row), "samples") for clip_row in _clips(manifest).iter_slices(1)]
    return list(pl.concat(made).iter_slices(config.captioning.caption_batch_size))


def _clips(manifest: Path) -> pl.DataFrame:
    return pl.read_parquet(manifest).with_columns(pl.lit(0, pl.Int32).alias("part"))


def prompts_of(samples: Sequence[pl.DataFrame], parameters: Mapping[str, Any], engine: VllmEngine) -> list[Any]:
    """What vLLM is asked of each window, ready in memory."""
    config = parse(parameters)
    text, _ = choices.caption_prompt(config)
    rows = [row for batch in samples for row in batch.iter_rows(named=True)]
    return [engine._prepare(Request(text, video=video(row))) for row in rows]


def engine_alone(prompts: Sequence[Any], parameters: Mapping[str, Any], engine: VllmEngine) -> float:
    """Wall seconds of the captions, given straight to vLLM."""
    llm, params = engine._front._llm, sampling_params(choices.sampling(parse(parameters)))

    async def ask(number: int, prompt: Any) -> str:
        answers = [a async for a in llm.generate(dict(prompt), params.clone(), f"straight-{time.time_ns()}-{number}")]
        return str(answers[-1].outputs[0].text)

    async def ask_all() -> list[str]:
        return await asyncio.gather(*(ask(number, prompt) for number, prompt in enumerate(prompts)))

    return seconds(lambda: engine._front._submit(ask_all()).result())


def run_seconds(manifest: Path, parameters: Mapping[str, Any], engine: Engine) -> float:
    """Wall seconds of a run from nothing, its start included."""
    with tempfile.TemporaryDirectory() as folder:
        return seconds(partial(colcap.run, manifest, Path(folder) / "run", engine=engine, **parameters))


def compare(name: str, manifest: Path, parameters: Mapping[str, Any], engine: VllmEngine, rounds: int) -> None:
    """Interleave the whole with its halves, after the first round with the slower one alone; print the ratio."""
    prompts = prompts_of(samples_of(manifest, parameters), parameters, engine)
    halves = {
        "media alone": partial(run_seconds, manifest, parameters, InstantEngine()),
        "engine alone": partial(engine_alone, prompts, parameters, engine),
    }
    times: dict[str, list[float]] = {name: [] for name in ("run", *halves)}
    for _ in range(rounds):
        times["run"].append(run_seconds(manifest, parameters, engine))
        for half, alone in halves.items():
            times[half].append(alone())
        slower = max(halves, key=lambda half: times[half][0])
        halves = {slower: halves[slower]}
        print(f"  run {times['run'][-1]:.1f} s, {slower} {times[slower][-1]:.1f} s", flush=True)
    medians = {half: statistics.median(values) for half, values in times.items()}
    told = ", ".join(f"{half} {value:.1f} s" for half, value in medians.items())
    print(f"{name}: {told}; run / {slower} = {medians['run'] / medians[slower]:.2f}", flush=True)


def main() -> None:
    """Start the engine, make both manifests, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("large", "little", "clearly"), help="One of the three cases.")
    args = parser.parse_args()
    engine = VllmEngine(
        resolve("tiny", model_dir=Path("models")),
        cores=plan_cores().engine,
        disable_mmcache=True,  # the same windows are captioned again and again, and must cost the same each time
        engine_kwargs={"enable_prefix_caching": False},
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = make_manifest(folder, "large", 40, distinct=4, size=(1280, 720), frames=512, fps=24)
        small = make_manifest(folder, "small", 800, distinct=800, size=(112, 112), frames=32, fps=4)
        engine_alone(
            prompts_of(samples_of(small, SMALL)[:8], SMALL, engine), SMALL, engine
        )  # the first ones warm it up
        cases: dict[str, tuple[str, Path, Mapping[str, Any]]] = {
            "large": ("media is the slower half", large, LARGE),
            "little": ("the engine is a little slower", small, SMALL),
            "clearly": ("the engine is clearly slower", small, SMALL_MORE_FRAMES),
        }
        for case in cases if args.only is None else [args.only]:
            compare(*cases[case], engine, args.rounds)
    engine.close()


if __name__ == "__main__":
    main()
