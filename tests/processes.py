"""Processes that engines run in."""

from __future__ import annotations

import psutil


def engine_processes(of: int | None = None) -> list[psutil.Process]:
    """Of this process, or of another one."""
    children = psutil.Process(of).children(recursive=True)
    return [
        child for child in children if "EngineCore" in (line := " ".join(child.cmdline())) or "engines.host" in line
    ]
