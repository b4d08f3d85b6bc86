"""Frames and summaries for people: tables on a terminal, CSV, JSON or Parquet for programs."""

from __future__ import annotations

import sys

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from colcap.api import Run
from colcap.errors import printable
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
    lines = [f"{run.path}: {parts_done} of {parts} parts"]
    failed = 0
    counts = run.sql(_COUNTS)
    for name, rows, ok, skipped, errors in counts.iter_rows():
        if rows:
            notes = [f"{ok} ok", *([f"{skipped} skipped"] if skipped else []), *([f"{errors} error"] if errors else [])]
            lines.append(f"  {name:<9} {rows:>8}   {', '.join(notes)}")
            failed += errors
    told = run.sql("@errors").select("table_name", "error_kind", "rows", "example_id", "example")
    for name, kind, rows, example_id, example in told.iter_rows():
        first_line = printable(example).partition("\n")[0][:160]
        lines.append(f"  {rows} {name} {kind}, e.g. {printable(example_id)}: {first_line}")
    return lines, failed


_COUNTS = " union all ".join(
    f"""select '{name}' as name, count(*) as rows, count(*) filter (status = 'ok') as ok,
    count(*) filter (status = 'skipped') as skipped, count(*) filter (status = 'error') as errors from {view}"""
    for name, view in [
        ("clips", "clips"),
        ("windows", "windows"),
        ("previews", "previews"),
        ("captions", "captions_latest"),
        ("enhanced", "enhanced_latest"),
    ]
)
