"""What the progress line says."""

from __future__ import annotations

import polars as pl
import pytest

from colcap.runners.progress import Progress


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([None, None], "errors 0 · left"),
        (["corrupt"], "errors 1 (1 corrupt) · left"),
        (["timeout", "corrupt", "timeout"], "errors 3 (2 timeout, 1 corrupt) · left"),
        ([*"aaaabbbccde"], "errors 11 (4 a, 3 b, 2 c, 2 other) · left"),
    ],
)
def test_errors_are_told_by_kind(kinds: list[str | None], expected: str) -> None:
    progress = Progress(total_parts=2, total_clips=8, captioning=False)
    progress.add_errors(pl.DataFrame({"error_kind": pl.Series(kinds, dtype=pl.String)}))

    assert expected in progress.line()
