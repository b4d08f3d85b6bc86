"""File names from strangers' ids: they stay inside their folder, on every file system, and differ where ids differ."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

MARK: Final = "~"
"""In every name that is not its id, and in no other: nobody can choose an id that becomes another's name."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_. -]{0,78}[A-Za-z0-9_-])?")
_DEVICES: Final = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
_OTHER: Final = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Names:
    """Gives each id its file name."""

    alike: frozenset[str] = frozenset()
    """Ids, in lower case, that differ from another in case alone: many file systems would take them for one."""
    dots: bool = True
    """Whether a name may have a dot in it; WebDataset takes what follows the first one for the extension."""

    def __call__(self, given: str) -> str:
        """The id itself where it is a safe name, else its safe characters and a hash.

        >>> Names()("street 1"), Names()("../x")
        ('street 1', 'x~d6b96a97d147daaa')
        """
        plain = _PLAIN.fullmatch(given) and not _DEVICES.fullmatch(given) and given.lower() not in self.alike
        if plain and (self.dots or "." not in given):
            return given
        digest = hashlib.sha256(given.encode(errors="surrogatepass")).hexdigest()[:16]
        return f"{_OTHER.sub('_', given).strip('_')[:60]}{MARK}{digest}"


def alike(ids: Iterable[str]) -> frozenset[str]:
    """Ids, in lower case, that occur in several ways of writing.

    >>> sorted(alike(["a", "A", "b"]))
    ['a']
    """
    seen: set[str] = set()
    return frozenset(lower for given in ids if (lower := given.lower()) in seen or seen.add(lower))  # type: ignore[func-returns-value]
