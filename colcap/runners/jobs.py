"""Caption sets as jobs: several prompts share one decode and one engine, another model takes a pass of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from colcap.config import Config
from colcap.models.weights import ResolvedModel
from colcap.runners import choices

PER_REQUEST: Final = (
    "prompt_variant",
    "prompt_text",
    "generate_stage2_caption",
    "stage2_prompt_text",
    "temperature",
    "top_p",
    "repetition_penalty",
    "max_output_tokens",
    "escalation",
    "json_schema",
    "caption_batch_size",
    "verbose",
)
"""Parameters of captioning that one engine takes differently with each request."""


@dataclass(frozen=True, slots=True)
class CaptionJob:
    """The captions of one set."""

    config: Config
    """The run's, with the set's own name and captioning."""
    model: ResolvedModel
    """Who captions."""
    fingerprint: str
    """Hash of the choices that can change a caption."""

    @property
    def caption_set(self) -> str:
        """Name of the set."""
        return self.config.caption_set

    @property
    def engine_facts(self) -> list[Any]:
        """What an engine is started with, and the frames it is shown: jobs with the same ones share both."""
        of_engine = self.config.captioning.model_dump(exclude=set(PER_REQUEST))
        return [self.model, choices.sample_spec(self.config, self.model), of_engine]


def caption_jobs(config: Config) -> list[CaptionJob]:
    """The sets a configuration asks for.

    Raises
    ------
    WeightsError : a model's weights are missing.
    """
    found = []
    for own in config.each_set():
        model = choices.resolve_model(own)
        found.append(CaptionJob(own, model, choices.caption_fingerprint(own, model)))
    return found


def passes(jobs: Iterable[CaptionJob]) -> list[tuple[CaptionJob, ...]]:
    """Jobs that can share an engine and its frames, together; two engines would not fit one device."""
    groups: list[list[CaptionJob]] = []
    for job in jobs:
        group = next((group for group in groups if group[0].engine_facts == job.engine_facts), None)
        if group is None:
            groups.append([job])
        else:
            group.append(job)
    return [tuple(group) for group in groups]
