"""The checks in one table: what each found, against its threshold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
import qa_runs
from click.testing import CliRunner

from colcap.cli import cli
from colcap.errors import QueryError
from colcap.qa.named import find, named_queries, parse
from colcap.qa.quality import quality
from colcap.qa.queries import ask
from colcap.run_folder import Run

CHECKS = [name for name, query in named_queries().items() if query.is_check]
CUT_OFF = "The red circle moves and moves until"


@pytest.fixture
def faulty(run: Path) -> Path:
    """Part 0 has three captions of two clips: all the same text, cut off."""
    rows = qa_runs.captions([(name, CUT_OFF) for name in ("a:00000", "a:00001", "b:00000")])
    qa_runs.write_part(run / qa_runs.path("captions", 0), rows.with_columns(finish_reason=pl.lit("length")))
    return run


def test_every_check_has_a_row_on_any_run(any_run: Path) -> None:
    result = quality(any_run)

    assert result["check"].to_list() == CHECKS
    assert result["found"].null_count() == 0
    assert result["passed"].to_list() == (result["found"] <= result["threshold"]).to_list()


def test_what_is_found_is_counted_in_the_unit_of_the_threshold(faulty: Path) -> None:
    result = quality(faulty).filter(~pl.col("passed")).select("check", "found", "unit", "threshold")

    assert result.rows() == [
        ("duplicates", 3, "windows", 0),
        ("failures", 2, "rows", 0),
        ("stuck_neighbours", 2, "windows", 0),
        ("truncated", 3, "rows", 0),
    ]


def test_the_query_behind_a_row_shows_what_was_found(faulty: Path) -> None:
    (command,) = quality(faulty).filter(check="truncated")["query"]

    assert command == f"colcap sql {faulty} @truncated"
    assert ask(faulty, command.split()[-1]).height == 3


def test_a_threshold_is_passed_by_one_more(faulty: Path) -> None:
    given = {"truncated": 2, "duplicates": 3}

    result = quality(faulty, thresholds=given).filter(pl.col("check").is_in(list(given)))

    assert result.select("check", "threshold", "passed").rows() == [("duplicates", 3, True), ("truncated", 2, False)]


@pytest.mark.parametrize(
    ("name", "expected"), [("tokens", "@tokens is a report"), ("truncatd", "did you mean truncated?")]
)
def test_only_a_check_has_a_threshold(run: Path, name: str, expected: str) -> None:
    with pytest.raises(QueryError, match=expected.replace("?", r"\?")):
        quality(run, thresholds={name: 1})


def test_a_check_that_cannot_be_run_has_not_passed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = parse(
        "broken",
        "-- Looks.\n-- kind = check\n-- threshold = 5 : rows\nselect 1 from captions where error('no room') is null",
    )
    monkeypatch.setattr("colcap.qa.quality.named_queries", lambda: {"broken": broken, "lengths": find("lengths")})

    result = quality(run).select("check", "found", "passed", "looks_for")

    assert result["passed"].to_list() == [False, True]
    assert result["found"].to_list() == [None, 0]
    assert "could not be run" in result["looks_for"][0]
    assert "no room" in result["looks_for"][0]


def test_the_method_gives_the_same(faulty: Path) -> None:
    assert Run(faulty).qa(thresholds={"truncated": 9}).equals(quality(faulty, thresholds={"truncated": 9}))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [([], 0), (["--strict"], 1), (["--strict", "--threshold", "failures=2"], 0), (["--threshold", "failures"], 2)],
)
def test_strict_exits_with_1_where_a_threshold_is_passed(run: Path, flags: list[str], expected: int) -> None:
    result = CliRunner().invoke(cli, ["qa", str(run), *flags])

    assert result.exit_code == expected, result.output


def test_the_command_prints_rows_for_programs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli(["qa", str(run), "--format", "json"], standalone_mode=False)

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["check"] for row in rows] == CHECKS


def test_the_command_says_in_words_what_came_of_each_check(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli(["qa", str(faulty)], standalone_mode=False)

    said = capsys.readouterr().out
    assert re.search(r"^truncated +3 +rows +0 +too many ", said, re.MULTILINE)
    assert re.search(r"^lengths +0 +rows +0 +ok ", said, re.MULTILINE)
