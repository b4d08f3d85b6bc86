"""Captions that obey a JSON schema: what the engine is made to say, and what becomes of an answer that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tiny_windows import windows

import colcap
from colcap import json_schema
from colcap.config import Config, parse
from colcap.engines.base import Engine, EngineStats, Generation, Request, Sampling, Video
from colcap.errors import ConfigError, RowError
from colcap.models.weights import ResolvedModel
from colcap.runners import choices
from colcap.schema import CAPTIONS
from colcap.steps.captions import CaptionStep

COLOURS = ["red", "green", "blue", "yellow", "white", "black", "orange", "purple"]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"colour": {"enum": COLOURS}, "moves": {"type": "boolean"}},
    "required": ["colour", "moves"],
    "additionalProperties": False,
}
INLINE = json.dumps(SCHEMA)


def sample(video: Video, name: str) -> dict[str, Any]:
    frames, height, width, _ = video.frames.shape
    return {
        "window_id": name,
        "num_frames": frames,
        "frame_width": width,
        "frame_height": height,
        "frame_indices": video.frame_indices,
        "source_frames": video.source_frames,
        "source_fps": video.source_fps,
        "content_id": video.content_id,
        "status": "ok",
        "error_kind": None,
        "error": None,
        "frames": video.frames.tobytes(),
    }


@pytest.fixture(scope="module")
def samples() -> pl.DataFrame:
    videos, _ = windows(8)
    return pl.DataFrame([sample(video, f"w{i}") for i, video in enumerate(videos)])


class Said:
    """An engine that says what the test tells it to, and remembers how it was asked."""

    model, revision = "said", None

    def __init__(self, *answers: Generation) -> None:
        self.answers, self.stats = answers, EngineStats()
        self.asked: list[Sampling] = []

    def generate(self, requests: list[Request], sampling: Sampling) -> list[Generation]:  # type: ignore[override]
        self.asked.append(sampling)
        return list(self.answers[: len(requests)])

    def close(self) -> None: ...


def captioned(
    engine: Engine, rows: pl.DataFrame, *, schema: str = INLINE, stage2: str | None = None, **sampling: Any
) -> pl.DataFrame:
    asked = Sampling(json_schema=json_schema.resolve(schema), **sampling)
    return CaptionStep(engine, asked, "Describe.", "custom", "f", stage2_prompt=stage2)(rows)


def test_the_engine_is_made_to_obey(tiny_engine: Engine, samples: pl.DataFrame) -> None:
    """The embedded model knows no JSON: the grammar alone makes it valid."""
    free = tiny_engine.generate([Request("Describe.")], Sampling())[0].text or ""

    result = captioned(tiny_engine, samples)

    assert not free.startswith("{")
    assert result["status"].to_list() == ["ok"] * 8, result["error"].to_list()
    for text, as_json in result.select("caption", "caption_json").iter_rows():
        value = json.loads(as_json)
        assert json.loads(text) == value
        assert value["colour"] in COLOURS
        assert as_json == json.dumps(value, sort_keys=True, separators=(",", ":"))


@pytest.mark.parametrize(
    "property_",
    [
        {"type": "integer", "multipleOf": 5, "maximum": 40, "minimum": 0},
        {"type": "string", "maxLength": 12},
        {"type": "array", "items": {"enum": COLOURS}, "minItems": 2, "maxItems": 2},
    ],
)
def test_kinds_of_values(tiny_engine: Engine, samples: pl.DataFrame, property_: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"x": property_}, "required": ["x"], "additionalProperties": False}

    result = captioned(tiny_engine, samples.head(4), schema=json.dumps(schema), max_output_tokens=64)

    assert result["error"].to_list() == [None] * 4


def test_a_schema_that_spells_out_a_control_token_stops_the_run(tiny_engine: Engine) -> None:
    """The grammar would end each answer with an error: the model has no other token for it."""
    hostile = json_schema.resolve(json.dumps({"enum": ["a", "<|im_end|> {{ x }}"]}))

    with pytest.raises(ConfigError, match=r"json_schema: the model cannot write <\|im_end\|>"):
        tiny_engine.generate([Request("Describe.")], Sampling(json_schema=hostile))


def test_an_answer_that_is_cut_is_an_error_that_keeps_its_text(tiny_engine: Engine, samples: pl.DataFrame) -> None:
    result = captioned(tiny_engine, samples.head(2), max_output_tokens=3)

    assert result["error_kind"].to_list() == ["invalid_output"] * 2
    assert result["finish_reason"].to_list() == ["length"] * 2
    assert all(text.startswith("{") for text in result["caption"])
    assert result["caption_json"].to_list() == [None, None]
    assert all("raise max_output_tokens" in error for error in result["error"])


def test_with_two_stages_the_schema_is_for_the_last(tiny_engine: Engine, samples: pl.DataFrame) -> None:
    result = captioned(tiny_engine, samples.head(2), stage2="Please refine this caption: ")

    assert all(text.startswith("A ") for text in result["stage1_caption"])
    assert [set(json.loads(text)) for text in result["caption_json"]] == [{"colour", "moves"}] * 2


def test_a_schema_that_no_grammar_can_be_made_of_stops_the_run(tiny_engine: Engine) -> None:
    unknown = json_schema.resolve('{"type": "string", "pattern": "(?<=a)b"}')

    with pytest.raises(ConfigError):
        tiny_engine.generate([Request("Describe.")], Sampling(json_schema=unknown))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('{"colour":"red"}', "'moves' is a required property"),
        ('{"colour":"beige","moves":true}', "'beige' is not one of"),
        ("A red circle.", "not JSON"),
        ('{"colour":"red","moves":tr', "not JSON"),
        ('{"colour":"red","moves":NaN}', "NaN is no JSON number"),
        ("[" * 100_000, "not JSON"),
        ('{"colour":"red","moves":1e999}', "JSON"),
        ('{"colour":"\\ud800","moves":true}', "surrogate"),
    ],
)
def test_an_answer_that_does_not_obey(samples: pl.DataFrame, answer: str, told: str) -> None:
    result = captioned(Said(Generation(answer, 5, 9, "stop")), samples.head(1)).row(0, named=True)

    assert (result["status"], result["error_kind"]) == ("error", "invalid_output")
    assert told in result["error"]
    assert result["caption"] == answer
    assert result["caption_json"] is None


def test_an_engines_own_error_stays_as_it_is(samples: pl.DataFrame) -> None:
    failed = Generation(error=RowError("over_context", "too long"))

    result = captioned(Said(failed), samples.head(1)).row(0, named=True)

    assert (result["error_kind"], result["error"], result["caption_json"]) == ("over_context", "too long", None)


def test_json_is_kept_in_one_form(samples: pl.DataFrame) -> None:
    said = '\n{ "moves" : true,\n "colour":"red" }'

    result = captioned(Said(Generation(said, 5, 9, "stop")), samples.head(1)).row(0, named=True)

    assert result["caption_json"] == '{"colour":"red","moves":true}'
    assert result["caption"] == said


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ('{"type": "colour"}', "is no JSON schema"),
        ('{"type": ', "is not JSON"),
        ("none.json", "neither inline JSON nor a file"),
        ('{"$ref": "https://example.com/schema.json"}', "only references within the schema itself"),
        ('{"$ref": "#/$defs/none"}', "refers to something that is not in it"),
        ("list.json", "a schema is a JSON object"),
    ],
)
def test_a_wrong_schema_is_refused_before_any_work(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schema: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("list.json").write_text("[1]")

    with pytest.raises(ConfigError, match=r"captioning\.json_schema") as refused:
        colcap.run(manifest, tmp_path / "out", captioning={"model_variant": "tiny", "json_schema": schema})

    assert told in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_file_and_its_content_are_the_same_choice(tiny: ResolvedModel, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text(json.dumps(SCHEMA, indent=4))

    def print_of(schema: str | None) -> str:
        given = {"model_variant": "tiny", **({"json_schema": schema} if schema else {})}
        return choices.caption_fingerprint(parse({"captioning": given}), tiny)

    other = json.dumps({**SCHEMA, "required": []})

    assert print_of(str(file)) == print_of(INLINE)
    assert len({print_of(None), print_of(INLINE), print_of(other)}) == 3


def test_a_run_keeps_the_schema_and_sql_sees_the_json(manifest: Path, tiny_engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text(INLINE)
    options = {"model_variant": "tiny", "json_schema": str(file)}

    run = colcap.run(manifest, tmp_path / "out", engine=tiny_engine, generate_previews=False, captioning=options)
    file.unlink()
    colcap.run(manifest, run.path, engine=tiny_engine)  # goes on as it was, without the file
    result = run.sql("select caption_json->>'colour' as colour from captions_latest where status = 'ok'")

    assert json.loads((saved := Config.model_validate(_saved(run.path))).captioning.json_schema or "") == SCHEMA
    assert saved.captioning.json_schema == json_schema.resolve(INLINE)
    assert run.captions.collect().schema == CAPTIONS
    assert result.height == 4
    assert set(result["colour"]) <= set(COLOURS)


def _saved(run: Path) -> dict[str, Any]:
    from colcap.runners.plan import read_run_file

    return dict(read_run_file(run)["config"])
