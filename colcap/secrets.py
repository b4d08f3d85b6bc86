"""Keeps keys and signed URLs out of what is said and written."""

from __future__ import annotations

import re
from typing import Final

MAX_TEXT_CHARS: Final = 8192
"""Longer texts are cut, which also bounds what looking for secrets can take."""

# None begins with a repetition: on a long word that would take the square of its length
_SECRETS: Final = (
    (re.compile(r"://[^\s/@'\"]+@"), "://***@"),
    (re.compile(r"(://[^\s?'\"]+)\?[^\s'\"]+"), r"\1?***"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w+/=.~-]{8,}"), r"\1 ***"),
    (
        re.compile(r"(?i)((?:api[_-]?key|access[_-]?key|secret|token|passw(?:or)?d)[\w-]*[\"']?\s*[:=]\s*)[^\s,}]+"),
        r"\1***",
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\b(?:sk|hf)[-_][\w-]{16,}"), "***"),
)


def without_secrets(text: str) -> str:
    """Text with the queries of URLs, the credentials in them, and what looks like a key, replaced by `***`.

    >>> without_secrets("GET s3://me:pw@host/a.mp4?X-Amz-Signature=abc failed; api_key=sk-12 was refused")
    'GET s3://***@host/a.mp4?*** failed; api_key=*** was refused'
    """
    text = text[:MAX_TEXT_CHARS]
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
