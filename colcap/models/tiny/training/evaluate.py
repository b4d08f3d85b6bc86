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
from colcap.engines.base import Engine, Request, Sampling
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
)
from colcap.models.tiny.training import questions
from colcap.models.tiny.training.fresh import Fresh, first_two, fresh_windows, scene_of
from colcap.models.weights import resolve

BATCH: Final = 64
BATCH_SIZES: Final = (1, 8, 64)
SEED: Final = 2026
SCENES: Final = [
    Scene(*parts)
    for parts in itertools.product(COLORS, SHAPES, BACKGROUNDS, (*MOTIONS, UNSAID))
    if parts[0] != parts[2]
]
Sentence = Callable[[Scene], str]


def report(folder: Path, *, clips: int = 560, transformers: int = 120) -> Iterator[str]:
    """Score a checkpoint; each line is one figure with what it was measured on.

    Parameters
    ----------
    folder : the checkpoint.
    clips : fresh windows, half of them of combinations that training never saw.
    transformers : windows whose captions transformers makes too.
    """
    from colcap.engines.vllm import VllmEngine

    model = resolve(str(folder), model_dir=folder)
    windows = fresh_windows(clips, model, seed=SEED)
    engine = VllmEngine(model)
    try:
        yield from _captions(engine, windows)
        yield from _second_stages(engine, windows)
        yield from _enhancements(engine, clips)
        yield from _batch_sizes(engine, windows)
        said = ask(engine, [_plain(window) for window in windows[:transformers]])
    finally:
        engine.close()
    yield agreement(folder, windows[:transformers], said)


def ask(engine: Engine, requests: Sequence[Request], *, batch: int = BATCH) -> list[str]:
    """The engine's answers, so many requests at a time, sampled as a run does."""
    batches = (requests[at : at + batch] for at in range(0, len(requests), batch))
    return [answer.text or "" for each in batches for answer in engine.generate(each, Sampling())]


def _plain(window: Fresh) -> Request:
    return Request(prompts.load("default"), video=window.video)


def _captions(engine: Engine, windows: list[Fresh]) -> Iterator[str]:
    for variant in prompts.variants("caption"):
        said = ask(engine, [Request(prompts.load(variant), video=window.video) for window in windows])
        yield from _scores(f"caption, prompt {variant}", windows, said, caption)
    unseen = itertools.cycle(questions.UNSEEN)
    said = ask(engine, [Request(next(unseen), video=window.video) for window in windows])
    yield from _scores(f"caption, {len(questions.UNSEEN)} prompts never trained", windows, said, caption)
    short = list(first_two(windows[:200]))
    yield from _scores("caption, two frames", short, ask(engine, [_plain(window) for window in short]), caption)
    for least, most in ((4, 8), (9, 16), (17, 24), (25, 42)):
        some = [window for window in windows if least <= len(window.video.frames) <= most]
        said = ask(engine, [_plain(window) for window in some])
        yield f"caption, {least} to {most} frames: {_share(some, said, caption):.3f} exact of {len(some)}"


def _second_stages(engine: Engine, windows: list[Fresh]) -> Iterator[str]:
    """A second stage asks with whatever the first one said, as a run does."""
    first = ask(engine, [_plain(window) for window in windows])
    prefix = prompts.load("default", "stage2")
    said = ask(
        engine,
        [Request(prefix + text, video=window.video) for window, text in zip(windows, first, strict=True)],
    )
    yield from _scores("stage 2", windows, said, refined)


def _enhancements(engine: Engine, count: int) -> Iterator[str]:
    rng = random.Random(SEED)
    scenes = [(scene_of(rng, held_out=bool(i % 2)), bool(i % 2)) for i in range(count)]
    for variant, sentence in itertools.product(prompts.variants("enhance"), (caption, refined)):
        system = prompts.load(variant, "enhance")
        said = ask(engine, [Request(sentence(scene), system=system) for scene, _ in scenes])
        for held_out in (False, True):
            right = [
                text == enhanced(scene) for (scene, new), text in zip(scenes, said, strict=True) if new is held_out
            ]
            name = f"enhancement, prompt {variant}, of {sentence.__name__}"
            yield f"{name}, {_kind(held_out)}: {sum(right) / len(right):.3f} exact of {len(right)}"


def _batch_sizes(engine: Engine, windows: list[Fresh]) -> Iterator[str]:
    requests = [_plain(window) for window in windows[:128]]
    texts = [ask(engine, requests, batch=size) for size in BATCH_SIZES]
    same = sum(len(set(each)) == 1 for each in zip(*texts, strict=True))
    yield f"same text in batches of {', '.join(map(str, BATCH_SIZES))}: {same} of {len(requests)}"


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


def _share(windows: list[Fresh], said: list[str], sentence: Sentence) -> float:
    return sum(sentence(w.scene) == text for w, text in zip(windows, said, strict=True)) / max(1, len(windows))


def _kind(held_out: bool) -> str:
    return "held-out combinations" if held_out else "trained combinations"


def agreement(folder: Path, windows: list[Fresh], said: list[str]) -> str:
    """How often transformers, greedy and with the same repetition penalty, says what vLLM said."""
    import torch
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16).eval()
    tell = partial(_told_by_transformers, model, AutoProcessor.from_pretrained(folder))
    same = sum(tell(_plain(window)) == text for window, text in zip(windows, said, strict=True))
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
def main(folder: Path, clips: int, transformers: int) -> None:
    """Score a checkpoint on fresh clips, and on combinations of attributes that training never saw."""
    for line in report(folder, clips=clips, transformers=transformers):
        print(line, flush=True)


if __name__ == "__main__":
    main()
