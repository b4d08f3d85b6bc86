"""Plain `.jsonl`: one line a window and caption set, one line a clip without windows; every failure is a line."""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from typing import Any, Final

from colcap.export.folder import Folder
from colcap.export.options import Options
from colcap.export.rows import PartRows

_LINE_ENDS: Final = {ord(c): f"\\u{ord(c):04x}" for c in "\x85\u2028\u2029"}
"""JSON lets them stand as they are, but Python's splitlines and others take them for the end of a line."""


def write(part: PartRows, folder: Folder, options: Options) -> Counter[str]:
    """Write `part-000000.jsonl`."""
    with folder.writing(f"part-{part.part:06d}.jsonl") as file:
        for row in part.rows.iter_rows(named=True):
            file.write(f"{line(row)}\n".encode())
    return Counter(lines=part.rows.height)


def line(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON: dates as ISO text, bytes as base64, NaN and infinity as null.

    >>> line({"fps": float("nan"), "caption": "a\\u2028b"})
    '{"fps": null, "caption": "a\\\\u2028b"}'
    """
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, indent=indent).translate(_LINE_ENDS)


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            return base64.b64encode(value).decode()
        case None | bool() | int() | str():
            return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
