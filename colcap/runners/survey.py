"""A manifest's clips looked at, without making anything of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl
from rich.console import Console
from rich.progress import track

from colcap import manifests
from colcap.config import Config
from colcap.errors import RowError, WeightsError
from colcap.manifests import ClipReader, open_manifest
from colcap.media.frame_choice import spread
from colcap.media.workers import MediaPool
from colcap.models.weights import ResolvedModel
from colcap.objects import Url
from colcap.prompts import unindented
from colcap.runners import choices
from colcap.runners.context import counter_of
from colcap.steps.survey import SurveyStep

CANDIDATES: Final = 24
"""Clips in hand at once, and about as many kept for a trial."""


@dataclass(slots=True)
class CaptionPlan:
    """What is known of the caption model before its engine runs."""

    sets: list[Config]
    """The caption sets that are wanted; the first one's model and frames stand for all."""
    model: ResolvedModel | None = None
    """The model, as far as it is known; None: not enough."""
    has_weights: bool = False
    """Its weights are here."""
    notes: list[str] = field(default_factory=list)
    """What is missing, for a person."""

    @classmethod
    def of(cls, config: Config) -> CaptionPlan:
        """What a configuration asks for."""
        sets = config.each_set() if config.generate_captions else []
        found = cls(sets)
        if sets:
            found._look_for_weights()
        return found

    def _look_for_weights(self) -> None:
        first = self.sets[0]
        try:
            self.model, self.has_weights = choices.resolve_model(first, allow_download=False), True
        except WeightsError as error:
            self.model = choices.expected_model(first)
            self.notes.append(f"no trial of the engine, hours of captions are not known: {error}")
        if self.model is None:
            self.notes.append("tokens are not known either: a model that is not named in colcap says more with weights")
        elif not counter_of(self.model.path).is_exact:
            self.notes.append("the model's tokenizer is not here: tokens of texts are an upper bound, their bytes")
        if first.captioning.model_does_preprocess:
            self.notes.append("model_does_preprocess: its own processor decides on sizes; tokens are by the usual rule")

    def over(self, config: Config) -> Config:
        """A configuration as the first set sees it."""
        return self.sets[0] if self.sets else config

    def prompt_tokens(self, own: str | None = None) -> int | None:
        """Tokens of all sets' prompts for one window, frames apart."""
        if self.model is None:
            return None
        count = counter_of(self.model.path).count
        return sum(count(own or choices.caption_prompt(each)[0]) for each in self.sets)

    def with_prompts(self, clip: pl.DataFrame) -> pl.DataFrame:
        """A clip with what its own prompt, if it has one, means for its frames."""
        own = unindented(clip["prompt_text"].item() or "") if "prompt_text" in clip.columns else None
        if not own or self.model is None:
            return clip
        context = choices.context(self.sets[0], self.model)
        clip = choices.with_room(clip, [own], context.room if context else None)
        return clip.with_columns(pl.lit(self.prompt_tokens(own), pl.Int64).alias("prompt_tokens"))


@dataclass(slots=True)
class Surveyed:
    """What was found out about the clips that were looked at."""

    clips: int
    """Clips of the manifest."""
    rows: pl.DataFrame
    """schema.SURVEY."""
    candidates: list[pl.DataFrame]
    """Some clips that give windows."""

    @property
    def probed(self) -> int:
        """Clips that were looked at."""
        return self.rows["clip_id"].n_unique()

    @property
    def windows(self) -> pl.DataFrame:
        """Rows of windows."""
        return self.rows.filter(pl.col("num_frames").is_not_null())

    def scaled(self, value: Any) -> int:
        """A count of the clips looked at, for all clips."""
        return round(float(value or 0) * self.factor)

    @property
    def factor(self) -> float:
        """Clips that each clip looked at stands for."""
        return self.clips / max(1, self.probed)


def survey(
    manifest: Path | Url,
    config: Config,
    caption: CaptionPlan,
    reader: ClipReader,
    pool: MediaPool,
    *,
    limit: int | None,
    sample: int,
    console: Console | None,
) -> Surveyed:
    """Look at `sample` of a manifest's clips at most, evenly spread, on worker processes."""
    wanted = choices.wanted(caption.over(config), caption.model, cut=False, preview=False, sample=bool(caption.sets))
    step = SurveyStep(wanted, choices.media_limits(config), reader, caption.prompt_tokens() if caption.sets else None)
    there = open_manifest(manifest).num_rows
    total = there if limit is None else min(limit, there)
    looked = min(sample, total)
    clips = (caption.with_prompts(clip) for clip in _chosen(manifest, config, limit, set(spread(total, looked))))
    every = max(1, looked // CANDIDATES)
    rows, kept = [], []
    results = _results(step, clips, pool)
    shown = track(results, "looking at clips", total=looked, console=console, transient=True) if console else results
    for number, (clip, found) in enumerate(shown):
        rows.append(found)
        if number % every == 0 and found["num_frames"].null_count() == 0:
            kept.append(clip)
    return Surveyed(total, pl.concat(rows), kept)


def _chosen(manifest: Path | Url, config: Config, limit: int | None, wanted: set[int]) -> Iterator[pl.DataFrame]:
    """The clips to look at, one by one; all rows are checked on the way."""
    row = 0
    for rows in manifests.checked_rows(
        manifest, clips_per_part=config.clips_per_part, limit=limit, http=config.limits.http
    ):
        here = [i for i in range(rows.height) if row + i in wanted]
        names = [name for name in ("clip_id", "uri", "part", "mp4", "num_bytes", "prompt_text") if name in rows.columns]
        for i in here:
            yield rows.select(names)[i]
        row += rows.height


def _results(
    step: SurveyStep, clips: Iterator[pl.DataFrame], pool: MediaPool
) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Each clip with what was found, in order; few are in hand at a time."""
    waiting: deque[tuple[pl.DataFrame, Future[pl.DataFrame]]] = deque()
    for clip in clips:
        waiting.append((clip, pool.submit(step, clip)))
        if len(waiting) >= CANDIDATES:
            yield _result(step, *waiting.popleft())
    while waiting:
        yield _result(step, *waiting.popleft())


def _result(step: SurveyStep, clip: pl.DataFrame, future: Future[pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    try:
        return clip, future.result()
    except RowError as error:
        return clip, step.failed(clip, error)
