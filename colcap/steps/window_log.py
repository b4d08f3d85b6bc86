"""A log line for each window, where `verbose` asks for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from colcap.engines.base import Generation
from colcap.errors import RowError, one_line

log = logging.getLogger("colcap.windows")


def tell_answer(kind: str, window_id: str, passes: Sequence[Generation], error: RowError | None) -> None:
    """Log what the engine made of a window.

    Parameters
    ----------
    kind : what was asked for.
    window_id : of the window.
    passes : the answers, each from the one before; what is told is the last one's, and the seconds of all.
    error : why there is no text to use, if there is none.
    """
    final, seconds = passes[-1], sum(answer.seconds or 0.0 for answer in passes)
    facts = {
        "window_id": window_id,
        "prompt_tokens": final.prompt_tokens,
        "output_tokens": final.output_tokens,
        "seconds": round(seconds, 3),
        "finish_reason": final.finish_reason,
    }
    if error is None:
        tokens = f"{final.prompt_tokens} + {final.output_tokens} tokens"
        _log(window_id, f"{kind}: {tokens} in {seconds:.2f} s, {final.finish_reason}", facts)
    else:
        _log(window_id, f"{kind}: {error} (after {seconds:.2f} s)", {**facts, "error_kind": error.kind})


def tell_unasked(kind: str, window_id: str, error: RowError) -> None:
    """Log a window that nothing was asked about, and why."""
    _log(window_id, f"{kind}: {error}", {"window_id": window_id, "error_kind": error.kind})


def tell_preview(preview: Mapping[str, Any], seconds: float) -> None:
    """Log a row of the previews table, and the seconds of the media work that it came from."""
    name, kind = preview["window_id"], preview["error_kind"]
    facts = {"window_id": name, "seconds": round(seconds, 3), "error_kind": kind}
    if kind is None:
        size = f"{preview['width']}x{preview['height']}, {preview['webp_bytes']:,} bytes"
        _log(name, f"preview: {preview['num_frames']} frames of {size}, in {seconds:.2f} s of media work", facts)
    else:
        _log(name, f"preview: {kind}: {preview['error']}", facts)


def _log(window_id: str, said: str, facts: Mapping[str, Any]) -> None:
    log.info("%s", one_line(f"{window_id}: {said}"), extra={"fields": facts})
