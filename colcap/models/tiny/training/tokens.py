"""The vocabulary: byte-level BPE learned from what the model says and is asked, and the chat template."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, Final

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from colcap.models.tiny.scenes import as_seen, caption, enhanced, random_scene, refined
from colcap.models.tiny.training import questions

VOCABULARY: Final = 1024
CONTROL: Final = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|im_start|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen's control tokens, the last of the vocabulary."""

CHAT_TEMPLATE: Final = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(seed: int = 0) -> Any:
    """Learn the vocabulary; the same seed gives the same one."""
    learned = Tokenizer(models.BPE())
    learned.normalizer = normalizers.NFC()
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    learned.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(CONTROL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    learned.train_from_iterator(_texts(random.Random(seed)), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=learned,
        eos_token=CONTROL[0],
        pad_token=CONTROL[1],
        additional_special_tokens=list(CONTROL),
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _texts(rng: random.Random) -> Iterator[str]:
    """What the model will read and write, in the proportions in which the vocabulary should know it."""
    for _ in range(4000):
        scene = as_seen(random_scene(rng), 2 if rng.random() < 0.1 else 4)
        yield from (caption(scene), refined(scene), enhanced(scene))
    for _ in range(100):
        yield "system\nYou are a helpful assistant.\nuser\nassistant\n"
        yield from (*questions.OURS, *questions.OUR_ENHANCING, *questions.OUR_REFINING)
    for _ in range(20):
        yield from (*questions.ASKING, *questions.REFINING, *questions.ENHANCING)
