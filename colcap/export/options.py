"""What an export is told besides its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from colcap.export.folder import Folder
from colcap.export.names import Names
from colcap.export.rows import PartRows
from colcap.objects import Url

Media = Literal["none", "mp4", "webp", "both"]
COLUMNS: Final = {"mp4": "windows_mp4", "webp": "previews_webp"}
"""Column of bytes -> the table that has it."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the rows are written."""

    names: Names
    """File names of ids."""
    media: Media = "none"
    """Which bytes of a window go along."""
    captioned: bool = False
    """The run has captions, so that a window without one lacks something."""
    clips: bool = False
    """Copy the clips themselves (curator)."""
    root: Path | Url | None = None
    """Clips outside this folder are not copied."""

    @property
    def columns(self) -> list[str]:
        """Names of the columns of bytes."""
        return [column for column in COLUMNS if self.media in (column, "both")]


Write: TypeAlias = Callable[[PartRows, Folder, Options], Counter[str]]
"""Writes one part and says what it wrote."""
