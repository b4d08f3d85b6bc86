"""The command line: verbs, flags and printing. Every verb is a function of api.py too."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from colcap.errors import ColcapError, ManifestError, printable
from colcap.flags import SectionedCommand, enhancement_flags, parameter_flags, parameters

EXISTING_RUN = click.argument("run", type=click.Path(path_type=Path))
FORMAT = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="How to print the rows; parquet goes to standard output as bytes.",
)
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, soft_wrap=True, highlight=False)


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="colcap")
def cli() -> None:
    """Video clips to captions you can query: windows, previews and captions as Parquet tables.

    Start with `colcap demo`. On your own clips:

    \b
      colcap manifest clips/ -o clips.parquet
      colcap run clips.parquet out --captioning-algorithm qwen
      colcap sql out @captions
    """


def main() -> None:
    """Entry point: a known failure is printed in one message and gives its exit code."""
    try:
        cli(standalone_mode=True)
    except ColcapError as error:
        err.print(f"[bold red]colcap:[/] {escape(printable(str(error)))}")
        sys.exit(error.exit_code)


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo"))
def demo(folder: Path) -> None:
    """Make clips, caption them with the embedded model, and show the result by SQL. FOLDER is `demo` by default."""
    from colcap.demo import run_demo

    with _ctrl_c():
        run_demo(folder, out)


@cli.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The Parquet file to write.")
def manifest(sources: tuple[str, ...], output: Path) -> None:
    """List clips in a Parquet manifest: files as named, folders searched for video, globs expanded.

    The manifest has `clip_id` (the file's name) and `uri` (its absolute path). Add columns of your own with any tool:
    they are carried along to the clips table, and `prompt_text` is the row's own prompt.
    """
    from colcap.manifests import from_sources

    clips = from_sources(sources)
    try:
        clips.write_parquet(output, mkdir=True)
    except OSError as error:
        raise ManifestError(f"{output}: cannot write: {error}") from None
    out.print(f"{clips.height} clips in {escape(str(output))}")


@cli.command(cls=SectionedCommand)
@click.argument("manifest", type=click.Path(path_type=Path))
@EXISTING_RUN
@click.option("--config", type=click.Path(path_type=Path), help="TOML with the same parameters; flags win over it.")
@click.option("--limit", type=click.IntRange(min=1), help="Take only the first N clips of the manifest.")
@click.option("--root", type=click.Path(path_type=Path), help="Refuse clips outside this folder.")
@click.option("--fail-on-error", is_flag=True, help="Exit with 1 where a row ended in an error.")
@click.option("--verbose", is_flag=True, help="Let the engine and the workers talk.")
@parameter_flags
def run(
    manifest: Path,
    run: Path,
    config: Path | None,
    limit: int | None,
    root: Path | None,
    fail_on_error: bool,
    verbose: bool,
    **flags: Any,
) -> None:
    """Make windows, previews and captions of every clip of MANIFEST, as tables in the folder RUN.

    A run that was stopped goes on when the same command is given again. A clip that fails is a row that says why.

    \b
    Exit codes: 0 done, 1 stopped (or a row failed, with --fail-on-error), 2 refused, 130 Ctrl-C.
    """
    from colcap import api

    given = parameters(flags)
    if verbose:
        given.setdefault("captioning", {})["verbose"] = True
    with _ctrl_c():
        outcome = api.run(manifest, run, config=config, limit=limit, root=root, console=err, **given)
    failed = print_summary(outcome)
    if failed and fail_on_error:
        sys.exit(1)


@cli.command(cls=SectionedCommand)
@EXISTING_RUN
@click.option("--set", "caption_set", default="default", show_default=True, help="Whose captions.")
@enhancement_flags
def enhance(run: Path, caption_set: str, **flags: Any) -> None:
    """Let a text model rewrite the captions of RUN. They are kept beside the captions, in the table `enhanced`.

    What is enhanced already is left alone, unless its caption, the model or the instruction has changed.
    """
    from colcap import api

    given = parameters(flags).get("enhancement", {})
    with _ctrl_c():
        print_summary(api.enhance(run, console=err, caption_set=caption_set, **given))


@cli.command()
@EXISTING_RUN
def status(run: Path) -> None:
    """Show how far a run is, and its errors by kind."""
    from colcap import api

    print_summary(api.open(run))


@cli.command()
@EXISTING_RUN
@click.option("--verify", is_flag=True, help="Also compare the hash of every blob.")
def check(run: Path, verify: bool) -> None:
    """Check every promise about the tables of RUN; exit 1 and a list where one does not hold."""
    from colcap.qa.check import check as find_problems
    from colcap.runners.plan import read_run_file

    read_run_file(run)
    problems = find_problems(run, verify=verify)
    for problem in problems:
        out.print(escape(printable(str(problem))))
    if problems:
        out.print(f"{len(problems)} problems; `colcap run` with the same command as before rebuilds damaged parts")
        sys.exit(1)
    out.print(f"{escape(str(run))}: every check passed")


@cli.command()
@EXISTING_RUN
@click.argument("query")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A named query's parameter.")
@FORMAT
@click.option("--blobs", is_flag=True, help="Also show the tables windows_mp4 and previews_webp.")
def sql(run: Path, query: str, params: tuple[str, ...], form: str, blobs: bool) -> None:
    """Ask the tables of RUN. QUERY is one SELECT, or @NAME for a query that comes with colcap (@ lists them).

    \b
      colcap sql out "select window_id, caption from captions_latest limit 5"
      colcap sql out @truncated --param min_tokens=100
    """
    from colcap import api
    from colcap.printing import print_frame

    pairs = dict(_pair(param) for param in params)
    print_frame(api.open(run).sql(query, params=pairs, blobs=blobs), form, out)


@cli.command()
@EXISTING_RUN
@click.argument("words", nargs=-1, required=True)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Rows at most.")
@FORMAT
def search(run: Path, words: tuple[str, ...], limit: int, form: str) -> None:
    """Find captions of RUN that have all the WORDS, in themselves or in their enhancement; the best first.

    \b
      colcap search out red circle
      colcap search out '"moves left" circle'     a phrase and a word

    The index is kept in RUN/.search and brought up to date first.
    """
    from colcap import api
    from colcap.printing import print_frame
    from colcap.qa.search import search as find_captions

    found = find_captions(api.open(run).path, " ".join(words), limit=limit)
    print_frame(found.rows, form, out)
    err.print(f"{found.rows.height:,} of {found.hits:,} captions that match")


@cli.command()
@EXISTING_RUN
@click.option("--where", metavar="SQL", help="Only windows for which this condition holds.")
@click.option("--limit", type=click.IntRange(min=1), default=2000, show_default=True, help="Windows at most.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The HTML file to write.")
def gallery(run: Path, where: str | None, limit: int, output: Path) -> None:
    """Write a page of RUN to look at: previews beside captions, with search, filters and caption sets side by side.

    It opens from disk and needs no network. Previews of more than 8 MiB go to a folder beside it.

    \b
      colcap gallery out -o gallery.html
      colcap gallery out --where "finish_reason = 'length'" -o cut-off.html
      colcap gallery out --where "status = 'error'" -o errors.html

    \b
    Columns for --where: those of captions_latest, window_id, clip_id, uri, start_s, end_s, cut, enhanced_caption,
    warning, preview_status, the manifest's own, and status (the worst of a window's steps).
    """
    from colcap import api
    from colcap.qa.gallery import gallery as write_page

    page = write_page(api.open(run).path, output, where=where, limit=limit)
    beside = f", its previews in {page.folder}" if page.folder else ""
    out.print(escape(f"{page.shown:,} of {page.total:,} windows in {page.path}{beside}"))


@cli.command()
@EXISTING_RUN
@click.option("--strict", is_flag=True, help="Exit with 1 where a check found more than its threshold.")
@click.option("--threshold", "pairs", multiple=True, metavar="CHECK=N", help="How much a check may find.")
@FORMAT
def qa(run: Path, strict: bool, pairs: tuple[str, ...], form: str) -> None:
    """Check the captions of RUN: cut off, repeating, duplicates, failures, … One row a check.

    Each row has the query behind it, which shows what was found.
    """
    from colcap import api
    from colcap.printing import print_frame

    found = api.open(run).qa(thresholds=dict(_count(pair) for pair in pairs))
    print_frame(found.drop("looks_for") if form == "table" else found, form, out)
    for name, why in found.filter(found["found"].is_null()).select("check", "looks_for").iter_rows():
        err.print(escape(printable(f"{name}: {why}")))
    if strict and not found["passed"].all():
        sys.exit(1)


def _count(pair: str) -> tuple[str, int]:
    name, _, value = pair.partition("=")
    if not value.isdecimal():
        raise click.BadParameter(f"{pair!r} is not CHECK=N", param_hint="--threshold")
    return name, int(value)


def _pair(param: str) -> tuple[str, str]:
    name, equals, value = param.partition("=")
    if not equals:
        raise click.BadParameter(f"{param!r} is not NAME=VALUE", param_hint="--param")
    return name, value


def print_summary(run: Any) -> int:
    """Print what a run holds; returns the number of rows that ended in an error."""
    from colcap.printing import summary_lines

    lines, failed = summary_lines(run)
    for line in lines:
        out.print(escape(line))
    return failed


class _ctrl_c:
    """The first Ctrl-C stops a run cleanly, the second at once."""

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGINT, self._first)

    def __exit__(self, *exc: object) -> None:
        if signal.getsignal(signal.SIGINT) == self._first:  # else we are leaving because of it
            signal.signal(signal.SIGINT, self._before)

    def _first(self, number: int, frame: FrameType | None) -> None:
        from colcap.runners.local import Interrupted

        signal.signal(signal.SIGINT, self._second)
        err.print("stopping; Ctrl-C again stops at once")
        raise Interrupted("stopped. Committed parts are kept; the same command goes on from there.")

    def _second(self, number: int, frame: FrameType | None) -> None:
        os._exit(130)


if __name__ == "__main__":
    main()
