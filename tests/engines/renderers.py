"""vLLM's renderer without an engine: what the engine would get of a request."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from colcap.config import PreprocessDtype
from colcap.engines import options, pixels, terms
from colcap.engines.base import Request, Video
from colcap.engines.chat import ChatEncoder
from colcap.engines.pixels import Sight
from colcap.engines.rendering import InlineRendering
from colcap.models.weights import ResolvedModel


@contextmanager
def renderer_of(model: ResolvedModel, sight: Sight, overrides: dict[str, Any] | None = None) -> Iterator[Any]:
    """A renderer with the options an engine would be started with."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.renderers import renderer_from_config

    flags = {"on_gpu": False, "fp8": False, "disable_mmcache": True}
    how = {"model_does_preprocess": sight.model_does_preprocess, "preprocess_dtype": sight.preprocess_dtype}
    args = options.engine_args(model, **flags, **how, overrides=overrides or {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", os.environ.copy())  # vLLM writes to it
        renderer = renderer_from_config(AsyncEngineArgs(**args).create_engine_config())
        yield renderer
        renderer.shutdown()


def rendered(
    model: ResolvedModel, video: Video, dtype: PreprocessDtype = "auto", *, model_does_preprocess: bool = False
) -> Any:
    """A request as vLLM's engine gets it."""
    sight = Sight(dtype, model_does_preprocess, model.factor)
    prompt = {
        "prompt_token_ids": ChatEncoder(model.path).encode(Request("Describe.", video=video)),
        **terms.video_parts(video, factor=sight.side_factor),
    }
    with renderer_of(model, sight) as renderer:
        return asyncio.run(_render(InlineRendering(renderer, pixels.pixels(renderer, sight)), prompt))


async def _render(rendering: InlineRendering, prompt: dict[str, Any]) -> Any:
    async with rendering.rendered(prompt) as made:
        return made
