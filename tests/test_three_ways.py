"""Every parameter can be given in TOML, in Python and, where it has one, by its flag; all three mean the same."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from colcap.api import _configuration
from colcap.cli import cli
from colcap.config import Config, merge, parse
from colcap.flags import FLAGS, Flag, parameters

GIVEN = """
generate_previews = false
generate_captions = false
enhance_captions = true
cut = "encode"
clips_per_part = 7
store_mp4 = false
caption_set = "mine"
captions = [{name = "a", prompt_variant = "av"}]
models.mine = {id = "me/mine"}
captioning.engine = "openai"
captioning.model_variant = "tiny"
captioning.model_dir = "elsewhere"
captioning.window_size = 64
captioning.remainder_threshold = 32
captioning.sampling_fps = 4.0
captioning.prompt_variant = "av"
captioning.prompt_text = "What moves?"
captioning.caption_batch_size = 3
captioning.model_does_preprocess = true
captioning.preprocess_dtype = "float16"
captioning.escalation = [{on = ["length"], temperature = 0.5}]
captioning.generate_stage2_caption = true
captioning.stage2_prompt_text = "Say it better: "
captioning.json_schema = '{"type":"object"}'
captioning.fp8 = true
captioning.disable_mmcache = true
captioning.verbose = true
captioning.temperature = 0.7
captioning.top_p = 0.9
captioning.repetition_penalty = 1.2
captioning.max_output_tokens = 99
captioning.server.api_base = "http://localhost:1/v1"
captioning.server.api_key_env = "MY_KEY"
captioning.server.max_concurrent_requests = 5
captioning.server.request_timeout_s = 6.0
captioning.server.max_retries = 2
captioning.server.video_as = "images"
captioning.server.frame_format = "png"
preview.target_fps = 2.0
preview.target_height = 120
preview.compression_level = 3
preview.quality = 80
preview.lossless = true
preview.num_cpus_per_worker = 2.0
preview.verbose = true
enhancement.engine = "openai"
enhancement.model_variant = "tiny"
enhancement.model_dir = "elsewhere"
enhancement.prompt_variant = "av-surveillance"
enhancement.prompt_text = "Shorten it."
enhancement.model_batch_size = 4
enhancement.fp8 = true
enhancement.verbose = true
enhancement.temperature = 0.6
enhancement.top_p = 0.8
enhancement.repetition_penalty = 1.3
enhancement.max_output_tokens = 88
enhancement.server.api_base = "http://localhost:2/v1"
enhancement.server.api_key_env = "MY_OTHER_KEY"
enhancement.server.max_concurrent_requests = 6
enhancement.server.request_timeout_s = 7.0
enhancement.server.max_retries = 3
enhancement.server.video_as = "frames"
enhancement.server.frame_format = "png"
limits.max_bytes = 1000
limits.max_pixels = 2000
limits.max_duration_s = 30.0
limits.timeout_s = 40.0
limits.max_worker_bytes = 1000000000
limits.http = true
runtime.media_workers = 3
runtime.media_threads = true
runtime.engine_cores = 2
runtime.engines = 2
runtime.tensor_parallel_size = 4
runtime.max_queue_bytes = 5000
runtime.renderers = 1
runtime.engine_kwargs = {max_num_seqs = 8}
"""
"""Every parameter, with a value that is not its default."""

LINES = dict(line.split(" = ", 1) for line in GIVEN.strip().splitlines())


def values(model: BaseModel, above: str = "") -> Iterator[tuple[str, Any]]:
    """Each parameter's dotted name and value."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from values(value, f"{above}{name}.")
        else:
            yield above + name, value


def differing(config: Config) -> set[str]:
    """Names of the parameters that are not at their defaults."""
    defaults = dict(values(Config()))
    return {name for name, value in values(config) if value != defaults[name]}


def test_every_parameter_is_tried() -> None:
    given = {"models" if name.startswith("models.") else name for name in LINES}

    assert given == dict(values(Config())).keys()


@pytest.mark.parametrize("name", LINES)
def test_toml_and_python_set_it_and_nothing_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "c.toml").write_text(f"{name} = {LINES[name]}\n")
    nested = tomllib.loads(f"{name} = {LINES[name]}")

    by_toml = _configuration(tmp_path / "c.toml", {}, None)
    by_python = _configuration(None, nested, None)

    assert by_toml == by_python == parse(nested)
    assert differing(by_toml) == {name.removesuffix(".mine")}


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_a_flag_sets_its_parameter_and_wins_over_toml(flag: Flag) -> None:
    expected = tomllib.loads(f"{flag.path} = {LINES[flag.path]}")
    [value] = [value for name, value in values(parse(expected)) if name == flag.path]
    typed = [f"--no-{flag.name}" if value == flag.inverted else f"--{flag.name}"]
    typed += [] if isinstance(value, bool) else [str(value)]

    with cli.commands["run"].make_context("run", ["m.parquet", "out", *typed]) as context:
        given = parameters(context.params)
        result = parse(given)

    assert result == parse(expected)
    assert parse(merge(Config().model_dump(), given)) == parse(merge(Config().model_dump(), expected))
