"""A run as a page to look at: previews beside captions, in one HTML file that needs no network.

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

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from colcap.errors import printable
from colcap.qa.gallery.previews import sources
from colcap.qa.gallery.rows import Card, Choice, choose
from colcap.store import disk_error, write_atomically

__all__ = ["Page", "gallery"]


@dataclass(frozen=True, slots=True)
class Page:
    """What was written."""

    path: Path
    """The page."""
    folder: Path | None
    """Where its previews are; None where they are inside it."""
    shown: int
    """Windows (and clips without any) on it."""
    total: int
    """Those that match, shown or not."""


def gallery(run: Path, output: Path, *, where: str | None = None, limit: int = 2000) -> Page:
    """Write a page of windows: preview, captions, tokens, finish reason, errors.

    Parameters
    ----------
    run : the run folder.
    output : the HTML file. Previews of more than 8 MiB in all go to a folder beside it, `NAME_files`.
    where : an SQL condition that chooses windows, over the columns of `rows.EVERYTHING`.
    limit : windows at most.

    Raises
    ------
    QueryError : the condition is wrong, or would do more than read.
    RunError : `run` is not a run folder, or its previews cannot be read.
    ColcapError : the page cannot be written.
    """
    choice = choose(run, where=where, limit=limit)
    folder = output.with_name(f"{output.stem}_files")
    images = sources(run, choice.cards, folder)
    html = render(choice, images, title=run.resolve().name, where=where)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, html.encode("utf-8", "replace"))
    except OSError as error:
        raise disk_error(output, error) from None
    outside = any(not image.startswith("data:") for image in images.values())
    return Page(output, folder if outside else None, len(choice.cards), choice.total)


def render(choice: Choice, images: dict[str, str], *, title: str, where: str | None) -> str:
    """The page as HTML."""
    script, style = _asset("gallery.js"), _asset("gallery.css")
    return (
        _environment()
        .get_template("gallery.html.jinja")
        .render(
            cards=choice.cards,
            total=choice.total,
            images=images,
            title=printable(title),
            where=where,
            facets=_facets(choice.cards),
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
