"""What a fingerprint covers: the choices that can change its rows, and nothing else."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from test_three_ways import LINES

from colcap.config import Config, parse
from colcap.fingerprints import fingerprint, media_facts, preview_facts
from colcap.models.weights import ResolvedModel, resolve
from colcap.runners.choices import caption_fingerprint, enhancement_facts

TINY: Final = resolve("tiny", model_dir=Path("models"))
SAMPLING: Final = ("temperature", "top_p", "repetition_penalty", "max_output_tokens")

WINDOWS: Final = {
    "cut",
    "store_mp4",
    *(f"captioning.{name}" for name in ("window_size", "remainder_threshold", "sampling_fps")),
}
PREVIEWS: Final = {
    f"preview.{name}" for name in ("target_fps", "target_height", "compression_level", "quality", "lossless")
}
CAPTIONS: Final = {
    f"captioning.{name}"
    for name in (
        *("window_size", "remainder_threshold", "sampling_fps", "model_does_preprocess", "preprocess_dtype"),
        *("prompt_variant", "prompt_text", "generate_stage2_caption", "json_schema", "fp8", "escalation"),
        *SAMPLING,
    )
}
ENHANCED: Final = {f"enhancement.{name}" for name in ("prompt_variant", "prompt_text", "fp8", *SAMPLING)}


def prints(config: Config, model: ResolvedModel = TINY) -> dict[str, str]:
    """The fingerprint of each table."""
    return {
        "windows": fingerprint(media_facts(config)),
        "previews": fingerprint(preview_facts(config)),
        "captions": caption_fingerprint(config, model),
        "enhanced": fingerprint(enhancement_facts(config, model)),
    }


def differing(config: Config, *, than: Config, model: ResolvedModel = TINY) -> set[str]:
    """The tables whose rows are made anew."""
    before = prints(than)
    return {table for table, value in prints(config, model).items() if value != before[table]}


@pytest.mark.parametrize("name", LINES)
def test_a_parameter_belongs_to_the_tables_that_it_can_change(name: str) -> None:
    expected = {"windows": WINDOWS, "previews": PREVIEWS, "captions": CAPTIONS, "enhanced": ENHANCED}

    result = differing(parse(tomllib.loads(f"{name} = {LINES[name]}")), than=Config())

    assert result == {table for table, parameters in expected.items() if name in parameters}


def test_the_second_prompt_counts_where_there_is_one() -> None:
    default = {"generate_stage2_caption": True}
    own = {**default, "stage2_prompt_text": "Say it better: "}

    assert differing(parse({"captioning": own}), than=parse({"captioning": default})) == {"captions"}


@pytest.mark.parametrize("other", [{"id": "me/mine"}, {"revision": "0123abc"}])
def test_another_model_or_revision_says_something_else(other: dict[str, str]) -> None:
    assert differing(Config(), than=Config(), model=replace(TINY, **other)) == {"captions", "enhanced"}  # type: ignore[arg-type]


@pytest.mark.parametrize("budget", ["factor", "min_pixels", "max_pixels", "total_pixels"])
def test_frames_of_another_size_are_other_captions(budget: str) -> None:
    other = replace(TINY, **{budget: 2 * getattr(TINY, budget)})

    assert differing(Config(), than=Config(), model=other) == {"captions"}
