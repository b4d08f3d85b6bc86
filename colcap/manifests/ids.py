"""Ids of clips that bring none."""

from __future__ import annotations

import hashlib


def hashed(data: bytes) -> str:
    """A short stable hash: 16 hex digits."""
    return hashlib.sha256(data).hexdigest()[:16]
