"""The built-in prompts, each a text file beside this one."""

from __future__ import annotations

from importlib import resources
from textwrap import dedent
from typing import Final, Literal

from colcap.errors import ConfigError

PREFIX: Final = {"caption": "", "stage2": "stage2-", "enhance": "enhance-"}


def load(variant: str, kind: Literal["caption", "stage2", "enhance"] = "caption") -> str:
    """Return a built-in prompt.

    Raises
    ------
    ConfigError : there is none of that name; the message lists those there are.

    Examples
    --------
    >>> load("av").startswith("A camera on a moving car")
    True
    """
    known = variants(kind)
    if variant not in known:
        raise ConfigError(f"prompt_variant: got {variant!r}; built in for {kind}: {', '.join(known)}")
    file = resources.files(__package__) / f"{PREFIX[kind]}{variant}.txt"
    return file.read_text(encoding="utf-8").removesuffix("\n")


def unindented(text: str) -> str:
    """A prompt without the indentation that all its lines have from the file they were written in, and no empty ends.

    >>> unindented("\\n    Say in two parts:\\n      - what moves\\n    ")
    'Say in two parts:\\n  - what moves'
    """
    return dedent(text).strip("\n")


def variants(kind: Literal["caption", "stage2", "enhance"] = "caption") -> list[str]:
    """The names of the built-in prompts of a kind.

    >>> variants("caption")
    ['av', 'av-surveillance', 'default']
    """
    files = [file.name for file in resources.files(__package__).iterdir()]
    names = [name.removesuffix(".txt") for name in files if name.endswith(".txt")]
    others = tuple(prefix for other, prefix in PREFIX.items() if other != kind and prefix)
    mine = [n for n in names if n.startswith(PREFIX[kind]) and not (kind == "caption" and n.startswith(others))]
    return sorted(name.removeprefix(PREFIX[kind]) for name in mine)
