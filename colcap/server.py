"""Where an OpenAI-compatible server is, and how it is asked."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from colcap.sections import SECRET, PositiveFloat, Section


def _plain_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise PydanticCustomError(SECRET, "must be a URL like http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise PydanticCustomError(SECRET, "must hold no user, password, query or fragment; a key goes in api_key_env")
    return url


def _variable_name(name: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise PydanticCustomError(SECRET, "must be the name of an environment variable, such as OPENAI_API_KEY")
    return name


class Server(Section):
    """An OpenAI-compatible server that answers in the place of an engine of ours; belongs to no fingerprint."""

    api_base: Annotated[str, AfterValidator(_plain_url)] | None = None
    """URL of the API of the engine `openai`: http://localhost:8000/v1 is `vllm serve` on this machine."""
    api_key_env: Annotated[str, AfterValidator(_variable_name)] = "OPENAI_API_KEY"
    """Environment variable that holds the key, where the server wants one. The key itself is written nowhere."""
    max_concurrent_requests: Annotated[int, Field(ge=1)] = 64
    """Requests at once. One and a half times as many as the server works on keep it busy."""
    request_timeout_s: PositiveFloat = 600.0
    """Longest wait for one answer, in seconds."""
    max_retries: Annotated[int, Field(ge=0, le=100)] = 6
    """How often a request is sent again that met a busy or failing server (429, 5xx, a broken connection)."""
    video_as: Literal["auto", "frames", "video", "images"] = "auto"
    """How a window is shown: frames (with their times, to vLLM), a video (mp4) or images; auto: video if it is vLLM."""
    frame_format: Literal["jpeg", "png"] = "jpeg"
    """Compression of frames and images; png loses nothing and is several times larger."""
