"""What a run is said to hold is what its rows say."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import qa_runs

from colcap.qa.connect import connect
from colcap.qa.tally import tally

VIEWS = {"captions": "captions_latest", "enhanced": "enhanced_latest"}


def counted(run: Path, table: str) -> dict[str, int]:
    """The same by SQL, from all rows."""
    with connect(run) as connection:
        name = "status || coalesce(':' || error_kind, '')"
        rows = connection.execute(f"select {name}, count(*) from {VIEWS.get(table, table)} group by 1").fetchall()
    return dict(rows)


def test_rows_are_counted_as_sql_counts_them(any_run: Path) -> None:
    assert {one.table: dict(one.counts) for one in tally(any_run)} == {
        table: counted(any_run, table) for table in ("clips", "windows", "previews", "captions", "enhanced")
    }


@pytest.mark.parametrize(("first", "second"), [("ok", "ok"), ("ok", "error"), ("error", "ok"), ("error", "error")])
def test_of_several_attempts_the_newest_ok_one_counts(run: Path, first: str, second: str) -> None:
    for attempt, status in ((1, first), (2, second)):
        file = run / qa_runs.path("captions", 0, attempt=attempt)
        names = ["a:00000", "a:00001", "b:00000"] if attempt == 1 else ["b:00000"]
        rows = qa_runs.captions([(name, "A red star.") for name in names], attempt=attempt)
        failed = (pl.col("window_id") == "b:00000") & (status == "error")
        rows = rows.with_columns(
            pl.when(failed).then(pl.lit("error")).otherwise("status").alias("status"),
            pl.when(failed).then(pl.lit("timeout")).alias("error_kind"),
            pl.when(failed).then(pl.lit(f"attempt {attempt}")).alias("error"),
        )
        qa_runs.write_part(file, rows, scope="part" if attempt == 1 else "selection")

    (result,) = [one for one in tally(run) if one.table == "captions"]

    assert dict(result.counts) == counted(run, "captions")
    expected = {"error:timeout": ("b:00000", "attempt 2")} if {first, second} == {"error"} else {}
    assert result.examples == expected
