"""When a caption is asked for again: cut off, or caught in a loop, and how it is then sampled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from colcap.engines.base import Generation, Sampling

WORDS: Final = re.compile(r"[^\W_]+")
GROUP: Final = 3
"""Words in a group."""
REPEATED_SHARE: Final = 0.3
"""Share of groups that occurred before from which on a caption is a loop; `sql/repetition.sql` draws the same line."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of an escalation: which answers are asked for again, and how."""

    on: frozenset[str]
    """`length`: the answer was cut off. `repetition`: it says the same over and over."""
    sampling: Sampling
    """How the next answer is generated."""

    def catches(self, answer: Generation) -> bool:
        """Whether this answer is asked for again."""
        if "length" in self.on and answer.finish_reason == "length":
            return True
        return "repetition" in self.on and answer.text is not None and repeated_share(answer.text) >= REPEATED_SHARE


def repeated_share(text: str) -> float:
    """Share of a text's word groups that occurred before in it, 0 to 1.

    >>> repeated_share("a red car turns left")
    0.0
    >>> repeated_share("the car the car the car the car")
    0.6666666666666667
    """
    words = WORDS.findall(text.lower())
    groups = [tuple(words[i : i + GROUP]) for i in range(len(words) - GROUP + 1)]
    return 1 - len(set(groups)) / len(groups) if groups else 0.0
