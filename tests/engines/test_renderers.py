"""Rendering in processes of its own gives what rendering in this one gives, whatever happens to them."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from processes import engine_processes
from renderers import rendered
from tiny_windows import windows

from colcap.config import PreprocessDtype
from colcap.engines import options, terms
from colcap.engines.base import Engine, Request, Sampling, Video
from colcap.engines.chat import ChatEncoder
from colcap.engines.cores import plan_cores
from colcap.engines.pixels import Sight
from colcap.engines.render_worker import Setup
from colcap.engines.rendering import InlineRendering, PooledRendering, RenderProcess, bytes_per_value
from colcap.engines.vllm import VllmEngine
from colcap.errors import ConfigError, EngineError
from colcap.models.weights import ResolvedModel

COUNT = 120


def render_processes(of: int | None = None) -> list[psutil.Process]:
    children = psutil.Process(of).children(recursive=True)
    return [child for child in children if "render_worker" in " ".join(child.cmdline())]


@pytest.fixture(scope="module")
def pooled(tiny: ResolvedModel) -> Iterator[VllmEngine]:
    engine = VllmEngine(tiny, cores=plan_cores().engine, renderers=2)
    yield engine
    engine.close()


def test_the_same_text_from_several_renderers_in_any_order(pooled: Engine, tiny_engine: Engine) -> None:
    """Without ids of their content, the first videos of two renderers share one: clip B gets clip A's caption."""
    videos, _ = windows(COUNT)
    requests = [Request("Describe the video.", video=video) for video in videos]
    expected = tiny_engine.generate(requests, Sampling())
    order = random.Random(1).sample(range(COUNT), COUNT)
    batches = [order[i : i + 24] for i in range(0, COUNT, 24)]

    with ThreadPoolExecutor(5) as callers:
        answers = list(callers.map(lambda b: pooled.generate([requests[i] for i in b], Sampling()), batches))

    texts = {
        i: a.text for batch, result in zip(batches, answers, strict=True) for i, a in zip(batch, result, strict=True)
    }
    assert sum(texts[i] == expected[i].text for i in range(COUNT)) >= 0.99 * COUNT
    assert [a.prompt_tokens for a in answers[0]] == [expected[i].prompt_tokens for i in batches[0]]


def test_a_second_question_about_the_same_video(pooled: Engine, tiny_engine: Engine) -> None:
    requests = [Request(f"Describe the video. {i % 2}", video=video) for i, video in enumerate(windows(20)[0] * 2)]

    result = pooled.generate(requests, Sampling())

    expected = tiny_engine.generate(requests, Sampling())
    assert [answer.text for answer in result] == [answer.text for answer in expected]


def test_a_renderer_that_is_killed(pooled: VllmEngine, tiny_engine: Engine) -> None:
    videos, _ = windows(60)
    requests = [Request("Describe the video again.", video=video) for video in videos]
    [first, _] = render_processes()

    threading.Timer(0.2, first.send_signal, (signal.SIGKILL,)).start()
    result = pooled.generate(requests, Sampling())

    expected = tiny_engine.generate(requests, Sampling())
    assert [answer.text for answer in result] == [answer.text for answer in expected]
    assert first not in render_processes()
    assert len(render_processes()) == 2


def test_a_video_that_is_too_long_is_one_error(pooled: Engine) -> None:
    frames = np.zeros((830, 112, 140, 3), np.uint8)
    long = Video(frames, list(range(830)), source_frames=830, source_fps=2.0, content_id="long")
    good = windows(1)[0][0]

    result = pooled.generate([Request("Describe.", video=long), Request("Describe.", video=good)], Sampling())

    assert [a.error and a.error.kind for a in result] == ["over_context", None]


def test_closing_ends_renderers_and_sends_callers_home(pooled: VllmEngine) -> None:
    """The last test with this engine."""
    requests = [Request("Describe.", video=video) for video in windows(COUNT)[0]]
    told: list[BaseException] = []

    def ask() -> None:
        try:
            while True:
                pooled.generate(requests, Sampling())
        except EngineError as error:
            told.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    time.sleep(0.3)
    pooled.close()
    asking.join(10)

    assert not asking.is_alive()
    assert len(told) == 1
    assert render_processes() == []


# ---- without an engine


def setup_of(model: ResolvedModel, dtype: PreprocessDtype = "auto") -> Setup:
    flags = {"on_gpu": False, "fp8": False, "disable_mmcache": True, "model_does_preprocess": False}
    args = options.engine_args(model, **flags, preprocess_dtype=dtype, renderers=1, overrides={})
    return Setup(args, Sight(dtype, False, model.factor))


def prompt_of(model: ResolvedModel, video: Video) -> dict[str, Any]:
    ids = ChatEncoder(model.path).encode(Request("Describe.", video=video))
    return {"prompt_token_ids": ids, **terms.video_parts(video, factor=model.factor)}


async def rendered_by(setup: Setup, prompts: list[dict[str, Any]], *, dead: bool = False) -> list[Any]:
    """What two processes make of prompts, all at once."""

    def new() -> RenderProcess:
        process = RenderProcess(setup, env=options.engine_env(None, verbose=False), verbose=False)
        if dead:
            process.kill()
        return process

    inline, each = InlineRendering(_Marked(), None), bytes_per_value(setup.sight)
    pool = PooledRendering([new(), new()], new, inline, bytes_per_value=each)

    async def one(prompt: dict[str, Any]) -> Any:
        async with pool.rendered(prompt) as made:
            values = made["mm_kwargs"].get_data()["pixel_values_videos"].clone() if "mm_kwargs" in made else None
            return made, values

    try:
        return await asyncio.gather(*map(one, prompts))
    finally:
        pool.close()


class _Marked:
    """A renderer that says it was asked."""

    async def render_cmpl_async(self, prompts: list[Any]) -> list[Any]:
        return [{"inline": torch.ones(3)}]


def test_the_same_input_for_the_engine(tiny: ResolvedModel) -> None:
    dtype: PreprocessDtype = "float32"  # bytes are what the engine above got
    videos = windows(6)[0]

    result = asyncio.run(rendered_by(setup_of(tiny, dtype), [prompt_of(tiny, video) for video in videos]))

    for video, (made, values) in zip(videos, result, strict=True):
        expected = rendered(tiny, video, dtype)
        assert made["prompt_token_ids"] == expected["prompt_token_ids"]
        assert made["mm_placeholders"] == expected["mm_placeholders"]
        assert values.equal(expected["mm_kwargs"].get_data()["pixel_values_videos"])
        assert video.content_id in str(made["mm_hashes"])
    assert len({str(made["mm_hashes"]) for made, _ in result}) == 6


def test_with_no_renderer_left_this_process_renders(tiny: ResolvedModel) -> None:
    prompts = [prompt_of(tiny, video) for video in windows(4)[0]]

    result = asyncio.run(rendered_by(setup_of(tiny), prompts, dead=True))

    assert [list(made) for made, _ in result] == [["inline"]] * 4
    assert all(made["inline"].is_shared() for made, _ in result)  # the engine takes nothing else without a copy


def test_renderers_and_a_cache_of_videos_exclude_each_other(tiny: ResolvedModel) -> None:
    flags = {"on_gpu": False, "fp8": False, "disable_mmcache": False, "model_does_preprocess": False}

    assert options.engine_args(tiny, **flags, renderers=2, overrides={})["mm_processor_cache_gb"] == 0
    with pytest.raises(ConfigError, match="mm_processor_cache_gb: must be 0, or set"):
        options.engine_args(tiny, **flags, renderers=2, overrides={"mm_processor_cache_gb": 1})


SCRIPT = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tiny_windows import windows
from colcap.engines.base import Request, Sampling
from colcap.engines.vllm import VllmEngine
from colcap.models.weights import resolve

engine = VllmEngine(resolve("tiny", model_dir=Path("models")), renderers=1)
requests = [Request("Describe.", video=video) for video in windows(20)[0]]
while True:
    engine.generate(requests, Sampling())
    print("asked", flush=True)
"""


def shared_files(processes: list[psutil.Process]) -> set[Path]:
    """Named pieces of shared memory that processes have mapped."""
    maps = [Path(f"/proc/{process.pid}/maps").read_text() for process in processes]
    return {Path(word) for text in maps for word in text.split() if word.startswith("/dev/shm/")}


def test_a_script_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    here = str(Path(__file__).parent)
    script = subprocess.Popen([sys.executable, "script.py", here], cwd=tmp_path, stdout=subprocess.PIPE)
    assert script.stdout is not None
    script.stdout.readline()
    children = psutil.Process(script.pid).children(recursive=True)
    engines = engine_processes(script.pid)
    files = shared_files([psutil.Process(script.pid), *children])

    script.kill()
    script.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(file.exists() for file in files):
        time.sleep(0.1)

    assert len(engines) == 1
    assert alive == []
    assert [file for file in files if file.exists()] == []
