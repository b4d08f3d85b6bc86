"""The media layer: a clip's bytes in, windows with mp4, preview and sampled frames out. Knows nothing of tables."""

from colcap.media.limits import Limits
from colcap.media.process import process_clip, process_window
from colcap.media.products import Budget, Product, Recipe
from colcap.media.timeline import Timeline
from colcap.media.values import (
    Clip,
    Cut,
    Frames,
    Preview,
    PreviewSpec,
    Probe,
    Sample,
    SampleSpec,
    Wanted,
    Window,
)
from colcap.media.windowing import MIN_FRAMES, windows
from colcap.media.workers import MediaPool

__all__ = [
    "MIN_FRAMES",
    "Budget",
    "Clip",
    "Cut",
    "Frames",
    "Limits",
    "MediaPool",
    "Preview",
    "PreviewSpec",
    "Probe",
    "Product",
    "Recipe",
    "Sample",
    "SampleSpec",
    "Timeline",
    "Wanted",
    "Window",
    "process_clip",
    "process_window",
    "windows",
]
