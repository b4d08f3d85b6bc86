"""The clips the suite shares, and what is true of them."""

from __future__ import annotations

from colcap.models.tiny.scenes import Scene

SCENES = {
    "across": [(Scene("red", "circle", "black", "left"), 120)],
    "change": [(Scene("yellow", "star", "navy", "up"), 256), (Scene("green", "square", "white", "still"), 150)],
    "short": [(Scene("blue", "triangle", "gray", "right"), 90)],
}
"""Clips by name; each scene and its frames are one window of the default size."""
