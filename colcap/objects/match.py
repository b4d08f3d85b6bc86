"""Objects that a URL means: one, those that a pattern finds, or those under a prefix."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import takewhile

from colcap.objects.client import Meta, head, list_under
from colcap.objects.connection import require_library
from colcap.objects.url import Url


def matching(text: str, suffixes: Collection[str]) -> Iterator[Meta]:
    """The objects that a URL means.

    Parameters
    ----------
    text : an object; a pattern, with `*` and `[a-c]` within a name and `**` for any folders; or a prefix.
    suffixes : of the objects under a prefix that are meant, in lower case with their dot.

    Raises
    ------
    OSError : the store cannot be asked.
    ConfigError : see `Url.parse`.
    """
    url = Url.parse(text)
    require_library(url)
    names = url.key.split("/") if url.key else []
    if any(_is_pattern(name) for name in names):
        fixed = "/".join(takewhile(lambda name: not _is_pattern(name), names))
        under = Url(url.scheme, url.bucket, fixed)
        yield from (meta for meta in list_under(under) if fits(meta.url.key.split("/"), names))
        return
    named = head(url) if names else None
    found = [named] if named else (m for m in list_under(url) if m.url.suffix.lower() in suffixes)
    yield from found


def fits(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path fits a pattern, name by name.

    >>> fits(["clips", "day", "a.mp4"], ["clips", "**", "*.mp4"]), fits(["clips", "day", "a.mp4"], ["clips", "*.mp4"])
    (True, False)
    """
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(fits(names[skipped:], patterns[1:]) for skipped in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], patterns[0]) and fits(names[1:], patterns[1:])


def _is_pattern(name: str) -> bool:
    return "*" in name or "[" in name
