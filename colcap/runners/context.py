"""The room that prompts leave for frames in a model's context."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from colcap.config import Config
from colcap.engines.options import context_length
from colcap.engines.prompt_tokens import PromptCounter
from colcap.models.weights import ResolvedModel

ANSWER_SHARE: Final = 4
"""No more than one part in four of the context is kept for the answer: a limit beyond that is not an expectation."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a model's context has room for."""

    length: int
    """Tokens of one request, answer included."""
    answer: int
    """Tokens kept for the answer."""
    count: Callable[[str], int]
    """Tokens of a prompt, template included and frames apart."""
    stage2: int
    """The same of the second pass's prompt with the longest first caption; 0 where there is no second pass."""

    def room(self, prompt: str) -> int:
        """Tokens that a prompt leaves for frames; negative where it does not fit itself."""
        return self.length - self.answer - max(self.count(prompt), self.stage2)


def context_of(config: Config, model: ResolvedModel, stage2_prompt: str | None) -> Context | None:
    """The context of a caption model as its engine will use it; None where only the engine knows."""
    length = context_length(model, config.runtime.engine_kwargs)
    if length is None:
        return None
    counter = counter_of(model.path)
    limits = [config.captioning.max_output_tokens, *(step.max_output_tokens for step in config.captioning.escalation)]
    most = max(limit for limit in limits if limit is not None)
    stage2 = 0 if stage2_prompt is None else counter.count(stage2_prompt) + most
    return Context(length, min(most, length // ANSWER_SHARE), counter.count, stage2)


def counter_of(folder: Path) -> PromptCounter:
    """The counter of a model's folder, made once: a tokenizer takes half a second to load."""
    counter = _exact.get(folder) or PromptCounter(None if folder == Path() else folder)  # a server's has no folder here
    if counter.is_exact:  # else its files may be there by the next time
        _exact[folder] = counter
    return counter


_exact: dict[Path, PromptCounter] = {}
