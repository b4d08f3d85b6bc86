"""Several caption sets in one run: one decode, each prompt a set of its own, each finished and resumed by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import colcap
from colcap.config import parse
from colcap.engines.base import Engine
from colcap.qa.check import check
from colcap.runners import engine
from colcap.runners.engine import models_at_once
from colcap.runners.jobs import caption_jobs, passes

TINY: dict[str, Any] = {"model_variant": "tiny"}
CUT_OFF: dict[str, Any] = {"name": "cut-off", "max_output_tokens": 3}


def test_prompts_share_a_decode_and_lie_side_by_side(manifest: Path, tiny_engine: Engine, tmp_path: Path) -> None:
    toml = tmp_path / "sets.toml"
    toml.write_text(
        """
        clips_per_part = 2
        [captioning]
        model_variant = "tiny"
        [[captions]]
        name = "plain"
        [[captions]]
        name = "av"
        prompt_variant = "av"
        [[captions]]
        name = "cut-off"
        max_output_tokens = 3
        """
    )

    run = colcap.run(manifest, tmp_path / "out", config=toml, engine=tiny_engine)

    rows = run.sql("select distinct caption_set, prompt_variant, finish_reason from captions order by 1")
    assert rows.rows() == [("av", "av", "stop"), ("cut-off", "default", "length"), ("plain", "default", "stop")]
    assert run.captions.collect().height == 3 * 4
    beside = run.sql("@compare_sets", params={"left": "plain", "right": "cut-off"})
    assert beside.height == 4
    assert check(run.path, verify=True) == []


def test_a_further_set_is_made_from_the_windows_that_are_there(
    manifest: Path, tiny_engine: Engine, tmp_path: Path
) -> None:
    one = {"captions": [{"name": "plain"}]}
    two = {"captions": [{"name": "plain"}, CUT_OFF]}
    run = colcap.run(manifest, tmp_path / "out", engine=tiny_engine, captioning=TINY, **one)
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("part-*.parquet")}

    colcap.run(manifest, run.path, engine=tiny_engine, captioning=TINY, **two)

    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert sorted(p.name for p in (run.path / "captions").iterdir()) == ["set=cut-off", "set=plain"]


def test_windows_without_their_bytes_are_captioned_from_the_sources(
    manifest: Path, tiny_engine: Engine, tmp_path: Path, truth: pl.DataFrame
) -> None:
    run = colcap.run(
        manifest, tmp_path / "lean", engine=tiny_engine, captioning=TINY | {"max_output_tokens": 3}, store_mp4=False
    )
    stored = [path.name for path in run.path.iterdir()]
    full = colcap.run(manifest, tmp_path / "full", engine=tiny_engine, captioning=TINY)

    colcap.caption(run.path, where="clip_id != 'short'", engine=tiny_engine, max_output_tokens=512)

    assert "windows_mp4" not in stored
    assert_frame_equal(run.previews.collect(), full.previews.collect())
    said = run.sql("select window_id, caption from captions_latest where attempt = 2").join(truth, on="window_id")
    assert said["caption"].to_list() == said["truth"].to_list()
    assert said.height == 3
    assert check(run.path, verify=True) == []


def test_a_source_that_changed_is_not_captioned_for_the_old_one(
    clips_folder: Path, tiny_engine: Engine, tmp_path: Path
) -> None:
    clip = tmp_path / "a.mp4"
    clip.write_bytes((clips_folder / "short.mp4").read_bytes())
    colcap.manifest(clip).collect().write_parquet(tmp_path / "m.parquet")
    lean = {"captioning": TINY, "store_mp4": False, "generate_captions": False}
    run = colcap.run(tmp_path / "m.parquet", tmp_path / "out", **lean)
    clip.write_bytes((clips_folder / "across.mp4").read_bytes())

    colcap.caption(run.path, engine=tiny_engine)

    assert run.captions.select("window_id", "status", "error_kind").collect().rows() == [
        ("a:00000", "error", "source_changed")
    ]
    assert check(run.path) == []


def test_models_on_servers_share_a_decode(
    manifest: Path, vllm_server: str, tmp_path: Path, truth: pl.DataFrame
) -> None:
    served = {
        "engine": "openai",
        **TINY,
        "server": {"api_base": vllm_server, "frame_format": "png", "video_as": "frames"},
    }
    other = {"name": "b", "server": {**served["server"], "max_concurrent_requests": 2}}

    run = colcap.run(manifest, tmp_path / "out", captioning=served, captions=[{"name": "a"}, other])

    said = run.sql("select caption_set, window_id, caption from captions order by all").join(truth, on="window_id")
    assert said["caption_set"].to_list() == ["a"] * 4 + ["b"] * 4
    assert said["caption"].to_list() == said["truth"].to_list()
    stages = run.sql("select stage from timings where part = 0")["stage"].to_list()
    assert {stage: stages.count(stage) for stage in ("media", "caption a", "caption b")} == {
        "media": 1,  # a pass of its own would do it again
        "caption a": 1,
        "caption b": 1,
    }
    assert check(run.path, verify=True) == []


SERVED = {"engine": "openai", "server": {"api_base": "http://localhost:1/v1"}}
SEEN_WHOLE = {"model_does_preprocess": True}


@pytest.mark.parametrize(
    ("others", "alone", "beside"),
    [
        ([{"prompt_text": "Say it."}], ["ab"], ["ab"]),
        ([{"max_output_tokens": 9, "generate_stage2_caption": True}], ["ab"], ["ab"]),
        ([{"disable_mmcache": True}], ["a", "b"], ["ab"]),
        ([{"disable_mmcache": True}, {"prompt_variant": "av"}, {"verbose": True}], ["acd", "b"], ["acdb"]),
        ([{"disable_mmcache": True}, {"preprocess_dtype": "float16"}], ["a", "b", "c"], ["ab", "c"]),
        ([SEEN_WHOLE], ["a", "b"], ["a", "b"]),
        ([SERVED, {**SERVED, "fp8": True}], ["a", "bc"], ["a", "bc"]),
    ],
)
def test_sets_share_a_pass_where_frames_are_the_same_and_engines_fit(
    others: list[dict[str, Any]], alone: list[str], beside: list[str]
) -> None:
    captions = [{"name": name, **own} for name, own in zip("abcd", [{}, *others], strict=False)]
    jobs = caption_jobs(parse({"captioning": TINY, "captions": captions}))

    result = [["".join(job.caption_set for job in each) for each in passes(jobs, models_at_once=n)] for n in (1, 2)]

    assert result == [alone, beside]


def test_models_beside_each_other_share_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    four = parse({"runtime": {"tensor_parallel_size": 2}})
    monkeypatch.setattr(engine, "visible_gpus", lambda: tuple("01234567"))

    assert models_at_once(four) == 4
    assert models_at_once(parse({"runtime": {"engines": 3}})) == 2
    assert [engine._share_of((k, 3), "01234567") for k in range(3)] == ["01", "234", "567"]
    monkeypatch.setattr(engine, "visible_gpus", lambda: ())
    assert models_at_once(parse({"runtime": {"engine_cores": 2}})) == 2
    assert models_at_once(parse({"runtime": {"engine_cores": 2, "engines": 2}})) == 1
