"""Frames and summaries for people: tables on a terminal, CSV, JSON or Parquet for programs."""

from __future__ import annotations

import sys

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from colcap.errors import printable
from colcap.qa.tally import Tally, tally
from colcap.run_folder import Run
from colcap.runners.plan import progress_of


def print_frame(frame: pl.DataFrame, form: str, console: Console) -> None:
    """Print rows as table, csv, json (one object a line) or parquet (bytes to standard output)."""
    match form:
        case "csv":
            sys.stdout.write(frame.write_csv())
        case "json":
            sys.stdout.write(frame.write_ndjson())
        case "parquet":
            frame.write_parquet(sys.stdout.buffer)
        case _:
            console.print(table(frame))


def table(frame: pl.DataFrame) -> Table:
    """A frame as a terminal table; text from strangers is shown, never interpreted."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for name, kind in frame.schema.items():
        shown.add_column(Text(printable(name)), justify="right" if kind.is_numeric() else "left", overflow="fold")
    for row in frame.iter_rows():
        shown.add_row(*(Text(_cell(value)) for value in row))
    return shown


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    return f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else printable(str(value))


def summary_lines(run: Run) -> tuple[list[str], int]:
    """What a run holds, in lines for a person, and how many of its rows ended in an error."""
    parts_done, parts = progress_of(run.path)
    lines, notes, failed = [f"{run.path}: {parts_done} of {parts} parts"], [], 0
    for said in tally(run.path):
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
