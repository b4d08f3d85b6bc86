"""Verbs that ask a run: status, checks, SQL, search, a page to look at."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import polars as pl
from rich.markup import escape

from colcap.cli.shared import EXISTING_RUN, FORMAT, PLACE, err, out, print_summary
from colcap.errors import printable
from colcap.objects.url import Url


@click.command()
@EXISTING_RUN
def status(run: Path | Url) -> None:
    """Show how far a run is, and its errors by kind."""
    from colcap import api

    print_summary(api.open(run))


@click.command()
@EXISTING_RUN
@click.option("--verify", is_flag=True, help="Also compare the hash of every blob.")
def check(run: Path | Url, verify: bool) -> None:
    """Check every promise about the tables of RUN.

    It lists those that do not hold, and exits with 1 then. What captions say is for `colcap qa`.
    """
    from colcap.qa.check import check as find_problems
    from colcap.runners.runfile import read_run_file
    from colcap.store import readable

    folder = readable(run, trust=not verify)
    read_run_file(folder)
    problems = find_problems(folder, verify=verify)
    for problem in problems:
        out.print(escape(printable(str(problem))))
    if problems:
        out.print(
            f"{len(problems)} problems; `colcap run --verify` with the same command as before rebuilds damaged parts"
        )
        sys.exit(1)
    out.print(f"{escape(str(run))}: every check passed")


@click.command()
@EXISTING_RUN
@click.argument("query")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="A named query's parameter.")
@FORMAT
@click.option("--blobs", is_flag=True, help="Also show the tables windows_mp4 and previews_webp.")
def sql(run: Path | Url, query: str, params: tuple[str, ...], form: str, blobs: bool) -> None:
    """Ask the tables of RUN by SQL.

    QUERY is one SELECT, or @NAME for a query that comes with colcap (@ lists them).

    \b
      colcap sql out "select window_id, caption from captions_latest limit 5"
      colcap sql out @truncated --param min_tokens=100
    """
    from colcap import api
    from colcap.printing import print_frame

    pairs = dict(_pair(param) for param in params)
    print_frame(api.open(run).sql(query, params=pairs, blobs=blobs), form, out)


@click.command()
@EXISTING_RUN
@click.argument("words", nargs=-1, required=True)
@click.option("--limit", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="Rows at most.")
@FORMAT
def search(run: Path | Url, words: tuple[str, ...], limit: int, form: str) -> None:
    """Find captions of RUN that have all the WORDS, the best first.

    A word may also be in the enhancement of a caption. Endings make no difference: `move` finds `moves`.

    \b
      colcap search out red circle
      colcap search out '"moves left" circle'     a phrase and a word

    The index is kept in RUN/.search and brought up to date first.
    """
    from colcap import api
    from colcap.printing import print_frame
    from colcap.qa.search import search as find_captions

    found = find_captions(api.open(run).path, " ".join(words), limit=limit)
    empty = form == "table" and found.rows["enhanced_caption"].is_null().all()
    print_frame(found.rows.drop("enhanced_caption") if empty else found.rows, form, out)
    err.print(f"{found.rows.height:,} of {found.hits:,} captions that match")


@click.command()
@EXISTING_RUN
@click.option("--where", metavar="SQL", help="Only windows for which this condition holds.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=2000, show_default=True, help="Windows at most."
)
@click.option("-o", "--output", type=PLACE, required=True, help="The HTML file to write.")
def gallery(run: Path | Url, where: str | None, limit: int, output: Path | Url) -> None:
    """Write a page of RUN to look at: previews beside captions.

    It has search, filters and caption sets side by side, opens from disk and needs no network. Previews of more than
    8 MiB go to a folder beside it.

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
    from colcap.store import outgoing

    with outgoing(output) as path:
        page = write_page(api.open(run).path, path, where=where, limit=limit)
    beside = f", its previews in {page.folder.name} beside it" if page.folder else ""
    left = f" of {page.total} that match" if page.total != page.shown else ""
    out.print(escape(f"{page.shown}{left}, in {output}{beside}"))


@click.command()
@EXISTING_RUN
@click.option("--strict", is_flag=True, help="Exit with 1 where a check found more than its threshold.")
@click.option("--threshold", "pairs", multiple=True, metavar="CHECK=N", help="How much a check may find.")
@FORMAT
def qa(run: Path | Url, strict: bool, pairs: tuple[str, ...], form: str) -> None:
    """Check the captions of RUN: cut off, repeating, duplicates, …

    One row a check. Each has the query behind it, which shows what was found.
    """
    from colcap import api
    from colcap.printing import print_frame

    found = api.open(run).qa(thresholds=dict(_count(pair) for pair in pairs))
    print_frame(_in_words(found) if form == "table" else found, form, out)
    for name, why in found.filter(found["found"].is_null()).select("check", "looks_for").iter_rows():
        err.print(escape(printable(f"{name}: {why}")))
    if strict and not found["passed"].all():
        sys.exit(1)


def _in_words(found: pl.DataFrame) -> pl.DataFrame:
    """The checks for a person: what came of them in words, what they look for in their queries' list."""
    passed = pl.when("passed").then(pl.lit("ok")).otherwise(pl.lit("too many"))
    result = pl.when(pl.col("found").is_null()).then(pl.lit("not run")).otherwise(passed).alias("result")
    return found.select("check", "found", "unit", "threshold", result, "query")


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


@click.command()
@EXISTING_RUN
@click.argument("folder", type=PLACE)
@click.option(
    "--format",
    "form",
    type=click.Choice(["curator", "webdataset", "jsonl", "parquet"]),
    required=True,
    help="What to write.",
)
@click.option("--where", metavar="SQL", help="Only rows for which this condition holds.")
@click.option("--set", "caption_set", help="Whose captions; jsonl and parquet take all sets without it.")
@click.option(
    "--media",
    type=click.Choice(["none", "mp4", "webp", "both"]),
    help="Bytes of windows that go along, in webdataset (default: mp4) and parquet (default: none).",
)
@click.option("--clips", is_flag=True, help="Copy the clips too, in curator.")
@click.option("--root", type=PLACE, help="Copy no clip from outside this folder.")
def export(
    run: Path | Url,
    folder: Path | Url,
    form: str,
    where: str | None,
    caption_set: str | None,
    media: str | None,
    clips: bool,
    root: Path | Url | None,
) -> None:
    """Write the rows of RUN in another format into FOLDER.

    An export that was stopped goes on when the same command is given again; after a run has grown or changed, only
    the parts that changed are written anew. The same rows give the same bytes.

    \b
      colcap export out tree --format curator --clips
      colcap export out shards --format webdataset --where "finish_reason = 'stop'"
      colcap export out table --format parquet --media mp4

    \b
    Columns for --where: as for `colcap gallery`.
    """
    from colcap import api
    from colcap.cli.shared import ctrl_c, telling
    from colcap.export import export as write
    from colcap.store import outgoing

    options = {"where": where, "caption_set": caption_set, "media": media}
    with ctrl_c(), telling() as tell, outgoing(folder, fresh=True) as path:
        done = write(api.open(run).path, path, form=form, clips=clips, root=root, tell=tell, **options)
    out.print(escape(printable(str(replace(done, path=folder)))))


VERBS: Final = (status, check, sql, search, gallery, qa, export)
