"""What a configuration means to the steps: specs, prompts, sampling, and the fingerprints of all that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from textwrap import dedent
from typing import Any, Final, Literal

import polars as pl

from colcap import media, prompts
from colcap.config import Captioning, Config, Enhancement
from colcap.engines.base import Engine, Sampling
from colcap.fingerprints import fingerprint
from colcap.manifests import ClipReader
from colcap.models.own import variants
from colcap.models.weights import ResolvedModel, find, resolve, served
from colcap.objects import Url
from colcap.runners.context import Context, context_of, counter_of
from colcap.sections import Generating
from colcap.steps.captions import CaptionStep
from colcap.steps.enhance import EnhanceStep
from colcap.steps.escalation import Rung

FRAME_CHOICES: Final = ("sampling_fps", "factor", "min_pixels", "max_pixels", "total_pixels", "resize")
"""Of a SampleSpec, what a user chooses; the context's room is the engine's, and its effect is in each row's warning."""


def resolve_model(config: Config, *, allow_download: bool = True) -> ResolvedModel:
    """The caption model's weights; raises WeightsError where they are missing."""
    c = config.captioning
    own = variants(config.models, "vision")
    if c.engine == "openai":
        return served(c.model_variant, own=own)
    return resolve(c.model_variant, model_dir=Path(c.model_dir), allow_download=allow_download, own=own)


def expected_model(config: Config) -> ResolvedModel | None:
    """What is known of the caption model though its weights are not here; None where that is too little.

    Raises
    ------
    WeightsError : no such model.
    """
    c = config.captioning
    known = find(c.model_variant, own=variants(config.models, "vision"))
    if known.budget is None or known.family is None:
        return None
    b, folder = known.budget, Path(c.model_dir) / known.id
    pixels = (b.factor, b.min_pixels, b.max_pixels, b.total_pixels)
    return ResolvedModel(known.id, known.revision, folder, known.family, *pixels, is_tiny=False)


def resolve_text_model(config: Config) -> ResolvedModel:
    """The enhancement model's weights; raises WeightsError where they are missing."""
    e = config.enhancement
    own = variants(config.models, "text")
    if e.engine == "openai":
        return served(e.model_variant, kind="text", own=own)
    return resolve(e.model_variant, model_dir=Path(e.model_dir), kind="text", own=own)


def caption_prompt(config: Config) -> tuple[str, str]:
    """The prompt and the name it is recorded under."""
    return _prompt(config.captioning, "caption")


def stage2_prompt(config: Config) -> str | None:
    """What the second pass says before the first caption; None where there is none."""
    c = config.captioning
    if not c.generate_stage2_caption:
        return None
    return prompts.load("default", "stage2") if c.stage2_prompt_text is None else dedent(c.stage2_prompt_text)


def sampling(config: Config) -> Sampling:
    """How captions are generated."""
    return replace(_sampling(config.captioning), json_schema=config.captioning.json_schema)


def _sampling(section: Generating) -> Sampling:
    return Sampling(section.temperature, section.top_p, section.repetition_penalty, section.max_output_tokens)


def escalation(config: Config) -> tuple[Rung, ...]:
    """How captions that came out badly are asked for again."""
    rungs, latest = [], sampling(config)
    for step in config.captioning.escalation:
        latest = replace(latest, **step.model_dump(exclude={"on"}, exclude_none=True))
        rungs.append(Rung(frozenset(step.on), latest))
    return tuple(rungs)


def _sampling_facts(chosen: Sampling) -> dict[str, Any]:
    """What is not chosen is left out, so that an option that is new here changes no fingerprint."""
    return {name: value for name, value in asdict(chosen).items() if value is not None}


def caption_fingerprint(config: Config, model: ResolvedModel) -> str:
    """Hash of everything a user chooses that can change a caption."""
    prompt, _ = caption_prompt(config)
    spec = sample_spec(config, model)
    return fingerprint(
        {
            "model": [model.id, model.revision],
            "prompt": prompt,
            "stage2": stage2_prompt(config),
            "sampling": _sampling_facts(sampling(config)),
            "frames": {name: getattr(spec, name) for name in FRAME_CHOICES},
            "windows": [config.captioning.window_size, config.captioning.remainder_threshold],
            "fp8": config.captioning.fp8,
            **_rounding(config),
            **_escalation_facts(config),
        }
    )


def _escalation_facts(config: Config) -> dict[str, Any]:
    rungs = [{"on": sorted(rung.on), "sampling": _sampling_facts(rung.sampling)} for rung in escalation(config)]
    return {"escalation": rungs} if rungs else {}


def _rounding(config: Config) -> dict[str, str]:
    """Floats round differently from bytes that the engine normalises, which can tip a caption over."""
    dtype = config.captioning.preprocess_dtype
    return {} if dtype in ("auto", "uint8") else {"pixels": dtype}


def sample_spec(config: Config, model: ResolvedModel) -> media.SampleSpec:
    """Which frames the model sees, and their size."""
    return media.SampleSpec(
        sampling_fps=config.captioning.sampling_fps,
        factor=model.factor,
        min_pixels=model.min_pixels,
        max_pixels=model.max_pixels,
        total_pixels=model.total_pixels,
        resize=not config.captioning.model_does_preprocess,
    )


def context(config: Config, model: ResolvedModel) -> Context | None:
    """The caption model's context; None where only the engine or the server knows it."""
    if config.captioning.engine == "openai":
        return None
    return context_of(config, model, stage2_prompt(config))


def fitted_spec(config: Config, model: ResolvedModel) -> media.SampleSpec:
    """The same as `sample_spec`, with the room that the configuration's prompt leaves for frames."""
    spec, room = sample_spec(config, model), context(config, model)
    if room is None or not spec.resize:  # the model's own processor decides on the size, and the engine refuses
        return spec
    written = counter_of(model.path).timestamp_tokens() if model.family == "qwen3_vl" else ()
    return replace(spec, max_tokens=room.room(caption_prompt(config)[0]), timestamp_tokens=written)


def with_room(batch: pl.DataFrame, prompts: Sequence[str | None], room: Callable[[str], int] | None) -> pl.DataFrame:
    """Clips or windows with the tokens that their rows' own prompts leave for frames, as `max_tokens`."""
    if room is None or not any(prompts):
        return batch
    left = [None if not prompt else room(prompt) for prompt in prompts]
    return batch.with_columns(pl.Series("max_tokens", left, dtype=pl.Int64))


def preview_spec(config: Config) -> media.PreviewSpec:
    """How previews look."""
    p = config.preview
    return media.PreviewSpec(p.target_fps, p.target_height, p.compression_level, p.quality, p.lossless)


def media_limits(config: Config) -> media.Limits:
    """What one clip may cost."""
    c = config.limits
    return media.Limits(max_bytes=c.max_bytes, max_pixels=c.max_pixels, max_duration_s=c.max_duration_s)


def clip_reader(config: Config, root: Path | Url | None) -> ClipReader:
    """Who reads clips; those outside the root are not read."""
    return ClipReader(root=root, max_bytes=config.limits.max_bytes, http=config.limits.http)


def wanted(
    config: Config, model: ResolvedModel | None, *, cut: bool, preview: bool, sample: bool, num_threads: int = 1
) -> media.Wanted:
    """The products to make of each clip or window."""
    return media.Wanted(
        window_size=config.captioning.window_size,
        remainder_threshold=config.captioning.remainder_threshold,
        cut=config.cut if cut else None,
        preview=preview_spec(config) if preview else None,
        sample=fitted_spec(config, model) if sample and model else None,
        num_threads=num_threads,
    )


def caption_step(config: Config, model: ResolvedModel, engine: Engine) -> CaptionStep:
    """The caption step of a configuration, on a running engine."""
    prompt, variant = caption_prompt(config)
    return CaptionStep(
        engine,
        sampling(config),
        prompt,
        variant,
        caption_fingerprint(config, model),
        config.caption_set,
        config.captioning.verbose,
        stage2_prompt=stage2_prompt(config),
        escalation=escalation(config),
    )


def enhancement_prompt(config: Config) -> tuple[str, str]:
    """The text model's instruction and the name it is recorded under."""
    return _prompt(config.enhancement, "enhance")


def _prompt(section: Captioning | Enhancement, kind: Literal["caption", "enhance"]) -> tuple[str, str]:
    if section.prompt_text is not None:
        return prompts.unindented(section.prompt_text), "custom"
    return prompts.load(section.prompt_variant, kind), section.prompt_variant


def enhancement_facts(config: Config, model: ResolvedModel) -> dict[str, Any]:
    """Everything a user chooses that can change an enhanced caption."""
    return {
        "model": [model.id, model.revision],
        "prompt": enhancement_prompt(config)[0],
        "sampling": _sampling_facts(enhancement_sampling(config)),
        "fp8": config.enhancement.fp8,
    }


def enhancement_sampling(config: Config) -> Sampling:
    """How enhanced captions are generated."""
    return _sampling(config.enhancement)


def enhance_step(config: Config, engine: Callable[[], Engine], fingerprint: str) -> EnhanceStep:
    """The enhancement step, whose rows say this fingerprint."""
    prompt, variant = enhancement_prompt(config)
    return EnhanceStep(
        engine(),
        enhancement_sampling(config),
        prompt,
        variant,
        fingerprint,
        config.caption_set,
        config.enhancement.verbose,
    )
