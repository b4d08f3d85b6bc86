"""colcap: video clips to captions you can query.

>>> import colcap
>>> clips = colcap.manifest("clips/")  # doctest: +SKIP
>>> colcap.windows(clips).collect()  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from colcap.errors import ColcapError

if TYPE_CHECKING:
    from colcap.api import caption, connect, enhance, explain, manifest, preview, run
    from colcap.config import Config
    from colcap.lazy import captions, previews, windows
    from colcap.run_folder import Run, open

__all__ = [
    "ColcapError",
    "Config",
    "Run",
    "caption",
    "captions",
    "connect",
    "enhance",
    "explain",
    "manifest",
    "open",
    "preview",
    "previews",
    "run",
    "windows",
]


_HOME = {
    "Config": "colcap.config",
    "Run": "colcap.run_folder",
    "open": "colcap.run_folder",
    "captions": "colcap.lazy",
    "previews": "colcap.lazy",
    "windows": "colcap.lazy",
}


def __getattr__(name: str) -> Any:
    """Import the public verbs when they are first used: media workers import this package and need none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "colcap.api")), name)


def __dir__() -> list[str]:
    return __all__
