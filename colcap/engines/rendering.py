"""Prompts become engine inputs: the model's processor cuts frames into patches, and tokens get their places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from colcap.engines.pixels import Pixels


class InlineRendering:
    """Renders in this process: vLLM has one thread for that, and it is enough for an engine on the CPU.

    Parameters
    ----------
    renderer : vLLM's.
    pixels : what is done with frames first; None for a model that sees none.
    """

    def __init__(self, renderer: Any, pixels: Pixels | None) -> None:
        self._renderer, self._pixels = renderer, pixels

    @asynccontextmanager
    async def rendered(self, prompt: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """What `AsyncLLM.generate` takes, good until the block is left."""
        (made,) = await self._renderer.render_cmpl_async([await self._prepared(prompt)])
        yield made

    async def _prepared(self, prompt: dict[str, Any]) -> dict[str, Any]:
        video = prompt.get("multi_modal_data", {}).get("video")
        if video is None or self._pixels is None or self._pixels.dtype == "uint8":
            return dict(prompt)
        [(frames, metadata)] = video
        floats = await asyncio.to_thread(self._pixels.prepared, frames)
        return {**prompt, "multi_modal_data": {"video": [(floats, metadata)]}}
