"""What people read on a terminal: columns side by side where they can be read, else a line a column."""

from __future__ import annotations

import io

import polars as pl
import pytest
from rich.console import Console

from colcap.printing import print_frame, table

ROW = {"window_id": "street-1:00000", "caption": "A red circle moves left across a black background.", "ok": True}


def shown(frame: pl.DataFrame, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(table(frame, width=width))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_columns_are_side_by_side_where_there_is_room() -> None:
    result = shown(pl.DataFrame([ROW]), 80)

    assert [result[0].split(), result[2].split()[0], result[2].split()[-1]] == [[*ROW], "street-1:00000", "true"]
    assert len(result) == 3


def test_a_long_text_is_folded_and_an_id_is_not() -> None:
    result = shown(pl.DataFrame([ROW]), 50)

    assert [line.split()[0] for line in result[2:]] == ["street-1:00000", "across"]
    assert max(map(len, result)) <= 50


@pytest.mark.parametrize("width", [80, 120])
def test_too_many_columns_are_a_line_each(width: int) -> None:
    result = shown(pl.DataFrame([ROW | {f"column_{n}": "a text of some length" for n in range(20)}] * 2), width)

    assert [line.split()[0] for line in result[:3]] == [*ROW]
    assert result[1].endswith(ROW["caption"])
    assert result.count("") == 2  # behind each row
    assert max(map(len, result)) <= width


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.00001, "1e-05"), (0.25, "0.25"), (8.53333, "8.533"), (2.0, "2"), (False, "false"), (b"1234", "<4 bytes>")],
)
def test_values_are_short_and_true(value: object, expected: str) -> None:
    assert shown(pl.DataFrame({"x": [value]}), 80)[2].strip() == expected


def test_a_text_cannot_drive_the_terminal() -> None:
    result = shown(pl.DataFrame({"x": ["[red]a\x1b[2Jb"]}), 80)

    assert result[2] == "[red]a [2Jb"


def test_no_rows_leave_the_names_of_the_columns() -> None:
    assert shown(pl.DataFrame(schema={"a": pl.Int64, "b": pl.String}), 80)[0].split() == ["a", "b"]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("csv", 'id,data,ids,facts\na,/wA=,"[""x"", ""y""]","{""n"": 1}"\nb,,,\n'),
        (
            "json",
            '{"id": "a", "data": "/wA=", "ids": ["x", "y"], "facts": {"n": 1}}\n'
            '{"id": "b", "data": null, "ids": null, "facts": null}\n',
        ),
    ],
)
def test_bytes_and_lists_are_printed_too(capsys: pytest.CaptureFixture[str], form: str, expected: str) -> None:
    kinds = {"id": pl.String, "data": pl.Binary, "ids": pl.List(pl.String), "facts": pl.Struct({"n": pl.Int64})}
    rows = [("a", b"\xff\x00", ["x", "y"], {"n": 1}), ("b", None, None, None)]

    print_frame(pl.DataFrame(rows, schema=kinds, orient="row"), form, Console())

    assert capsys.readouterr().out == expected
