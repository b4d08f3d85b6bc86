"""The previews of a page: inside it while they are few, in a folder beside it when they are many."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final
from urllib.parse import quote

from colcap.blobs import Blobs
from colcap.errors import RunError
from colcap.qa.gallery.rows import Card
from colcap.store import disk_error, part_name, table_dir

INLINE_BYTES: Final = 8 << 20
"""More than this lies in a folder: a browser reads all of a page before it shows any of it."""

_OURS: Final = re.compile(r"[0-9a-f]{24}\.webp")


def sources(run: Path, cards: tuple[Card, ...], folder: Path) -> dict[str, str]:
    """Give every window that has a preview something to put into `src`.

    Parameters
    ----------
    run : the run folder.
    cards : the windows of the page.
    folder : where the previews go if they are many; named after the page, which lies beside it.

    Returns
    -------
    window_id -> a data: URI, or a path relative to the page.

    Raises
    ------
    RunError : previews cannot be read.
    ColcapError : the folder cannot be written.
    """
    if sum(card.webp_bytes for card in cards) <= INLINE_BYTES:
        return {name: "data:image/webp;base64," + base64.b64encode(webp).decode() for name, webp in _read(run, cards)}
    try:
        return _write(folder, _read(run, cards))
    except OSError as error:
        raise disk_error(folder, error) from None


def _write(folder: Path, previews: Iterator[tuple[str, bytes]]) -> dict[str, str]:
    """Files are named after their bytes, and leave nothing of an older page behind."""
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = {}
    for window_id, webp in previews:
        name = hashlib.sha256(webp).hexdigest()[:24] + ".webp"
        (folder / name).write_bytes(webp)
        written[window_id] = name
    for old in folder.iterdir():
        if _OURS.fullmatch(old.name) and old.name not in written.values():
            old.unlink()
    return {window_id: f"{quote(folder.name, safe='')}/{name}" for window_id, name in written.items()}


def _read(run: Path, cards: tuple[Card, ...]) -> Iterator[tuple[str, bytes]]:
    yield from read(run, ((card.part, card.window_id) for card in cards if card.webp_bytes))


def read(run: Path, windows: Iterable[tuple[int, str]]) -> Iterator[tuple[str, bytes]]:
    """Read previews by part and window_id: pairs of window_id and WebP, by part; what is no WebP is left out.

    Raises
    ------
    RunError : previews cannot be read.
    """
    for part, same in groupby(sorted(windows), key=lambda pair: pair[0]):
        path = table_dir(run, "previews_webp") / part_name(part)
        if not path.exists():
            raise RunError(f"{path}: previews cannot be read: there is no such file")
        blobs = Blobs(path, "webp")
        read_of = ((window_id, blobs.get(window_id)) for _, window_id in same)
        yield from ((window_id, webp) for window_id, webp in read_of if webp is not None and _is_webp(webp))


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"
