"""A real `vllm serve` of the embedded model says what the engine of our own says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from tiny_windows import windows

import colcap
from colcap import json_schema, prompts
from colcap.engines.base import Engine, Generation, Request, Sampling
from colcap.engines.openai import OpenAIEngine
from colcap.models.tiny.scenes import caption
from colcap.qa.check import check
from colcap.server import Server

COUNT = 60
TINY: dict[str, Any] = {"model_variant": "tiny"}


def ask(url: str, requests: list[Request], sampling: Sampling | None = None, **options: Any) -> list[Generation]:
    engine = OpenAIEngine("colcap/tiny", Server(api_base=url, **options))
    answers = engine.generate(requests, sampling or Sampling())
    engine.close()
    return answers


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    return [Request(prompts.load("default"), video=video) for video in windows(COUNT)[0]]


@pytest.fixture(scope="module")
def ours(tiny_engine: Engine, requests: list[Request]) -> list[Generation]:
    return tiny_engine.generate(requests, Sampling())


def test_frames_without_loss_give_the_same_captions_token_for_token(
    vllm_server: str, requests: list[Request], ours: list[Generation]
) -> None:
    result = ask(vllm_server, requests, video_as="frames", frame_format="png")

    assert result == ours


@pytest.mark.parametrize(
    ("video_as", "frame_format", "least"),
    [("frames", "jpeg", 0.95), ("video", "jpeg", 0.9), ("auto", "jpeg", 0.9)],
)
def test_compressed_frames_give_nearly_the_same(
    vllm_server: str,
    requests: list[Request],
    ours: list[Generation],
    video_as: Literal["frames", "video", "auto"],
    frame_format: Literal["jpeg"],
    least: float,
) -> None:
    result = ask(vllm_server, requests, video_as=video_as, frame_format=frame_format)

    same = [a.text == b.text for a, b in zip(result, ours, strict=True)]

    assert [answer.error for answer in result] == [None] * COUNT
    assert sum(same) / COUNT >= least


def test_images_are_seen_though_not_as_a_video(
    vllm_server: str, requests: list[Request], ours: list[Generation]
) -> None:
    """The embedded model was never shown images: colours are recognised, times between them are unknown to it."""
    result = ask(vllm_server, requests, video_as="images", frame_format="png")

    scenes = windows(COUNT)[1]
    colours = [scene.color in (answer.text or "") for scene, answer in zip(scenes, result, strict=True)]

    assert [answer.error for answer in result] == [None] * COUNT
    assert all(
        (theirs.prompt_tokens or 0) > (mine.prompt_tokens or 0) for theirs, mine in zip(result, ours, strict=True)
    )
    assert sum(colours) / COUNT >= 0.9


def test_a_schema_is_obeyed(vllm_server: str, requests: list[Request]) -> None:
    schema = {"type": "object", "properties": {"moves": {"type": "boolean"}}, "required": ["moves"]}
    asked = Sampling(json_schema=json_schema.resolve(json.dumps({**schema, "additionalProperties": False})))

    result = ask(vllm_server, requests[:4], asked)

    assert all(set(json.loads(answer.text or "")) == {"moves"} for answer in result)


def test_an_answer_that_is_cut_and_a_prompt_that_is_too_long(vllm_server: str, requests: list[Request]) -> None:
    cut, long = ask(vllm_server, [requests[0]], Sampling(max_output_tokens=3)), ask(vllm_server, [Request("a " * 9000)])

    assert [(answer.finish_reason, answer.output_tokens, answer.error) for answer in cut] == [("length", 3, None)]
    assert [answer.error.kind if answer.error else None for answer in long] == ["over_context"]


def test_a_model_that_is_not_served_stops_the_run(vllm_server: str) -> None:
    engine = OpenAIEngine("someone/else", Server(api_base=vllm_server))
    with pytest.raises(colcap.ColcapError, match="does not exist"):
        engine.generate([Request("Describe.")], Sampling())
    engine.close()


def test_a_run_on_a_server(vllm_server: str, manifest: Path, truth: pl.DataFrame, tmp_path: Path) -> None:
    server = {"api_base": vllm_server, "video_as": "frames"}
    options = {**TINY, "engine": "openai", "server": server}

    run = colcap.run(
        manifest, tmp_path / "out", captioning=options, enhancement=options, enhance_captions=True, clips_per_part=2
    )

    said = run.captions.collect().join(truth, on="window_id", how="full")
    assert said["caption"].to_list() == said["truth"].to_list()
    assert set(said["model"]) == {"colcap/tiny"}
    assert run.enhanced.collect()["status"].to_list() == ["ok"] * 4
    assert check(run.path) == []


def test_switching_the_engine_recaptions_nothing(
    vllm_server: str, manifest: Path, tiny_engine: Engine, tmp_path: Path
) -> None:
    run = colcap.run(manifest, tmp_path / "out", engine=tiny_engine, captioning=TINY, generate_previews=False)
    before = sorted(path.name for path in run.path.rglob("*.parquet"))

    server = {"api_base": vllm_server}
    captioning = {**TINY, "engine": "openai", "server": server}
    colcap.run(manifest, run.path, captioning=captioning, generate_previews=False)

    assert sorted(path.name for path in run.path.rglob("*.parquet")) == before


def test_the_lazy_verb_can_ask_a_server(vllm_server: str, manifest: Path, truth: pl.DataFrame) -> None:
    windows_ = colcap.windows(pl.scan_parquet(manifest).filter(pl.col("clip_id") == "across"))
    server = {"api_base": vllm_server, "video_as": "frames"}

    result = colcap.captions(windows_, engine="openai", server=server, **TINY).collect()

    assert result["caption"].to_list() == truth.filter(window_id="across:00000")["truth"].to_list()


def test_captions_are_true(ours: list[Generation]) -> None:
    """What the comparisons above stand on."""
    assert sum(a.text == caption(s) for a, s in zip(ours, windows(COUNT)[1], strict=True)) / COUNT >= 0.95
