"""colcap: video clips to captions you can query.

>>> import colcap
>>> clips = colcap.manifest("clips/")  # doctest: +SKIP
>>> colcap.windows(clips).collect()  # doctest: +SKIP
"""

from colcap.api import Run, captions, connect, enhance, manifest, open, previews, run, windows
from colcap.config import Config
from colcap.errors import ColcapError

__all__ = [
    "ColcapError",
    "Config",
    "Run",
    "captions",
    "connect",
    "enhance",
    "manifest",
    "open",
    "previews",
    "run",
    "windows",
]
