"""The network: transformers' own modules hold the weights, and batches of clips of one shape run through them fast.

transformers packs all frames into one sequence and loops over them, which is what a large model wants; here
every clip of a batch has the same grid, so plain batched attention is several times faster on a CPU.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import rotate_half
from transformers.vision_utils import get_vision_position_ids

from colcap.models.tiny.training.losses import NUM_AHEAD, NUM_SEEN
from colcap.models.tiny.training.tokens import VOCABULARY

PATCH: Final = 14
MERGE: Final = 2
DEPTH: Final = 3
SCALE: Final = 0.08
"""Of the first weights: about one over the root of the width. Qwen's own 0.02 is for widths of thousands."""
LOOK_BACK_LAYER: Final = 2
"""After this many text layers a clip's tokens are asked how far the shape has come."""


def make_config(tokenizer: Any) -> Any:
    """The architecture, in sizes at which a CPU can train it: 1.6 million parameters."""
    token = tokenizer.convert_tokens_to_ids
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 8192,
            "initializer_range": SCALE,
            # Qwen's own theta of 1e6 leaves a head of 32 dimensions with next to no sense of place.
            "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 1e4},
            "bos_token_id": token("<|endoftext|>"),
            "eos_token_id": token("<|im_end|>"),
            "pad_token_id": token("<|endoftext|>"),
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": DEPTH,
            "hidden_size": 96,
            "intermediate_size": 256,
            "num_heads": 3,
            "out_hidden_size": 128,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": list(range(DEPTH)),  # frames are hardly larger than a window
            "tokens_per_second": 2,
            "initializer_range": SCALE,
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )


class Network(nn.Module):  # type: ignore[misc]
    """The model, and two heads that are thrown away after training.

    The heads read places and movements off the tokens. Without them the captions' own loss is too thin a signal:
    in 350 steps it taught no position at all.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.model = Qwen2_5_VLForConditionalGeneration(config)
        width = config.text_config.hidden_size
        self.sees = nn.Linear(width, NUM_SEEN)
        self.looks_back = nn.Linear(width, NUM_AHEAD)

    def vision(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        """Tokens of pairs of frames: (pairs, height * width, values) -> (pairs, tokens, width).

        Parameters
        ----------
        patches : as the processor makes them, float.
        grid : height and width of a frame in patches.
        """
        tower = self.model.model.visual
        x = nn.functional.linear(patches, tower.patch_embed.proj.weight.flatten(1))
        rotary = self._vision_rotary(grid, x)
        for block in tower.blocks:
            x = x + self._look(block.attn, _normed(block.norm1, x), rotary)
            x = x + block.mlp(_normed(block.norm2, x))
        merged = _normed(tower.merger.ln_q, x).reshape(len(x), -1, MERGE * MERGE * x.shape[-1])
        return tower.merger.mlp(merged)

    def _vision_rotary(self, grid: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
        places = get_vision_position_ids(torch.tensor([[1, *grid]]), MERGE)
        cos, sin = self.model.model.visual.rotary_pos_emb(like, places)
        return cos.to(like.dtype), sin.to(like.dtype)

    @staticmethod
    def _look(attention: Any, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        pairs, patches, _ = x.shape
        parts = attention.qkv(x).view(pairs, patches, 3, attention.num_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        seen = _attend(_rotated(query, rotary), _rotated(key, rotary), value)
        return attention.proj(seen.transpose(1, 2).reshape(x.shape))

    def text(self, ids: Tensor, positions: Tensor, vision: Tensor | None) -> tuple[Tensor, Tensor]:
        """Last hidden states, and those that look back; (batch, length, width) each.

        Parameters
        ----------
        ids : (batch, length), padded at the end.
        positions : (3, batch, length), the rotary places in time, height and width.
        vision : tokens that take the places of the video's placeholders, in order; None: there are none.
        """
        decoder = self.model.model.language_model
        x = decoder.embed_tokens(ids)
        if vision is not None:
            shown = (ids == self.model.config.video_token_id)[..., None]
            x = x.masked_scatter(shown, vision.to(x.dtype))
        rotary = self._text_rotary(x, positions)
        hidden = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool).triu(1)
        back = x
        for number, layer in enumerate(decoder.layers):
            back = x if number == LOOK_BACK_LAYER else back
            x = x + self._read(layer.self_attn, _normed(layer.input_layernorm, x), rotary, hidden)
            x = x + layer.mlp(_normed(layer.post_attention_layernorm, x))
        return _normed(decoder.norm, x), nn.functional.rms_norm(back, back.shape[-1:])

    def _text_rotary(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = self.model.model.language_model.rotary_emb(x, positions)
        return cos[:, None].to(x.dtype), sin[:, None].to(x.dtype)

    @staticmethod
    def _read(attention: Any, x: Tensor, rotary: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
        def heads(projection: Any) -> Tensor:
            return projection(x).view(*x.shape[:2], -1, attention.head_dim).transpose(1, 2)

        query, key = _rotated(heads(attention.q_proj), rotary), _rotated(heads(attention.k_proj), rotary)
        repeats = attention.num_key_value_groups
        key, value = (each.repeat_interleave(repeats, 1) for each in (key, heads(attention.v_proj)))
        read = _attend(query, key, value, hidden)
        return attention.o_proj(read.transpose(1, 2).reshape(x.shape))

    def logits(self, states: Tensor) -> Tensor:
        """Scores of all tokens; the embedding is tied."""
        return nn.functional.linear(states, self.model.model.language_model.embed_tokens.weight)


def _normed(norm: Any, x: Tensor) -> Tensor:
    """transformers' norm in one call of torch's instead of eight."""
    return nn.functional.rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)


def _rotated(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    cos, sin = rotary
    return x * cos + rotate_half(x) * sin


def _attend(query: Tensor, key: Tensor, value: Tensor, hidden: Tensor | None = None) -> Tensor:
    """Attention written out: on a CPU, in bfloat16 and with gradients, 4 times faster than torch's own."""
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)
    if hidden is not None:
        scores = scores.masked_fill(hidden, float("-inf"))
    return scores.softmax(-1, dtype=scores.dtype) @ value
