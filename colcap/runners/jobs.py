"""Caption sets as jobs: several prompts share an engine, and models that see the same frames share a decode."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
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
    def frame_facts(self) -> list[Any]:
        """The frames its model is shown, and the context that they must fit."""
        spec, context = choices.sample_spec(self.config, self.model), choices.context(self.config, self.model)
        return [spec, context and context.length]

    @property
    def engine_facts(self) -> list[Any]:
        """What its engine is started with."""
        of_engine = self.config.captioning.model_dump(exclude=set(PER_REQUEST))
        return [self.model, of_engine]

    @property
    def is_local(self) -> bool:
        """Its engine takes devices of this machine."""
        return self.config.captioning.engine == "vllm"


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


def passes(jobs: Iterable[CaptionJob], *, models_at_once: int) -> list[tuple[CaptionJob, ...]]:
    """Jobs that are made together, over one decode: they see the same frames, and their engines fit side by side.

    Parameters
    ----------
    jobs : the sets to make.
    models_at_once : models that this machine's devices hold; those on servers take nothing of it.
    """
    found: list[tuple[CaptionJob, ...]] = []
    for same_frames in _alike(jobs, lambda job: job.frame_facts):
        groups = engine_groups(same_frames)
        local = [group for group in groups if group[0].is_local]
        served = [job for group in groups if group not in local for job in group]
        chunks = [local[at : at + models_at_once] for at in range(0, len(local), models_at_once)] or [[]]
        for number, chunk in enumerate(chunks):
            found.append((*chain.from_iterable(chunk), *(served if number == 0 else ())))
    return found


def engine_groups(jobs: Iterable[CaptionJob]) -> list[tuple[CaptionJob, ...]]:
    """Jobs that share an engine and its frames, together."""
    return _alike(jobs, lambda job: [job.engine_facts, job.frame_facts])


def _alike(jobs: Iterable[CaptionJob], facts: Callable[[CaptionJob], list[Any]]) -> list[tuple[CaptionJob, ...]]:
    """Jobs of the same facts together, in the order in which each of these came first."""
    groups: list[tuple[list[Any], list[CaptionJob]]] = []
    for job in jobs:
        mine = facts(job)
        group = next((group for theirs, group in groups if theirs == mine), None)
        if group is None:
            groups.append((mine, [job]))
        else:
            group.append(job)
    return [tuple(group) for _, group in groups]
