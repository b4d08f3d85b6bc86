"""Doing some of a run again: which windows an SQL condition chooses, and with what choices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colcap.config import WINDOW_PARAMETERS, Config, merge, parse
from colcap.errors import ConfigError
from colcap.runners import launch
from colcap.runners.jobs import caption_jobs
from colcap.runners.make import Given
from colcap.runners.runfile import saved_config
from colcap.runners.selecting import Selection, select_windows


@dataclass(frozen=True, slots=True)
class Again:
    """What is to be done again."""

    config: Config
    """The run's choices, and over them what was asked for."""
    selection: Selection | None
    """The windows; None: all that need it."""


def caption_again(
    run: Path, given: Given, *, where: str | None, caption_set: str, parameters: Mapping[str, Any]
) -> None:
    """Caption the windows for which a condition holds; see `api.caption`."""
    again = choose_captions(run, where=where, caption_set=caption_set, parameters=parameters)
    launch.caption(run, again.config, given, again.selection)


def choose_captions(run: Path, *, where: str | None, caption_set: str, parameters: Mapping[str, Any]) -> Again:
    """Which windows would be captioned, and how.

    Raises
    ------
    ConfigError : a parameter of the windows themselves.
    """
    if fixed := sorted(set(WINDOW_PARAMETERS) & set(parameters)):
        raise ConfigError(f"{', '.join(fixed)}: the windows are stored already; other windows need a new run folder")
    config = _of_set(saved_config(run), caption_set)
    nested = {"generate_captions": True, "caption_set": caption_set, "captions": [], "captioning": dict(parameters)}
    config = parse(merge(config.model_dump(), nested), source="caption")
    if where is None:
        return Again(config, None)
    (job,) = caption_jobs(config)
    return Again(config, select_windows(run, where, caption_set=caption_set, fingerprint=job.fingerprint))


def _of_set(config: Config, caption_set: str) -> Config:
    """The run's choices as one of its sets sees them; those of all sets where it is a new one."""
    return next((own for own in config.each_set() if own.caption_set == caption_set), config)


def preview_again(run: Path, given: Given, *, where: str | None, parameters: Mapping[str, Any]) -> None:
    """Make the previews of the windows for which a condition holds; see `api.preview`."""
    again = choose_previews(run, where=where, parameters=parameters)
    assert again.selection is not None
    launch.preview(run, again.config, given, again.selection)


def choose_previews(run: Path, *, where: str | None, parameters: Mapping[str, Any]) -> Again:
    """Which previews would be made, and how."""
    nested = {"generate_previews": True, "preview": dict(parameters)}
    config = parse(merge(saved_config(run).model_dump(), nested), source="preview")
    return Again(config, select_windows(run, where))


def enhance_again(
    run: Path, given: Given, *, where: str | None, caption_set: str, parameters: Mapping[str, Any]
) -> None:
    """Enhance captions; see `api.enhance`."""
    again = choose_enhancements(run, where=where, caption_set=caption_set, parameters=parameters)
    launch.enhance(run, again.config, given, again.selection)


def choose_enhancements(run: Path, *, where: str | None, caption_set: str, parameters: Mapping[str, Any]) -> Again:
    """Which captions would be enhanced, and how; where no condition is given, those that need it."""
    nested = {"caption_set": caption_set, "captions": [], "enhancement": dict(parameters)}
    config = parse(merge(saved_config(run).model_dump(exclude_unset=True), nested), source="enhance")
    return Again(config, None if where is None else select_windows(run, where, caption_set=caption_set))
