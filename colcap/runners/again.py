"""Doing some of a run again: which windows an SQL condition chooses, and with what choices."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from colcap.config import WINDOW_PARAMETERS, Config, merge, parse
from colcap.errors import ConfigError, printable
from colcap.runners import launch
from colcap.runners.choices import enhancement_facts, resolve_text_model
from colcap.runners.enhancing import plan_enhancement, to_enhance
from colcap.runners.jobs import caption_jobs
from colcap.runners.make import Given
from colcap.runners.plan import empty_plan
from colcap.runners.runfile import saved_config
from colcap.runners.selecting import Selection, select_windows

log = logging.getLogger(__name__)


def caption_again(
    run: Path, given: Given, *, where: str | None, caption_set: str, parameters: Mapping[str, Any]
) -> None:
    """Caption the windows for which a condition holds; see `api.caption`."""
    config = _caption_config(run, caption_set, parameters)
    selection = None if where is None else _told(where, _without_this_caption(run, where, config))
    launch.caption(run, config, given, selection)


def _told(where: str, chosen: Selection) -> Selection:
    """Say so where nothing is to be done, which otherwise looks like work that was done."""
    if not chosen.count:
        same = f"; {chosen.unchanged:,} of those that match: this very caption is there" if chosen.unchanged else ""
        log.warning("no window is chosen by %s%s", printable(where), same)
    return chosen


def choose_captions(run: Path, where: str | None, caption_set: str, parameters: Mapping[str, Any]) -> Selection:
    """Windows that would be captioned: none that have this very caption already.

    Raises
    ------
    ConfigError : a parameter of the windows themselves.
    """
    config = _caption_config(run, caption_set, parameters)
    if where is not None:
        return _without_this_caption(run, where, config)
    todo = launch.uncaptioned(empty_plan(run, saved_config(run), caption_jobs(config)))
    windows = select_windows(run, None).windows
    return Selection({part.part: windows[part.part] for part in todo if part.part in windows})


def _without_this_caption(run: Path, where: str | None, config: Config) -> Selection:
    (job,) = caption_jobs(config)
    return select_windows(run, where, caption_set=config.caption_set, fingerprint=job.fingerprint)


def _caption_config(run: Path, caption_set: str, parameters: Mapping[str, Any]) -> Config:
    if fixed := sorted(set(WINDOW_PARAMETERS) & set(parameters)):
        raise ConfigError(f"{', '.join(fixed)}: the windows are stored already; other windows need a new run folder")
    config = _of_set(saved_config(run), caption_set)
    nested = {"generate_captions": True, "caption_set": caption_set, "captions": [], "captioning": dict(parameters)}
    return parse(merge(config.model_dump(), nested), source="caption")


def _of_set(config: Config, caption_set: str) -> Config:
    """The run's choices as one of its sets sees them; those of all sets where it is a new one."""
    return next((own for own in config.each_set() if own.caption_set == caption_set), config)


def preview_again(run: Path, given: Given, *, where: str | None, parameters: Mapping[str, Any]) -> None:
    """Make the previews of the windows for which a condition holds; see `api.preview`."""
    selection = select_windows(run, where)
    launch.preview(run, _preview_config(run, parameters), given, _told(where or "true", selection))


def choose_previews(run: Path, where: str | None, parameters: Mapping[str, Any]) -> Selection:
    """Windows whose preview would be made, if it can be made so."""
    _preview_config(run, parameters)
    return select_windows(run, where)


def _preview_config(run: Path, parameters: Mapping[str, Any]) -> Config:
    nested = {"generate_previews": True, "preview": dict(parameters)}
    return parse(merge(saved_config(run).model_dump(), nested), source="preview")


def enhance_again(
    run: Path, given: Given, *, where: str | None, caption_set: str, parameters: Mapping[str, Any]
) -> None:
    """Enhance the captions of the windows for which a condition holds, or all that need it; see `api.enhance`."""
    config = _enhance_config(run, caption_set, parameters)
    selection = None if where is None else _told(where, select_windows(run, where, caption_set=caption_set))
    launch.enhance(run, config, given, selection)


def choose_enhancements(run: Path, where: str | None, caption_set: str, parameters: Mapping[str, Any]) -> Selection:
    """Windows whose caption would be enhanced, if it can be done so."""
    config = _enhance_config(run, caption_set, parameters)
    if where is not None:
        return select_windows(run, where, caption_set=caption_set)
    facts = enhancement_facts(config, resolve_text_model(config))
    todo = plan_enhancement(run, caption_set, facts)
    return Selection({part.part: frozenset(to_enhance(run, caption_set, part)["window_id"]) for part in todo})


def _enhance_config(run: Path, caption_set: str, parameters: Mapping[str, Any]) -> Config:
    nested = {"caption_set": caption_set, "captions": [], "enhancement": dict(parameters)}
    return parse(merge(saved_config(run).model_dump(exclude_unset=True), nested), source="enhance")
