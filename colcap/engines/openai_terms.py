"""Requests, answers and failures in the terms of OpenAI's chat completions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from colcap.engines import pictures
from colcap.engines.base import Generation, Request, Sampling, Video
from colcap.errors import RowError
from colcap.server import Server

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

FINISHED: Final = ("stop", "length", "repetition")
"""What an answer can end with."""

TRY_AGAIN: Final = (408, 409, 425, 429)
"""Statuses below 500 that mean later, not never."""

WRONG_ADDRESS: Final = (404, 405, 501)
"""Statuses that no other request would get rid of: no such address, or no such model there."""

OVER_CONTEXT: Final = re.compile(
    r"context.?length|context.?window|maximum model length|max_model_len|max_position_embeddings|encoder cache size",
    re.I,
)
"""How servers say that a request is too long for the model."""

MAX_CHARS_PER_TOKEN: Final = 256
"""The longest token of Qwen's vocabularies is half as long."""

MAX_WAIT_S: Final = 300.0
"""Longest wait that a server may ask for with Retry-After, in seconds."""


class Malformed(ValueError):
    """The server's answer is not what the API promises."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server understands beyond OpenAI's own API."""

    is_vllm: bool
    """It takes vLLM's fields: a repetition penalty, frames with their times, the chat template's options."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a request failed, and what is to be done."""

    text: str
    row_kind: str = "engine_failed"
    """Its row's error_kind, if nothing helps."""
    again: bool = False
    """The same request may fare better later."""
    stops: bool = False
    """No other request would fare better."""
    wait_s: float | None = None
    """How long the server wants to be left alone, in seconds."""


def body(request: Request, sampling: Sampling, *, model: str, server: Server, dialect: Dialect) -> dict[str, Any]:
    """A request as keyword arguments of `chat.completions.create`; texts are message contents and nothing else."""
    shown, media_options = _shown(request.video, server, dialect)
    text = {"type": "text", "text": request.text}
    system = [] if request.system is None else [{"role": "system", "content": request.system}]
    asked: dict[str, Any] = {
        "model": model,
        "messages": [*system, {"role": "user", "content": [*shown, text] if shown else request.text}],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_output_tokens,
    }
    if sampling.json_schema is not None:
        schema = {"name": "caption", "schema": json.loads(sampling.json_schema), "strict": True}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    thinking = {"chat_template_kwargs": {"enable_thinking": False}}
    own = {"repetition_penalty": sampling.repetition_penalty, **thinking} if dialect.is_vllm else {}
    return {**asked, "extra_body": {**own, **media_options}}


def _shown(video: Video | None, server: Server, dialect: Dialect) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A video as message parts, and vLLM's options that go with it."""
    if video is None:
        return [], {}
    how = server.video_as if server.video_as != "auto" else "video" if dialect.is_vllm else "images"
    if how == "images":
        urls = pictures.image_urls(video, server.frame_format)
        return [{"type": "image_url", "image_url": {"url": url}} for url in urls], {}
    if how == "video":
        return [_video_part(pictures.video_url(video))], {}
    part = _video_part(pictures.sequence_url(video, server.frame_format))
    return [part], {"media_io_kwargs": {"video": _frame_times(video)}}


def _video_part(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def _frame_times(video: Video) -> dict[str, Any]:
    """Which frames of which source these are, for vLLM; a server takes it with --trust-request-mm-kwargs."""
    return {
        "num_frames": -1,  # all of them: they are chosen already
        "fps": video.source_fps,  # the source's: the processor derives the sampled rate from the indices
        "frames_indices": video.frame_indices,
        "total_num_frames": video.source_frames,
        "duration": video.source_frames / video.source_fps,
        "do_sample_frames": False,
    }


def generation(completion: ChatCompletion, *, clean: Callable[[str], str], max_tokens: int) -> Generation:
    """A server's answer.

    Parameters
    ----------
    completion : what it said.
    clean : takes the key out of its words.
    max_tokens : how long the answer may be.

    Raises
    ------
    Malformed : it has no choice, no message, or no finish reason.
    RowError : rejected, where the server would not say anything; invalid_output, where it says far too much.
    """
    choice = _first_choice(completion)
    if choice.finish_reason == "content_filter" or choice.message.refusal:
        raise RowError("rejected", f"the server refused: {clean(choice.message.refusal or choice.finish_reason)}")
    if choice.finish_reason not in FINISHED:
        raise Malformed(f"the answer's finish_reason is {choice.finish_reason!r}")
    said, usage = choice.message.content or "", completion.usage
    if len(said) > max_tokens * MAX_CHARS_PER_TOKEN:
        raise RowError("invalid_output", f"{len(said)} characters, and {max_tokens} tokens were asked for at most")
    text = clean(_whole(said)).strip()
    return Generation(
        text=text,
        prompt_tokens=_count(usage.prompt_tokens) if usage else None,
        output_tokens=_count(usage.completion_tokens) if usage else None,
        finish_reason=choice.finish_reason,
        error=None if text else RowError("invalid_output", "the model's answer is empty"),
    )


def _whole(text: str) -> str:
    """A text without the halves of characters that a server has cut in two, which no table can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _count(number: Any) -> int | None:
    """A count of tokens, where it can be one."""
    return number if type(number) is int and 0 <= number < 1 << 31 else None


def _first_choice(completion: ChatCompletion) -> Any:
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise Malformed("the answer has no choices")
    message = getattr(choices[0], "message", None)
    if not isinstance(getattr(message, "content", None) or "", str) or message is None:
        raise Malformed("the answer has no text")
    return choices[0]


def trouble(error: Exception) -> Trouble:
    """What a failed request means."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return _status_trouble(error)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__ or error
        unreachable = type(cause).__name__ in ("ConnectError", "ConnectTimeout")
        return Trouble(f"no answer: {type(cause).__name__}: {cause}", again=True, stops=unreachable)
    return Trouble(f"the server's answer makes no sense: {type(error).__name__}: {error}", again=True)


def _status_trouble(error: Any) -> Trouble:
    status, text = int(error.status_code), f"HTTP {error.status_code}: {_message(error)}"
    if status in (401, 403) or error.code == "insufficient_quota":
        return Trouble(f"the server refuses the key: {text}", stops=True)
    if status in WRONG_ADDRESS or status < 400:
        return Trouble(f"the server does not answer there, or does not serve the model: {text}", stops=True)
    if status in TRY_AGAIN or status >= 500:
        return Trouble(text, again=True, wait_s=_retry_after(error.response.headers))
    return Trouble(text, row_kind="over_context" if OVER_CONTEXT.search(f"{error.code} {text}") else "rejected")


def _message(error: Any) -> str:
    body_ = error.body if isinstance(error.body, Mapping) else {}
    said = body_.get("message") or error.response.text or error.message
    return str(said)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds; a date, which few servers send, is left to our own backoff."""
    try:
        seconds = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return min(seconds, MAX_WAIT_S) if 0 <= seconds < float("inf") else None
