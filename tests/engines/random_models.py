"""Checkpoints with random weights and the embedded model's tokenizer, for the families it is not of."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    AutoTokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

SIZES = {"hidden_size": 64, "intermediate_size": 128}
TEXT = {**SIZES, "vocab_size": 1024, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
VISION = {**SIZES, "depth": 1, "num_heads": 2, "out_hidden_size": 64, "deepstack_visual_indexes": [0]}
ROPE = {"rope_type": "default", "mrope_section": [6, 5, 5], "mrope_interleaved": True, "rope_theta": 1e4}
CONTROL = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}


def qwen3_vl(folder: Path, *, tokenizer_of: Path) -> Path:
    """A Qwen3-VL that knows nothing."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    config = Qwen3VLConfig(
        text_config={**TEXT, "head_dim": 32, "max_position_embeddings": 8192, "rope_scaling": ROPE},
        vision_config=VISION,
        **{name: tokenizer.convert_tokens_to_ids(token) for name, token in CONTROL.items()},
    )
    Qwen3VLForConditionalGeneration(config).save_pretrained(folder)
    Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=16, merge_size=2),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(),
        chat_template=tokenizer.chat_template,
    ).save_pretrained(folder)
    return folder
