"""Frames and summaries for people: tables on a terminal, CSV, JSON or Parquet for programs."""

from __future__ import annotations

import sys
from typing import Final, Literal

import polars as pl
from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from colcap.errors import printable
from colcap.export.jsonl import line
from colcap.qa.tally import Tally, tally
from colcap.run_folder import Run
from colcap.runners.plan import progress_of
from colcap.store import given

READABLE_CHARS: Final = 16
"""A column that has more to say gets at least so many characters, or the table is not drawn."""

COLUMN_GAP: Final = 3
"""Characters between two columns."""

SMALL: Final = 0.01
"""Numbers nearer to zero are shown with three digits that count: three decimals would hide them."""


def print_frame(frame: pl.DataFrame, form: str, console: Console) -> None:
    """Print rows as table, csv, json (one object a line) or parquet (bytes to standard output)."""
    match form:
        case "csv":
            sys.stdout.write(_flat(frame).write_csv())
        case "json":
            sys.stdout.writelines(line(row) + "\n" for row in frame.iter_rows(named=True))
        case "parquet":
            frame.write_parquet(sys.stdout.buffer)
        case _:
            console.print(table(frame, width=console.width))


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Bytes as base64, lists and structs as JSON: a cell of CSV is a text."""
    of_bytes = pl.col(pl.Binary).bin.encode("base64")
    nested = [
        pl.Series(name, [None if value is None else line(value) for value in frame[name].to_list()], pl.String)
        for name, kind in frame.schema.items()
        if kind.is_nested()
    ]
    return frame.with_columns(of_bytes).with_columns(nested)


def table(frame: pl.DataFrame, *, width: int) -> Table | Group:
    """A frame for a terminal of so many columns; text from strangers is shown, never interpreted.

    Where the columns side by side would be too narrow to read, each row is a block of its own, a line a column.
    """
    names = [printable(name) for name in frame.columns]
    rows = [[_cell(value) for value in row] for row in frame.iter_rows()]
    longest = [_widest(cells) for cells in zip(*rows, strict=True)] or [0] * len(names)
    needed = [max(cell_len(name), min(most, READABLE_CHARS)) for name, most in zip(names, longest, strict=True)]
    if sum(needed) + COLUMN_GAP * (len(needed) - 1) > width:
        return Group(*(_block(names, row) for row in rows))
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name, kind, least, most in zip(names, frame.dtypes, needed, longest, strict=True):
        justify: Literal["left", "right"] = "right" if kind.is_numeric() else "left"
        shown.add_column(Text(name), justify=justify, overflow="fold", no_wrap=most <= least)
    for row in rows:
        shown.add_row(*map(Text, row))
    return shown


def _widest(cells: tuple[str, ...]) -> int:
    return max(cell_len(line) for cell in cells for line in cell.split("\n"))


def _block(names: list[str], row: list[str]) -> Table:
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="bold", no_wrap=True)
    shown.add_column(overflow="fold")
    for name, cell in zip(names, row, strict=True):
        shown.add_row(Text(name), Text(cell))
    shown.add_row()
    return shown


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()  # as SQL and JSON write it
        case bytes():
            return f"<{len(value):,} bytes>"
        case float() if 0 < abs(value) < SMALL:
            return f"{value:.3g}"
        case float():
            return f"{value:.3f}".rstrip("0").rstrip(".")
    return printable(str(value))


def summary_lines(run: Run) -> tuple[list[str], int]:
    """What a run holds, in lines for a person, and how many of its rows ended in an error."""
    folder = run.path
    parts_done, parts = progress_of(folder)
    lines, notes, failed = [f"{given(folder)}: {parts_done} of {parts} parts"], [], 0
    for said in tally(folder):
        if said.rows or said.damaged:
            by_status = [(f"{said.of(status)} {status}") for status in ("ok", "skipped", "error") if said.of(status)]
            lines.append(f"  {said.table:<9} {said.rows:>8}   {', '.join(by_status)}")
            notes += _notes(said)
            failed += said.of("error")
    return lines + notes, failed


def _notes(said: Tally) -> list[str]:
    """A line for each kind of failure, the most frequent first."""
    lines = []
    for name, rows in sorted(said.counts.items(), key=lambda item: (-item[1], item[0])):
        if name in said.examples:
            row_id, error = said.examples[name]
            first_line = printable(error).partition("\n")[0][:160]
            kind = printable(name.partition(":")[2] or name)
            table = said.table.removesuffix("s") if rows == 1 else said.table
            lines.append(f"  {rows} {table} {kind}, e.g. {printable(row_id)}: {first_line}")
    if said.damaged:
        more = "" if len(said.damaged) == 1 else f" and {len(said.damaged) - 1} more files"
        lines.append(f"  {said.damaged[0]}{more}: damaged, not counted; the same `colcap run` makes it again")
    return lines
