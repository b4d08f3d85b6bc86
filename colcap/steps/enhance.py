"""Captions in, enhanced captions out: a text model rewrites what the video model said."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import polars as pl

from colcap.engines.base import Generation, Request
from colcap.errors import RowError
from colcap.schema import ENHANCED
from colcap.steps.asking import AskingStep, answered
from colcap.steps.media_rows import failure
from colcap.steps.window_log import tell_answer, tell_unasked


@dataclass(frozen=True, slots=True)
class EnhanceStep(AskingStep):
    """Enhances a batch of captions; kept beside the caption, never over it.

    In: `window_id`, `attempt`, `caption`, `status`, `error_kind` and `error` of caption rows. The prompt is what the
    system says, the caption what the user says. A window without a caption gives a `skipped` row that says so. Out:
    `schema.ENHANCED`, one row per input row, in order; `attempt` is 1, which a runner that adds a later attempt
    overwrites.
    """

    def __call__(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = list(captions.iter_rows(named=True))
        requests = [Request(text=row["caption"], system=self.prompt) for row in rows if row["status"] == "ok"]
        answers = iter(self.engine.generate(requests, self.sampling) if requests else [])
        done = [self._row(row, next(answers)) if row["status"] == "ok" else self._uncaptioned(row) for row in rows]
        return pl.DataFrame(done, schema=ENHANCED, orient="row")

    def _row(self, caption: dict[str, Any], answer: Generation) -> dict[str, Any]:
        if self.verbose:
            kind = f"enhanced caption of set {self.caption_set}"
            tell_answer(kind, caption["window_id"], (answer,), answer.error)
        return {
            **self._facts(caption),
            "enhanced_caption": answer.text,
            **answered(answer, answer.error),
        }

    def _uncaptioned(self, caption: dict[str, Any]) -> dict[str, Any]:
        error = RowError(caption["error_kind"], f"there is no caption to enhance: {caption['error']}", skipped=True)
        if self.verbose:
            tell_unasked(f"enhanced caption of set {self.caption_set}", caption["window_id"], error)
        return {**self._facts(caption), **failure(error)}

    def _facts(self, caption: dict[str, Any]) -> dict[str, Any]:
        return {
            **self.facts(ENHANCED, caption["window_id"]),
            "caption_attempt": caption["attempt"],
            "prompt_sha256": hashlib.sha256(self.prompt.encode()).hexdigest(),
        }
