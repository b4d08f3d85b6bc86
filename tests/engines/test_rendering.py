"""What reaches the engine: our frames, not resized, at the right times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import random_models
from renderers import rendered

from colcap.engines.base import Video
from colcap.engines.chat import ChatEncoder
from colcap.engines.prompt_tokens import PromptCounter
from colcap.media.resize import vision_tokens
from colcap.models.weights import ResolvedModel, resolve


def frames(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def unpatched(pixels: Any, grid: list[int], patch: int) -> np.ndarray:
    """The first frame of each pair, from Qwen-VL's patches of two frames."""
    t, h, w = grid
    parts = pixels.numpy().reshape(t, h // 2, w // 2, 2, 2, 3, 2, patch, patch)
    return parts[..., 0, :, :].transpose(0, 1, 3, 6, 2, 4, 7, 5).reshape(t, h * patch, w * patch, 3)


@pytest.mark.parametrize(("fps", "step", "expected"), [(30.0, 15, 1.0), (25.0, 5, 0.4), (2.0, 1, 1.0)])
def test_qwen2_5_vl(tiny: ResolvedModel, fps: float, step: int, expected: float) -> None:
    shown = frames(8, 84, 112)
    video = Video(shown, [step * i for i in range(8)], source_frames=8 * step, source_fps=fps, content_id="clip-7")

    result = rendered(tiny, video)

    item = result["mm_kwargs"].get_data()
    grid = item["video_grid_thw"].tolist()[0]
    assert grid == [4, 84 // 14, 112 // 14]
    assert result["prompt_token_ids"].count(1023) == vision_tokens(8, 84, 112, factor=28)
    assert [float(s) for s in item["second_per_grid_ts"]] == pytest.approx([expected], rel=0.01)  # bfloat16
    assert not item["pixel_values_videos"].dtype.is_floating_point
    assert np.array_equal(unpatched(item["pixel_values_videos"], grid, 14), shown[::2])
    assert "clip-7" in str(result["mm_hashes"]["video"])


def test_qwen3_vl(tiny: ResolvedModel, tmp_path: Path) -> None:
    model = resolve(str(random_models.qwen3_vl(tmp_path, tokenizer_of=tiny.path)), model_dir=tmp_path)
    shown = frames(6, 64, 96)
    video = Video(shown, [0, 15, 30, 45, 60, 75], source_frames=90, source_fps=30.0, content_id="clip-8")

    result = rendered(model, video)

    item = result["mm_kwargs"].get_data()
    grid = item["video_grid_thw"].tolist()[0]
    text = ChatEncoder(tiny.path)._template.decode(result["prompt_token_ids"])
    assert (model.family, model.factor, grid) == ("qwen3_vl", 32, [3, 4, 6])
    assert result["prompt_token_ids"].count(1023) == vision_tokens(6, 64, 96, factor=32)
    counter = PromptCounter(model.path)
    assert len(result["prompt_token_ids"]) == counter.count("Describe.") + 3 * (6 + counter.timestamp_tokens()[0])
    assert [f"<{time} seconds>" in text for time in ("0.2", "1.2", "2.2")] == [True] * 3
    assert np.array_equal(unpatched(item["pixel_values_videos"], grid, 16), shown[::2])
