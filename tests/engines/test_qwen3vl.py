"""Qwen3-VL goes the same way as every model: its own budget, its own factor, and its times in the prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import random_models
import torch
from transformers import AutoProcessor

import colcap
from colcap import config, prompts
from colcap.media import Sample, Wanted, process_clip
from colcap.models.registry import VARIANTS
from colcap.models.weights import ResolvedModel, resolve
from colcap.runners import choices


@pytest.fixture(scope="module")
def qwen3(tiny: ResolvedModel, tmp_path_factory: pytest.TempPathFactory) -> ResolvedModel:
    torch.manual_seed(0)
    folder = random_models.qwen3_vl(tmp_path_factory.mktemp("qwen3"), tokenizer_of=tiny.path)
    return resolve(str(folder), model_dir=folder)


def options(model: ResolvedModel) -> dict[str, Any]:
    return {"model_variant": str(model.path), "max_output_tokens": 8}


def sampled(clip: Path, model: ResolvedModel) -> Sample:
    spec = choices.sample_spec(config.parse({"captioning": options(model)}), model)
    (window,) = process_clip(clip.read_bytes(), Wanted(cut=None, sample=spec)).windows
    assert isinstance(window.sample, Sample)
    return window.sample


def prompt_of(model: ResolvedModel, sample: Sample) -> list[int]:
    """The prompt as transformers' own processor writes it."""
    processor = AutoProcessor.from_pretrained(model.path)
    content = [{"type": "video"}, {"type": "text", "text": prompts.load("default")}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    metadata = {
        "fps": sample.source_fps,
        "total_num_frames": sample.source_frames,
        "frames_indices": sample.frame_indices,
    }
    flags = {"do_resize": False, "do_sample_frames": False, "return_tensors": "pt"}
    video = torch.from_numpy(np.ascontiguousarray(sample.frames)).permute(0, 3, 1, 2)
    inputs = processor(text=[text], videos=[video], video_metadata=[metadata], **flags)
    ids: list[int] = inputs["input_ids"][0].tolist()
    return ids


def test_its_frames_have_the_budget_of_the_model_it_stands_for(qwen3: ResolvedModel, clips_folder: Path) -> None:
    spec = choices.sample_spec(config.parse({"captioning": options(qwen3)}), qwen3)
    budget = VARIANTS["vision"]["qwen3"].budget

    result = sampled(clips_folder / "across.mp4", qwen3)

    assert (spec.factor, spec.min_pixels, spec.max_pixels, spec.total_pixels) == (
        budget.factor,
        budget.min_pixels,
        budget.max_pixels,
        budget.total_pixels,
    )
    assert budget.factor == 32
    count, height, width, _ = result.frames.shape
    assert (count, height % 32, width % 32) == (8, 0, 0)
    assert budget.min_pixels <= height * width <= budget.max_pixels


def test_a_run_asks_it_with_its_frames_and_their_times(
    qwen3: ResolvedModel, clips_folder: Path, tmp_path: Path
) -> None:
    clip = clips_folder / "across.mp4"
    pl.DataFrame({"uri": [str(clip)]}).write_parquet(tmp_path / "m.parquet")

    run = colcap.run(tmp_path / "m.parquet", tmp_path / "out", captioning=options(qwen3), generate_previews=False)

    row = run.captions.collect().row(0, named=True)
    sample = sampled(clip, qwen3)
    expected = prompt_of(qwen3, sample)
    text = AutoProcessor.from_pretrained(qwen3.path).decode(expected)
    assert (row["status"], row["finish_reason"], row["output_tokens"]) == ("ok", "length", 8)
    assert (row["num_frames"], row["frame_height"], row["frame_width"]) == sample.frames.shape[:3]
    assert row["prompt_tokens"] == len(expected)
    assert text.count(" seconds>") == 4  # a time for each pair of frames
    assert row["model"] == qwen3.id
