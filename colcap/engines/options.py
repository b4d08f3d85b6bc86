"""vLLM's options for a model on this machine: pure functions, apart from reading the model's config."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, Final

from colcap.config import PreprocessDtype
from colcap.engines.pixels import in_floats
from colcap.errors import ConfigError
from colcap.models.files import read_json
from colcap.models.weights import ResolvedModel

MAX_MODEL_LEN: Final = 32768
"""Tokens of one request, answer included."""

MMCACHE_GB: Final = 4
"""The engine's cache of videos it has seen: the second pass over a window finds it there."""

CPU_KVCACHE_BYTES: Final = 4 << 30
"""Most a CPU engine takes for its key-value cache, unless one request of full length needs more."""

CPU_FULL_REQUESTS: Final = 16
"""Requests of full length that cache is made for. vLLM zeroes it at the start, which takes 2.9 s a GB."""

SILENCE: Final = {
    "VLLM_CONFIGURE_LOGGING": "0",
    "TORCH_LOGS": "-all",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""vLLM, torch and transformers then leave logging to us, and say no more than errors by themselves."""

SOCKET_PATH_BYTES: Final = 107
"""Longest path of a socket, on Linux."""


def engine_args(
    model: ResolvedModel,
    *,
    on_gpu: bool,
    fp8: bool,
    disable_mmcache: bool,
    model_does_preprocess: bool,
    preprocess_dtype: PreprocessDtype = "auto",
    renderers: int = 0,
    tensor_parallel_size: int = 1,
    overrides: Mapping[str, Any],
) -> dict[str, Any]:
    """Keyword arguments of vLLM's `AsyncEngineArgs`; `overrides` win.

    Raises
    ------
    ConfigError : `overrides` switch the engine's cache of videos on although there are renderers.

    Examples
    --------
    >>> from pathlib import Path
    >>> from colcap.models.weights import resolve
    >>> tiny = resolve("tiny", model_dir=Path("models"))
    >>> flags = dict(on_gpu=False, fp8=False, disable_mmcache=True, model_does_preprocess=False)
    >>> engine_args(tiny, **flags, overrides={"seed": 1})["max_model_len"]
    8192
    """
    text = _text_config(model)
    length = _longest(text)
    args: dict[str, Any] = {
        "model": str(model.path),
        "dtype": "bfloat16",
        "seed": 0,
        "max_model_len": length,
        "max_num_batched_tokens": length,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        # Where spaces are allowed between JSON's tokens, a small model writes nothing else until it is cut off. And
        # vLLM's choice of a backend by the first request is for the engine's whole life: guidance knows most schemas.
        "structured_outputs_config": {"backend": "guidance", "disable_any_whitespace": True},
        "tensor_parallel_size": tensor_parallel_size,
        **(_gpu_args(fp8=fp8) if on_gpu else _cpu_args(text, length)),
    }
    if model.family != "text":
        floats = in_floats(preprocess_dtype)
        args |= _vision_args(disable_mmcache=disable_mmcache, as_is=model_does_preprocess, floats=floats)
        args |= _pooled_args(lend=tensor_parallel_size == 1) if renderers else {}
    args |= dict(overrides)
    if renderers and args["mm_processor_cache_gb"]:
        raise ConfigError("runtime.engine_kwargs: mm_processor_cache_gb: must be 0, or set runtime.renderers to 0")
    return args


def context_length(model: ResolvedModel, overrides: Mapping[str, Any]) -> int | None:
    """Tokens of one request, answer included; None where `overrides` leave it to vLLM.

    Examples
    --------
    >>> from pathlib import Path
    >>> from colcap.models.weights import resolve
    >>> tiny = resolve("tiny", model_dir=Path("models"))
    >>> context_length(tiny, {}), context_length(tiny, {"max_model_len": 2048})
    (8192, 2048)
    """
    length = overrides.get("max_model_len", _longest(_text_config(model)))
    return length if isinstance(length, int) and length > 0 else None


def _longest(text: Mapping[str, Any]) -> int:
    return min(MAX_MODEL_LEN, int(text.get("max_position_embeddings", MAX_MODEL_LEN)))


def _gpu_args(*, fp8: bool) -> dict[str, Any]:
    return {"gpu_memory_utilization": 0.85, **({"quantization": "fp8"} if fp8 else {})}


def _cpu_args(text: Mapping[str, Any], length: int) -> dict[str, Any]:
    full = length * _kv_bytes_per_token(text)
    return {
        "enforce_eager": True,  # compiling costs 10 to 30 s at the start and was no faster afterwards
        "kv_cache_memory_bytes": max(full, min(CPU_KVCACHE_BYTES, CPU_FULL_REQUESTS * full)),
        "max_num_seqs": 64,
        "skip_mm_profiling": True,  # it is there to leave room on a GPU
    }


def _kv_bytes_per_token(text: Mapping[str, Any]) -> int:
    """Bytes of keys and values, in bfloat16.

    >>> _kv_bytes_per_token({"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
    ...                      "hidden_size": 3584})
    57344
    """
    heads = int(text["num_attention_heads"])
    head_dim = int(text.get("head_dim") or text["hidden_size"] // heads)
    return 2 * int(text["num_hidden_layers"]) * int(text.get("num_key_value_heads", heads)) * head_dim * 2


def _vision_args(*, disable_mmcache: bool, as_is: bool, floats: bool) -> dict[str, Any]:
    """Options of the model's eyes.

    Parameters
    ----------
    disable_mmcache : remember no videos.
    as_is : frames come as they are; otherwise they are resized, and normalised where that is not the engine's task.
    floats : pixels reach the engine normalised, by us or, where frames come as they are, by the model's processor.
    """
    done = {"do_resize": False, **({"do_rescale": False, "do_normalize": False} if floats else {})}
    return {
        "limit_mm_per_prompt": {"image": 0, "video": 1},
        "mm_processor_cache_gb": 0 if disable_mmcache else MMCACHE_GB,
        "mm_device_do_normalize": not floats,
        **({} if as_is else {"mm_processor_kwargs": done}),
    }


def _pooled_args(*, lend: bool) -> dict[str, Any]:
    """With renderers: what they made is lent to the engine, not copied, so it must not remember any of it."""
    return {"mm_processor_cache_gb": 0, **({"mm_tensor_ipc": "torch_shm"} if lend else {})}


def _text_config(model: ResolvedModel) -> dict[str, Any]:
    """The language model's part of config.json; older configs have it at the top level."""
    config = read_json(model.path / "config.json")
    return dict(config.get("text_config", config))


def frontend_env() -> dict[str, str]:
    """Environment variables while vLLM is imported and started; nothing about its use is sent home."""
    # torch's shared memory does not survive a fork
    return {"VLLM_NO_USAGE_STATS": "1", "VLLM_WORKER_MULTIPROC_METHOD": "spawn", **SILENCE, **_socket_env()}


def _socket_env() -> dict[str, str]:
    """vLLM's sockets, named by UUIDs, go to the folder for temporary files: it cannot start where that path is long."""
    too_long = len(os.fsencode(tempfile.gettempdir())) + len("/") + 36 > SOCKET_PATH_BYTES
    return {"VLLM_RPC_BASE_PATH": "/tmp"} if too_long else {}


def engine_env(cores: Sequence[int] | None, *, gpus: Sequence[str] = (), verbose: bool) -> dict[str, str]:
    """Environment variables of the engine's process; on a CPU one thread per core, each at home on its own.

    >>> engine_env(None, gpus=("2", "3"), verbose=True)["CUDA_VISIBLE_DEVICES"]
    '2,3'
    """
    env = {**frontend_env(), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    if verbose:  # all that it says is for the log
        env = {name: value for name, value in env.items() if name not in (*SILENCE, "PYTHONWARNINGS")}
    if gpus:
        env["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    if cores:
        listed = ",".join(map(str, cores))
        env["VLLM_CPU_OMP_THREADS_BIND"] = listed
        env["OMP_NUM_THREADS"] = str(len(cores))
        env["GOMP_CPU_AFFINITY"] = listed.replace(",", " ")
    return env


def outside(cores: Sequence[int] | None) -> set[int]:
    """This process's cores that are not the engine's, for the front-end; all of them where none is left.

    >>> outside(None) == os.sched_getaffinity(0)
    True
    """
    mine = os.sched_getaffinity(0)
    return mine - set(cores or ()) or mine
