"""Sampled windows in, caption rows out, through whatever engine is behind the protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from colcap import json_schema
from colcap.engines.base import Generation, Request, Sampling, Video
from colcap.errors import RowError
from colcap.schema import CAPTIONS
from colcap.steps.asking import AskingStep, answered
from colcap.steps.escalation import Rung
from colcap.steps.media_rows import failure
from colcap.steps.window_log import tell_answer, tell_unasked


@dataclass(frozen=True, slots=True)
class _Asked:
    """A window that has frames to show."""

    sample: dict[str, Any]
    prompt: str
    video: Video


@dataclass(frozen=True, slots=True)
class _Answer:
    """What was said of it, in the first pass and in the last; the same where there is one."""

    first: Generation
    final: Generation


@dataclass(frozen=True, slots=True)
class CaptionStep(AskingStep):
    """Captions a batch of samples; called from several threads at once, so that batches overlap in the engine.

    In: `schema.SAMPLES`, optionally `prompt_text` for a row's own prompt. A sample that failed gives a caption row
    with the same error. Out: `schema.CAPTIONS`, one row per input row, in order, with `attempt` 1; at the end, a window
    that was asked again has a row with `attempt` 2, 3, … for each time. Runners count on from the attempts there are.
    """

    stage2_prompt: str | None = None
    """Where given, a second pass whose prompt is this text and the first caption."""
    escalation: Sequence[Rung] = ()
    """Tried in order, each once, on the answers that it catches; none of them is lost."""

    def __call__(self, samples: pl.DataFrame) -> pl.DataFrame:
        rows = list(samples.iter_rows(named=True))
        asked = [
            _Asked(row, row.get("prompt_text") or self.prompt, video(row)) for row in rows if row["status"] == "ok"
        ]
        answers = self._answer(asked, self.sampling)
        first = iter(zip(asked, answers, strict=True))
        done = [self._row(*next(first)) if row["status"] == "ok" else self._unseen(row) for row in rows]
        return pl.DataFrame(done + self._escalated(asked, answers), schema=CAPTIONS, orient="row")

    def _escalated(self, asked: Sequence[_Asked], answers: Sequence[_Answer]) -> list[dict[str, Any]]:
        latest, numbers = list(answers), [1] * len(answers)
        done = []
        for rung in self.escalation:
            caught = [i for i, answer in enumerate(latest) if rung.catches(answer.final)]
            for i, answer in zip(caught, self._answer([asked[i] for i in caught], rung.sampling), strict=True):
                latest[i], numbers[i] = answer, numbers[i] + 1
                done.append({**self._row(asked[i], answer), "attempt": numbers[i]})
        return done

    def _answer(self, asked: Sequence[_Asked], sampling: Sampling) -> list[_Answer]:
        if self.stage2_prompt is None:
            return [_Answer(final, final) for final in self._ask(asked, [one.prompt for one in asked], sampling)]
        # A first caption is free text: only what is kept as the caption has a schema to obey.
        first = self._ask(asked, [one.prompt for one in asked], replace(sampling, json_schema=None))
        return [_Answer(*pair) for pair in zip(first, self._refine(asked, first, sampling), strict=True)]

    def _ask(self, asked: Sequence[_Asked], prompts: Sequence[str], sampling: Sampling) -> list[Generation]:
        requests = [Request(text=text, video=one.video) for one, text in zip(asked, prompts, strict=True)]
        return self.engine.generate(requests, sampling) if requests else []

    def _refine(self, asked: Sequence[_Asked], first: Sequence[Generation], sampling: Sampling) -> list[Generation]:
        """Ask again with the first caption; a row without one keeps its first answer, error and all."""
        there = [i for i, generation in enumerate(first) if generation.error is None]
        prompts = [f"{self.stage2_prompt}{first[i].text}" for i in there]
        second = self._ask([asked[i] for i in there], prompts, sampling)
        refined = dict(zip(there, second, strict=True))
        return [refined.get(i, generation) for i, generation in enumerate(first)]

    def _row(self, asked: _Asked, answer: _Answer) -> dict[str, Any]:
        two_stages, prompt, final = self.stage2_prompt is not None, asked.prompt, answer.final
        as_json, error = self._as_json(final)
        if self.verbose:
            passes = (answer.first, final) if two_stages else (final,)
            tell_answer(f"caption of set {self.caption_set}", asked.sample["window_id"], passes, error)
        return {
            **self._facts(asked.sample),
            "caption": final.text,
            "caption_json": as_json,
            "stage1_caption": answer.first.text if two_stages else None,
            "prompt_variant": self.prompt_variant if prompt == self.prompt else "row",
            "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
            **answered(final, error),
        }

    def _as_json(self, answer: Generation) -> tuple[str | None, RowError | None]:
        """The answer as JSON where a schema asks for it, or why it is none."""
        if self.sampling.json_schema is None or answer.error is not None:
            return None, answer.error
        try:
            return json_schema.conform(answer.text or "", self.sampling.json_schema), None
        except RowError as error:
            cut = " It was cut: raise max_output_tokens." if answer.finish_reason == "length" else ""
            return None, RowError(error.kind, error.text + cut)

    def _unseen(self, sample: dict[str, Any]) -> dict[str, Any]:
        """The window has no frames to show: its caption row says why, in the words of the step that failed."""
        error = RowError(sample["error_kind"], sample["error"], skipped=sample["status"] == "skipped")
        if self.verbose:
            tell_unasked(f"caption of set {self.caption_set}", sample["window_id"], error)
        return {**self._facts(sample), **failure(error)}

    def _facts(self, sample: dict[str, Any]) -> dict[str, Any]:
        return {
            **self.facts(CAPTIONS, sample["window_id"]),
            "num_frames": sample["num_frames"],
            "frame_width": sample["frame_width"],
            "frame_height": sample["frame_height"],
            "warning": sample.get("warning"),
        }


def video(sample: dict[str, Any]) -> Video:
    """What a row of samples shows."""
    shape = (sample["num_frames"], sample["frame_height"], sample["frame_width"], 3)
    return Video(
        frames=np.frombuffer(sample["frames"], np.uint8).reshape(shape).copy(),  # torch wants writable memory
        frame_indices=sample["frame_indices"],
        source_frames=sample["source_frames"],
        source_fps=sample["source_fps"],
        content_id=sample["content_id"],
    )
