"""Requests and answers in vLLM's terms."""

from __future__ import annotations

from typing import Any, Final

from colcap.engines.base import Generation, Sampling, Video
from colcap.errors import ConfigError, RowError

FINISHED: Final = ("stop", "length", "repetition")
"""What an answer can end with; `repetition` where vLLM was told to look for it."""


def video_parts(video: Video, *, factor: int) -> dict[str, Any]:
    """A video beside the token ids of its prompt.

    Raises
    ------
    RowError : rejected, where a side is no multiple of `factor` pixels.
    """
    _, height, width, _ = video.frames.shape
    if height % factor or width % factor:
        raise RowError("rejected", f"sides must be multiples of {factor} pixels, got {width}x{height}")
    metadata = {
        "fps": video.source_fps,  # the source's: the processor derives the sampled rate from the indices
        "total_num_frames": video.source_frames,
        "frames_indices": video.frame_indices,
        "duration": video.source_frames / video.source_fps,
        "do_sample_frames": False,
    }
    return {
        "multi_modal_data": {"video": [(video.frames, metadata)]},
        "multi_modal_uuids": {"video": [video.content_id]},
    }


async def generate(llm: Any, rendering: Any, prompt: dict[str, Any], params: Any, request_id: str) -> Any:
    """Render a prompt, ask, and wait for the whole answer."""
    limit = llm.model_config.max_model_len
    _check_length(len(prompt["prompt_token_ids"]), limit)
    async with rendering.rendered(prompt) as rendered:
        _check_length(len(rendered["prompt_token_ids"]), limit)
        answers = [answer async for answer in llm.generate(rendered, params, request_id)]
    return answers[-1]


def _check_length(num_tokens: int, limit: int) -> None:
    if num_tokens >= limit:
        raise RowError(
            "over_context",
            f"{num_tokens} prompt tokens, and the model takes {limit} with its answer: "
            "lower sampling_fps or window_size, or shorten the prompt",
        )


def num_bytes(prompt: dict[str, Any]) -> int:
    """Bytes of a prompt's frames."""
    videos = prompt.get("multi_modal_data", {}).get("video", ())
    return sum(int(frames.nbytes) for frames, _ in videos)


def sampling_params(sampling: Sampling) -> Any:
    """vLLM's `SamplingParams`.

    Raises
    ------
    ConfigError : vLLM refuses a value, or cannot generate by the schema.
    """
    from vllm import SamplingParams
    from vllm.exceptions import VLLMClientError
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
    from vllm.v1.structured_output.backend_guidance import validate_guidance_grammar

    schema = sampling.json_schema
    try:
        params = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_output_tokens,
            output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
        )
        validate_guidance_grammar(params)  # a schema beyond it would otherwise be refused with every single request
    except (VLLMClientError, ValueError) as error:
        raise ConfigError(f"{sampling}: {error}") from None
    return params


def generation(output: Any) -> Generation:
    """vLLM's answer; an empty one, and one that it gave up on, is an error."""
    answer = output.outputs[0]
    if answer.finish_reason not in FINISHED:
        return Generation(error=RowError("engine_failed", f"the engine gave up: finish_reason {answer.finish_reason}"))
    text = answer.text.strip()
    return Generation(
        text=text,
        prompt_tokens=len(output.prompt_token_ids),
        output_tokens=len(answer.token_ids),
        finish_reason=answer.finish_reason,
        error=None if text else RowError("invalid_output", "the model's answer is empty"),
    )


def row_error(error: Exception) -> RowError:
    """vLLM's refusal of one request, in our kinds."""
    from vllm.exceptions import VLLMClientError

    cause = error.__cause__ or error
    text = str(cause) or type(cause).__name__
    if "encoder cache size" in text:
        return RowError("over_context", f"{text} Lower sampling_fps or window_size.")
    return RowError("rejected" if isinstance(cause, VLLMClientError | ValueError) else "engine_failed", text)
