"""What a notebook shows of a run's frames: previews beside text, escaped, at most so many rows, never a blob."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import gallery_runs
import polars as pl
import pytest
import qa_runs
from IPython.core.interactiveshell import InteractiveShell

import colcap
from colcap.notebook import view


@pytest.fixture(scope="module")
def shell() -> Iterator[InteractiveShell]:
    """IPython, as a kernel has it."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


@pytest.fixture
def run(shell: InteractiveShell, tmp_path: Path) -> colcap.Run:
    folder = gallery_runs.small(tmp_path / "run")
    (folder / "run.toml").write_text("")
    return colcap.Run(folder)


def html(shell: InteractiveShell, shown: object) -> str:
    """What a cell that ends with this shows."""
    data, _ = shell.display_formatter.format(shown)
    return str(data["text/html"])


def images(text: str) -> int:
    return len(re.findall(r'<img src="data:image/webp;base64,[A-Za-z0-9+/=]+"', text))


@pytest.mark.parametrize("table", ["windows", "previews", "captions", "enhanced"])
def test_a_table_shows_previews_beside_its_rows(shell: InteractiveShell, run: colcap.Run, table: str) -> None:
    frame = getattr(run, table)

    result = html(shell, frame)

    rows = frame.head(20).collect()
    assert result.count("<tr>") == rows.height + 1
    assert images(result) == rows.filter(~pl.col("window_id").str.ends_with("harbour:00001")).height
    assert all(f">{name}</th>" in result for name in rows.columns)


def test_a_frame_collected_or_asked_for_shows_previews(shell: InteractiveShell, run: colcap.Run) -> None:
    street = pl.col("window_id").str.starts_with("clip-street")

    for frame in (run.captions.filter(street).collect(), run.sql("from captions where window_id like 'clip-street%'")):
        result = html(shell, frame)
        assert (result.count("<tr>"), images(result)) == (7, 6)


def test_looking_at_a_lazy_frame_does_not_run_it(shell: InteractiveShell, run: colcap.Run) -> None:
    def fail(_: pl.DataFrame) -> pl.DataFrame:
        raise AssertionError("it ran")

    result = html(shell, run.windows.map_batches(fail))

    assert "window_id" not in result
    assert "<img" not in result


def test_frames_of_no_run_are_polars_own(shell: InteractiveShell, run: colcap.Run) -> None:
    for frame in (pl.DataFrame({"window_id": ["other:00000"]}), pl.DataFrame({"x": [1]})):
        assert html(shell, frame) == frame._repr_html_()


def test_the_run_shows_how_far_it_is(shell: InteractiveShell, run: colcap.Run) -> None:
    result = html(shell, run)

    assert ">captions</td>" in result
    assert ">terse</td>" in result


def test_everything_is_escaped(run: colcap.Run) -> None:
    odd = pl.DataFrame({"window_id": [gallery_runs.SCRIPT], "<b>": ["</td><script>alert(1)</script>\x1b[31m"]})

    result = view(run.path, odd)._repr_html_() + run.show()._repr_html_()

    assert "<script" not in result
    assert "<b>" not in result
    assert "onerror=" not in result.replace("onerror=&#34;", "")
    assert "\x1b" not in result


def test_blobs_are_named_by_size(run: colcap.Run) -> None:
    shown = run.show(run.table("previews_webp"), limit=2)

    assert [text.split()[1] for text in shown.rows["webp"]] == ["bytes", "bytes"]
    assert "RIFF" not in repr(shown)


@pytest.mark.parametrize(("limit", "expected"), [(0, "0 of 14 rows"), (3, "3 of 14 rows"), (99, "14 rows")])
def test_rows_are_bounded(run: colcap.Run, limit: int, expected: str) -> None:
    result = run.show("from captions", limit=limit)

    assert result.rows.height == min(limit, 14)
    assert f"<p>{expected}" in result._repr_html_()


def test_a_negative_limit_is_refused(run: colcap.Run) -> None:
    with pytest.raises(ValueError, match="got -1"):
        run.show("from captions", limit=-1)


def test_previews_that_are_missing_are_said_to_be(tmp_path: Path) -> None:
    tables = {name: rows for name, rows in qa_runs.full().items() if not name.startswith("previews_webp")}
    run = colcap.Run(qa_runs.write(tmp_path / "run", tables))

    result = run.show()._repr_html_()

    assert "without previews:" in result
    assert "A red circle moves, number a:00000." in result


def test_many_previews_are_bounded_by_bytes(tmp_path: Path) -> None:
    run = colcap.Run(gallery_runs.large(tmp_path / "run", windows=20, size=900_000))

    result = run.show()._repr_html_()

    assert images(result) == 9
    assert "11 previews left out, 8 MiB are shown at most" in result


def test_a_long_text_is_cut(run: colcap.Run) -> None:
    result = view(run.path, pl.DataFrame({"window_id": ["x"], "text": ["many " * 1000]}))._repr_html_()

    assert result.count("many") == 200
