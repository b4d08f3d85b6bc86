"""The checkpoint: files that vLLM and transformers load with no code of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

from colcap.models.tiny.training.clips import MAX_PIXELS, MIN_PIXELS


def save_processor(tokenizer: Any, folder: Path) -> None:
    """Write the tokenizer, the chat template and how frames are prepared."""
    size = {"shortest_edge": MIN_PIXELS, "longest_edge": MAX_PIXELS}
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size, cap_pixels_per_frame=False, do_sample_frames=False),
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the weights in bfloat16."""
    end, nothing = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    model.generation_config = GenerationConfig(
        bos_token_id=nothing, pad_token_id=nothing, eos_token_id=[end, nothing], do_sample=False, repetition_penalty=1.0
    )
    model.to(torch.bfloat16).save_pretrained(folder)
