"""Windows per second of what stands before an engine, at Qwen's real size; the engine executes nothing.

    python benchmarks/front_end.py [--windows N] [--rounds N]

The model is a Qwen2.5-VL of random weights and no depth, with the real processor's settings: 18 frames of 1008x560,
30.5 MB and 6,480 tokens a window. The engine is a real vLLM engine process whose executor answers every prompt with
one token (stub_executor.py), so what is left is rendering, the way from process to process, and scheduling.

inline        frames -> vLLM's renderer in the front-end -> engine
processes     frames -> 2 render processes -> tensors lent to the engine
pre-rendered  ready engine inputs in memory -> engine, by the socket
shared        ready engine inputs in shared memory -> engine, lent

On a busy machine, look at the CPU time: it says how many windows one free core would send.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from colcap.engines.base import Request, Sampling, Video
from colcap.engines.rendering import InlineRendering
from colcap.engines.slots import Slot
from colcap.engines.vllm import VllmEngine
from colcap.models.weights import ResolvedModel, resolve

FRAMES, HEIGHT, WIDTH = 18, 560, 1008
DISTINCT = 4
STUB = {
    "distributed_executor_backend": "stub_executor.StubExecutor",
    "async_scheduling": False,
    "enable_prefix_caching": False,
    "mm_processor_cache_gb": 0,
    "kv_cache_memory_bytes": 1 << 30,
}


def checkpoint(folder: Path) -> ResolvedModel:
    """A Qwen2.5-VL that knows nothing, with the real processor's settings and the embedded model's words."""
    from transformers import (
        AutoTokenizer,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    tokenizer = AutoTokenizer.from_pretrained(resolve("tiny", model_dir=folder).path)
    sizes = {"hidden_size": 64, "intermediate_size": 128}
    heads = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 1e6}
    control = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    config = Qwen2_5_VLConfig(
        text_config={
            **sizes, **heads, "vocab_size": 1024, "max_position_embeddings": 32768, "rope_scaling": rope
        },
        vision_config={**sizes, "depth": 1, "num_heads": 2, "out_hidden_size": 64, "fullatt_block_indexes": [0]},
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in control.items()},
    )  # fmt: skip
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)
    return resolve(str(folder), model_dir=folder)


def videos(count: int) -> list[Video]:
    """Windows of noise, a few different ones, each with an id of its own."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), np.uint8) for _ in range(DISTINCT)]
    indices = [15 * i for i in range(FRAMES)]
    return [Video(frames[i % DISTINCT], indices, 15 * FRAMES, 30.0, f"window {i}") for i in range(count)]


class Ready:
    """Stands where an engine's rendering is: everything is rendered already."""

    def __init__(self, made: dict[str, Any], slot: Slot | None) -> None:
        self._made, self._slot = made, slot

    @asynccontextmanager
    async def rendered(self, prompt: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The engine's input, under an id of its own."""
        [content_id] = prompt["multi_modal_uuids"]["video"]
        yield {**self._made, "mm_hashes": {"video": [content_id]}}

    def close(self) -> None:
        """Nothing to stop."""


def made_ready(engine: VllmEngine, video: Video, *, shared: bool) -> Ready:
    """Render a window once; where `shared`, its pixels lie in shared memory."""
    front = engine._front
    inline = InlineRendering(front._llm.renderer, None)
    prompt = engine._prepare(Request("Describe the video.", video=video))
    assert isinstance(prompt, dict)

    async def render() -> dict[str, Any]:
        async with inline.rendered(prompt) as made:
            return made

    made, slot = front._submit(render()).result(), None
    if shared:
        [item] = made["mm_kwargs"]["video"]
        pixels = item["pixel_values_videos"]
        slot = Slot(pixels.data.numel())
        slot.write(pixels.data.numpy())
        pixels.data = slot.tensor("uint8", tuple(pixels.data.shape), 0)
    return Ready(made, slot)


class Moved:
    """Counts the bytes of windows that are copied on their way to the engine, rendering itself apart."""

    def __init__(self, engine: VllmEngine) -> None:
        self.by_socket = self.by_slot = 0
        encoder, slot_type = engine._front._llm.engine_core.encoder, cast(Any, Slot)
        encode_theirs, write_theirs = encoder.encode, slot_type.write

        def encode(obj: Any) -> Sequence[Any]:
            buffers: Sequence[Any] = encode_theirs(obj)
            self.by_socket += sum(memoryview(buffer).nbytes for buffer in buffers)
            return buffers

        def write(slot: Slot, frames: NDArray[np.uint8]) -> None:
            self.by_slot += frames.nbytes
            write_theirs(slot, frames)

        encoder.encode, slot_type.write = encode, write

    @property
    def copied(self) -> int:
        """Into the socket and out of it; frames into a slot, and their patches, as many bytes, into it again."""
        return 2 * self.by_socket + 2 * self.by_slot


def windows_per_s(engine: VllmEngine, shown: Sequence[Video], *, prefix: str) -> float:
    """How many windows a second get through, several batches at once, as a run has them."""
    asked = [Request("Describe the video.", video=replace(v, content_id=prefix + v.content_id)) for v in shown]
    batches = [asked[i : i + 8] for i in range(0, len(asked), 8)]
    start = time.perf_counter()
    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(lambda batch: engine.generate(batch, Sampling(max_output_tokens=1)), batches))
    taken = time.perf_counter() - start
    errors = [answer.error for batch in answers for answer in batch if answer.output_tokens != 1]
    assert not errors, errors[0]
    return len(shown) / taken


def main() -> None:
    """Start an engine for each way of sending, interleave nothing: they would share the cores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    shown = videos(args.windows)
    size = shown[0].frames.nbytes
    print(f"{FRAMES} frames of {WIDTH}x{HEIGHT}, {size / 1e6:.1f} MB a window, {args.windows} windows a round")
    with tempfile.TemporaryDirectory() as name:
        model = checkpoint(Path(name))
        engine = VllmEngine(model, engine_kwargs=STUB, renderers=0)
        _measure("inline", engine, shown[: args.windows // 4], args.rounds)
        engine._front._rendering = made_ready(engine, shown[0], shared=False)
        _measure("pre-rendered", engine, shown, args.rounds)
        engine.close()
        engine = VllmEngine(model, engine_kwargs=STUB, renderers=2)
        _measure("processes", engine, shown[: args.windows // 4], args.rounds)
        engine._front._rendering = made_ready(engine, shown[0], shared=True)
        _measure("shared", engine, shown, args.rounds)
        engine.close()


def _measure(name: str, engine: VllmEngine, shown: Sequence[Video], rounds: int) -> None:
    windows_per_s(engine, shown, prefix="warm ")
    moved, cpu_before = Moved(engine), time.process_time()
    rates = [windows_per_s(engine, shown, prefix=f"{name} {i} ") for i in range(rounds)]
    count = len(shown) * rounds
    cpu_ms = 1e3 * (time.process_time() - cpu_before) / count
    print(
        f"{name:13} {statistics.median(rates):6.1f} windows/s (best {max(rates):.1f}), "
        f"{cpu_ms:6.1f} ms of CPU in the front-end; a window: {moved.by_socket / count / 1e6:7.3f} MB by socket, "
        f"{moved.copied / count / shown[0].frames.nbytes:.1f} copies",
        flush=True,
    )


if __name__ == "__main__":
    main()
