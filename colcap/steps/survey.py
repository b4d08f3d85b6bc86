"""Clips in, what a run would make of them out: read and cut in thought, with one frame decoded a clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from colcap import media
from colcap.errors import RowError
from colcap.media.frame_choice import smart_nframes, spread
from colcap.media.resize import frame_size
from colcap.schema import SURVEY
from colcap.steps.media_rows import OK, failure


@dataclass(frozen=True, slots=True)
class SurveyStep:
    """Finds a clip's windows, and the tokens of each.

    In: `clip_id`, `uri`, optionally `mp4`, `max_tokens` and `prompt_tokens` of the row's own prompt (null: as for all).
    Out: `schema.SURVEY`.
    """

    wanted: media.Wanted
    """Windows, and the frames to sample."""
    limits: media.Limits
    """What a clip may cost."""
    read: Callable[[str], bytes]
    """Reads a clip's bytes by uri; raises RowError."""
    prompt_tokens: int | None
    """Tokens of the prompt that all share, frames apart; None: not known."""

    def __call__(self, clips: pl.DataFrame) -> pl.DataFrame:
        rows = [row for clip in clips.iter_rows(named=True) for row in self._rows(clip)]
        return pl.DataFrame(rows, schema=SURVEY, orient="row")

    def failed(self, clips: pl.DataFrame, error: RowError) -> pl.DataFrame:
        """The rows of clips whose worker crashed, hung or grew too large."""
        rows = [_row(clip_id, **failure(error)) for clip_id in clips["clip_id"]]
        return pl.DataFrame(rows, schema=SURVEY, orient="row")

    def _rows(self, clip: Mapping[str, Any]) -> list[dict[str, Any]]:
        only_windows = replace(self.wanted, cut=None, preview=None, sample=None)
        try:
            data = self.read(clip["uri"]) if clip.get("mp4") is None else clip["mp4"]
            made = media.process_clip(data, only_windows, self.limits)
        except RowError as error:
            return [_row(clip["clip_id"], **failure(error))]
        return [self._window(clip, window, made.probe) for window in made.windows]

    def _window(self, clip: Mapping[str, Any], window: media.Window, probe: media.Probe) -> dict[str, Any]:
        facts = {
            "num_bytes": probe.num_bytes * window.num_frames // probe.num_frames,
            "num_frames": window.num_frames,
            "duration_s": window.end_s - window.start_s,
            "prompt_tokens": self.prompt_tokens if clip.get("prompt_tokens") is None else clip["prompt_tokens"],
        }
        return _row(clip["clip_id"], **facts, **self._frames(clip, window, probe))

    def _frames(self, clip: Mapping[str, Any], window: media.Window, probe: media.Probe) -> dict[str, Any]:
        """The frames that the model sees, and what becomes of them."""
        spec = self.wanted.sample
        if spec is None:
            return {"width": probe.width, "height": probe.height, **OK}
        if clip.get("max_tokens") is not None:
            spec = replace(spec, max_tokens=clip["max_tokens"])
        chosen = spread(window.num_frames, smart_nframes(window.num_frames, probe.fps, spec.sampling_fps))
        try:
            size = frame_size(probe.width, probe.height, spec, chosen=chosen, fps=probe.fps)
        except (RowError, ValueError) as error:
            why = error if isinstance(error, RowError) else RowError("unsupported", str(error))
            return {"sampled_frames": len(chosen), **failure(why)}
        seen = {"width": size.width, "height": size.height, "vision_tokens": size.tokens, "warning": size.warning}
        return {"sampled_frames": len(chosen), **seen, **OK}


def _row(clip_id: str, **facts: Any) -> dict[str, Any]:
    return {**dict.fromkeys(SURVEY), "clip_id": clip_id, **facts}
