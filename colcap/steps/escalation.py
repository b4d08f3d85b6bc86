"""When a caption is asked for again: cut off, or caught in a loop, and how it is then sampled."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from colcap.engines.base import Generation, Sampling

UNSPACED: Final = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""The signs of Chinese and Japanese, which put no spaces between words."""
WORDS: Final = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
SIGNS: Final = re.compile(r"\S")
GROUP: Final = 3
"""Words in a group."""
REPEATED_SHARE: Final = 0.3
"""Share of groups that occurred before from which on a caption is a loop; `sql/repetition.sql` draws the same line."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of an escalation: which answers are asked for again, and how."""

    on: frozenset[str]
    """`length`: the answer was cut off. `repetition`: it goes round in circles, or the engine stopped it for that."""
    sampling: Sampling
    """How the next answer is generated."""

    def catches(self, answer: Generation) -> bool:
        """Whether this answer is asked for again."""
        if "length" in self.on and answer.finish_reason == "length":
            return True
        if "repetition" not in self.on:
            return False
        looped = answer.text is not None and repeated_share(answer.text) >= REPEATED_SHARE
        return looped or answer.finish_reason == "repetition"


def repeated_share(text: str) -> float:
    """Share of a text's word groups that occurred before in it, 0 to 1; of a text without words, of its signs.

    >>> repeated_share("a red car turns left")
    0.0
    >>> repeated_share("the car the car the car the car")
    0.6666666666666667
    >>> repeated_share("!!!!!!!!")
    0.8333333333333334
    """
    words = WORDS.findall(text.lower()) or SIGNS.findall(text)
    groups = [tuple(words[i : i + GROUP]) for i in range(len(words) - GROUP + 1)]
    return 1 - len(set(groups)) / len(groups) if groups else 0.0
