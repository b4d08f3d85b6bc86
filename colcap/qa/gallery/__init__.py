"""A run as a page to look at: previews beside captions, in HTML that needs no network.

Everything a run says is a stranger's text. The template escapes all of it, and the page's Content-Security-Policy
lets nothing run but our script, known by its hash, and nothing load but its previews.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from colcap.errors import printable
from colcap.qa.gallery.previews import sources
from colcap.qa.gallery.rows import Card, Choice, Count, choose, count
from colcap.store import disk_error, write_atomically

__all__ = ["Count", "Page", "gallery"]

PER_PAGE: Final = 2000
"""Windows of one page: it still opens at once and scrolls smoothly."""


@dataclass(frozen=True, slots=True)
class Page:
    """What was written."""

    path: Path
    """The page; the first where there are several."""
    further: tuple[Path, ...]
    """Pages beside it, in order: `NAME-2.html`, …"""
    folder: Path | None
    """Where their previews are; None where they are inside them."""
    shown: Count
    """What is on all pages."""
    total: Count
    """What matches, shown or not."""


def gallery(run: Path, output: Path, *, where: str | None = None, limit: int = 2000) -> Page:
    """Write a page of windows, or several: preview, captions, tokens, finish reason, errors.

    Parameters
    ----------
    run : the run folder.
    output : the HTML file. Previews of more than 8 MiB in all go to a folder beside it, `NAME_files`.
    where : an SQL condition that chooses windows, over the columns of `rows.EVERYTHING`.
    limit : windows (and clips without any) at most; more than PER_PAGE of them are spread over several pages, which
        link to each other.

    Raises
    ------
    QueryError : the condition is wrong, or would do more than read.
    RunError : `run` is not a run folder, or its previews cannot be read.
    ColcapError : the page cannot be written.
    """
    choice = choose(run, where=where, limit=limit)
    folder = output.with_name(f"{output.stem}_files")
    images = sources(run, choice.cards, folder)
    pages = [choice.cards[at : at + PER_PAGE] for at in range(0, len(choice.cards), PER_PAGE)] or [()]
    paths = [output, *(output.with_name(f"{output.stem}-{n + 1}{output.suffix}") for n in range(1, len(pages)))]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        for number, (path, cards) in enumerate(zip(paths, pages, strict=True)):
            html = render(choice, cards, images, title=run.resolve().name, where=where, paths=paths, number=number)
            write_atomically(path, html.encode("utf-8", "replace"))
    except OSError as error:
        raise disk_error(output, error) from None
    outside = any(not image.startswith("data:") for image in images.values())
    return Page(output, tuple(paths[1:]), folder if outside else None, choice.shown, choice.total)


def render(
    choice: Choice,
    cards: tuple[Card, ...],
    images: dict[str, str],
    *,
    title: str,
    where: str | None,
    paths: list[Path],
    number: int,
) -> str:
    """One page as HTML: some cards of the choice, and links to the other pages, which lie beside it."""
    script, style = _asset("gallery.js"), _asset("gallery.css")
    return (
        _environment()
        .get_template("gallery.html.jinja")
        .render(
            cards=cards,
            count=count(cards),
            shown=choice.shown,
            total=choice.total,
            images=images,
            files=[quote(path.name, safe="") for path in paths],
            number=number,
            title=printable(title),
            where=where,
            facets=_facets(cards),
            policy=_policy(script, style),
            script=Markup(script),
            style=Markup(style),
        )
    )


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("colcap.qa.gallery", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _policy(script: str, style: str) -> str:
    """`file:` and `'self'` are for previews in a folder: opened from disk a page has no origin to be equal to."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data: file: 'self'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _facets(cards: tuple[Card, ...]) -> dict[str, list[tuple[str, int]]]:
    """What there is to filter by: value and number of cards, in alphabetical order."""
    seen: dict[str, Counter[str]] = {
        name: Counter() for name in ("status", "error_kind", "finish_reason", "caption_set")
    }
    for card in cards:
        for name, counts in seen.items():
            counts.update({value for said in card.said if (value := getattr(said, name))})
    return {name: sorted(counts.items()) for name, counts in seen.items()} | {
        "clip_id": sorted(Counter(card.clip_id for card in cards).items())
    }
