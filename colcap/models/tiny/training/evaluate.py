"""`python -m colcap.models.tiny.training.evaluate FOLDER`: a checkpoint's scores on fresh clips, through vLLM."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Final

import click

from colcap import prompts
from colcap.engines.base import Engine, Request, Sampling, Video
from colcap.models.tiny.pairs import Pair, is_held_out_pair, pair_caption
from colcap.models.tiny.scenes import (
    BACKGROUNDS,
    COLORS,
    MOTIONS,
    SHAPES,
    UNSAID,
    Scene,
    caption,
    enhanced,
    refined,
    scene_of,
)
from colcap.models.tiny.training import questions
from colcap.models.tiny.training.fresh import Fresh, first_two, fresh_pairs, fresh_windows
from colcap.models.weights import resolve

BATCH: Final = 64
BATCH_SIZES: Final = (1, 8, 64)
LENGTHS: Final = ((4, 8), (9, 16), (17, 24), (25, 42))
"""Sampled frames, inclusive."""
SEED: Final = 2026
SCENES: Final = [
    Scene(*parts)
    for parts in itertools.product(COLORS, SHAPES, BACKGROUNDS, (*MOTIONS, UNSAID))
    if parts[0] != parts[2]
]
Sentence = Callable[[Scene], str]


def report(folder: Path, *, clips: int = 560, transformers: int = 120, seed: int = SEED) -> Iterator[str]:
    """Score a checkpoint; each line is one figure with what it was measured on.

    Parameters
    ----------
    folder : the checkpoint.
    clips : fresh windows, half of them of combinations that training never saw.
    transformers : windows whose captions transformers makes too.
    seed : of the clips and of the captions to enhance.
    """
    from colcap.engines.vllm import VllmEngine

    model = resolve(str(folder), model_dir=folder)
    windows = fresh_windows(clips, model, seed=seed)
    engine = VllmEngine(model)
    try:
        first = ask(engine, _in_turn(windows, questions.OURS))
        yield from _captions(windows, first)
        yield from _other_captions(engine, windows)
        yield from _second_stages(engine, windows, first)
        yield from _enhancements(engine, clips, seed)
        yield from _pairs(engine, fresh_pairs(clips // 2, model, seed=seed))
        yield from _batch_sizes(engine, windows[:BATCH])
    finally:
        engine.close()
    yield agreement(folder, windows[:transformers], first)


def ask(engine: Engine, requests: Sequence[Request], *, batch: int = BATCH) -> list[str]:
    """The engine's answers, so many requests at a time, sampled as a run does."""
    batches = (requests[at : at + batch] for at in range(0, len(requests), batch))
    return [answer.text or "" for each in batches for answer in engine.generate(each, Sampling())]


def _in_turn(windows: Sequence[Fresh], texts: Sequence[str]) -> list[Request]:
    """Each window asked with one of the texts, in turn."""
    return [Request(text, video=window.video) for window, text in zip(windows, itertools.cycle(texts), strict=False)]


def _captions(windows: list[Fresh], said: list[str]) -> Iterator[str]:
    """Our prompts in turn: each attribute, then how it depends on the prompt and on the number of frames."""
    yield from _scores("caption, our three prompts in turn", windows, said, caption)
    right = [caption(window.scene) == text for window, text in zip(windows, said, strict=True)]
    for start, variant in enumerate(prompts.variants("caption")):
        yield f"caption, prompt {variant}: {_share(right[start :: len(questions.OURS)])}"
    for least, most in LENGTHS:
        some = [r for r, window in zip(right, windows, strict=True) if least <= len(window.video.frames) <= most]
        yield f"caption, {least} to {most} frames: {_share(some)}"
    for name, group in (("fps", _rate), ("frames", _form)):
        for value in sorted({group(window) for window in windows}):
            some = [r for r, window in zip(right, windows, strict=True) if group(window) == value]
            yield f"caption, {value} {name}: {_share(some)}"


def _rate(window: Fresh) -> str:
    return str(window.rate)


def _form(window: Fresh) -> str:
    _, height, width, _ = window.video.frames.shape
    return "square" if height == width else "wide" if width > height else "upright"


def _other_captions(engine: Engine, windows: list[Fresh]) -> Iterator[str]:
    said = ask(engine, _in_turn(windows, questions.UNSEEN))
    yield from _scores(f"caption, {len(questions.UNSEEN)} prompts never trained", windows, said, caption)
    odd = ask(engine, _in_turn(windows, questions.ODD))
    yield from _scores(f"caption, {len(questions.ODD)} odd prompts", windows, odd, caption)
    short = list(first_two(windows[:200]))
    yield from _scores("caption, two frames", short, ask(engine, _in_turn(short, questions.OURS)), caption)


def _second_stages(engine: Engine, windows: list[Fresh], first: list[str]) -> Iterator[str]:
    """A second stage asks with whatever the first one said, as a run does."""
    asked = [prompts.load("default", "stage2") + text for text in first]
    yield from _scores("stage 2", windows, ask(engine, _in_turn(windows, asked)), refined)


def _enhancements(engine: Engine, count: int, seed: int) -> Iterator[str]:
    """Both of our instructions, on a first and on a second caption, in turn."""
    rng = random.Random(seed)
    kinds = itertools.cycle(itertools.product(questions.OUR_ENHANCING, (caption, refined)))
    scenes = [(scene_of(rng, held_out=bool(i // 4 % 2)), bool(i // 4 % 2), next(kinds)) for i in range(count)]
    said = ask(engine, [Request(sentence(scene), system=system) for scene, _, (system, sentence) in scenes])
    for held_out in (False, True):
        right = [enhanced(scene) == text for (scene, new, _), text in zip(scenes, said, strict=True) if new is held_out]
        yield f"enhancement, {_kind(held_out)}: {_share(right)}"


def _pairs(engine: Engine, windows: list[tuple[Video, Pair]]) -> Iterator[str]:
    """Two shapes: the whole sentence, and each half of it."""
    said = ask(engine, [Request(prompts.load("default"), video=video) for video, _ in windows])
    for held_out in (False, True):
        some = [
            (pair, text) for (_, pair), text in zip(windows, said, strict=True) if is_held_out_pair(pair) is held_out
        ]
        halves = [[a == b for a, b in zip(_halves(pair_caption(p)), _halves(t), strict=True)] for p, t in some]
        first, second = (sum(half) / len(some) for half in zip(*halves, strict=True))
        exact = _share([all(half) for half in halves])
        yield f"two shapes, {_kind(held_out)}: {exact}; moving shape {first:.3f}, still shape {second:.3f}"
    for least, most in LENGTHS:
        right = [
            pair_caption(pair) == text
            for (video, pair), text in zip(windows, said, strict=True)
            if least <= len(video.frames) <= most
        ]
        yield f"two shapes, {least} to {most} frames: {_share(right)}"


def _halves(text: str) -> tuple[str, str]:
    first, _, second = text.partition(" and ")
    return first, second


def _batch_sizes(engine: Engine, windows: list[Fresh]) -> Iterator[str]:
    requests = _in_turn(windows, questions.OURS)
    texts = [ask(engine, requests, batch=size) for size in BATCH_SIZES]
    same = [len(set(each)) == 1 for each in zip(*texts, strict=True)]
    yield f"same text in batches of {', '.join(map(str, BATCH_SIZES))}: {sum(same)} of {len(same)}"


def _scores(name: str, windows: list[Fresh], said: list[str], sentence: Sentence) -> Iterator[str]:
    """Each attribute's share of right answers; a text that is none of the sentences is wrong in all of them."""
    means = {sentence(scene): scene for scene in SCENES}
    for held_out in (False, True):
        some = [(w.scene, means.get(t)) for w, t in zip(windows, said, strict=True) if w.held_out is held_out]
        shares = {
            field.name: sum(
                heard is not None and getattr(heard, field.name) == getattr(true, field.name) for true, heard in some
            )
            / len(some)
            for field in fields(Scene)
        }
        exact = sum(heard == true for true, heard in some) / len(some)
        figures = ", ".join(f"{attribute} {share:.3f}" for attribute, share in shares.items())
        yield f"{name}, {_kind(held_out)}: {exact:.3f} exact of {len(some)}; {figures}"


def _share(right: Sequence[bool]) -> str:
    return f"{sum(right) / max(1, len(right)):.3f} exact of {len(right)}"


def _kind(held_out: bool) -> str:
    return "held-out combinations" if held_out else "trained combinations"


def agreement(folder: Path, windows: list[Fresh], said: list[str]) -> str:
    """How often transformers, greedy and with the same repetition penalty, says what vLLM said."""
    import torch
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16).eval()
    tell = partial(_told_by_transformers, model, AutoProcessor.from_pretrained(folder))
    requests = _in_turn(windows, questions.OURS)
    same = sum(tell(request) == text for request, text in zip(requests, said[: len(requests)], strict=True))
    return f"transformers says the same: {same} of {len(windows)}"


def _told_by_transformers(model: object, processor: object, request: Request) -> str:
    import torch

    video = request.video
    assert video is not None
    content = [{"type": "video"}, {"type": "text", "text": request.text}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)  # type: ignore[attr-defined]
    metadata = {
        "fps": video.source_fps,
        "total_num_frames": video.source_frames,
        "frames_indices": video.frame_indices,
    }
    frames = torch.from_numpy(video.frames).permute(0, 3, 1, 2)
    inputs = processor(text=[text], videos=[frames], video_metadata=[metadata], do_resize=False, return_tensors="pt")  # type: ignore[operator]
    inputs.pop("video_metadata", None)
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"].to(torch.bfloat16)
    penalty = Sampling().repetition_penalty
    with torch.no_grad():
        out = model.generate(**inputs, max_new_tokens=100, do_sample=False, repetition_penalty=penalty)  # type: ignore[attr-defined]
    answer = out[0, inputs["input_ids"].shape[1] :]
    told: str = processor.decode(answer, skip_special_tokens=True)  # type: ignore[attr-defined]
    return told.strip()


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--clips", default=560, show_default=True, help="Fresh windows.")
@click.option("--transformers", default=120, show_default=True, help="Windows that transformers captions too.")
@click.option("--seed", default=SEED, show_default=True, help="Of the clips: another one draws other clips.")
def main(folder: Path, clips: int, transformers: int, seed: int) -> None:
    """Score a checkpoint on fresh clips, and on combinations of attributes that training never saw."""
    for line in report(folder, clips=clips, transformers=transformers, seed=seed):
        print(line, flush=True)


if __name__ == "__main__":
    main()
