"""What the steps share that ask a model: who is asked, how, and what is recorded of an answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from colcap.engines.base import Engine, Generation, Sampling
from colcap.errors import RowError
from colcap.steps.media_rows import OK, failure


@dataclass(frozen=True, slots=True)
class AskingStep:
    """A step whose rows are a model's answers."""

    engine: Engine
    sampling: Sampling
    prompt: str
    """What the model is told, beside the window or the caption."""
    prompt_variant: str
    """Name of the built-in prompt, or `custom`."""
    fingerprint: str
    """Hash of the choices that can change an answer."""
    caption_set: str = "default"
    verbose: bool = False
    """Log a line for each answer."""

    def facts(self, columns: Iterable[str], window_id: str) -> dict[str, Any]:
        """A row that has no answer yet: what is known of any row of this step, and nulls."""
        return {
            **dict.fromkeys(columns),
            "window_id": window_id,
            "caption_set": self.caption_set,
            "attempt": 1,
            "model": self.engine.model,
            "model_revision": self.engine.revision,
            "prompt_variant": self.prompt_variant,
            "fingerprint": self.fingerprint,
        }


def answered(answer: Generation, error: RowError | None) -> dict[str, Any]:
    """What is recorded of an answer besides its text; `error` says why there is none to use."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "output_tokens": answer.output_tokens,
        "finish_reason": answer.finish_reason,
        **(OK if error is None else failure(error)),
    }
