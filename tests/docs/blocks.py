"""The code blocks and commands of Markdown pages.

A fence tagged sh, console, python, sql or toml is run. `<!-- needs: X -->` on the line before it says that it cannot,
for want of X (see NEEDS): its commands are only parsed, as are those in `inline code`. A fence without a tag has none.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parent.parent.parent
PAGES: Final = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
NEEDS: Final = ("gpu", "server", "cloud", "ray", "setup")

_FENCE: Final = re.compile(r"(?:<!-- needs: (\w+) -->\n+)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE: Final = re.compile(r"`(colcap [^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """One fence of a page."""

    page: Path
    """Where it is."""
    line: int
    """Its first line there."""
    language: str
    """Its tag; empty for none."""
    text: str
    """What it holds."""
    needs: str | None
    """What it would need to be run, of NEEDS."""

    def __str__(self) -> str:
        return f"{self.page.relative_to(CHECKOUT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its command lines, without the prompt and with continued lines joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        return prompted or [line for line in lines if line.strip() and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """Every fence of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text.count("\n", 0, found.start(3)) + 1, found[2], found[3], found[1])
        for found in _FENCE.finditer(text)
    ]


def inline_commands(page: Path) -> list[str]:
    """Commands in the running text that name things a parser can check: without `…`, `[` and `|`."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return [found for found in _INLINE.findall(text) if not re.search(r"[…\[|]|\.\.\.", found)]


def words(command: str) -> Iterator[str]:
    """A command line's words, without comments, pipes and redirections.

    >>> list(words('colcap sql out "select 1" > rows.csv  # all'))
    ['colcap', 'sql', 'out', 'select 1']
    """
    for word in shlex.split(command, comments=True):
        if word in ("|", ">", "&&"):
            return
        yield word
