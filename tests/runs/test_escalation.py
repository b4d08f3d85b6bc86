"""Captions that were cut off or go round in circles are asked for again, as data says; every try is a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

import colcap
from colcap.config import parse
from colcap.engines.base import Engine, Generation
from colcap.errors import ConfigError
from colcap.qa.check import check
from colcap.runners import choices
from colcap.steps.escalation import Rung, repeated_share

LONGER: dict[str, Any] = {"on": ["length"], "max_output_tokens": 64}


def captioning(**more: Any) -> dict[str, Any]:
    return {"model_variant": "tiny", **more}


def test_what_was_cut_off_gets_more_tokens_and_keeps_its_first_try(
    manifest: Path, tiny_engine: Engine, tmp_path: Path, truth: pl.DataFrame
) -> None:
    choice = captioning(max_output_tokens=3, escalation=[LONGER])

    run = colcap.run(manifest, tmp_path / "out", engine=tiny_engine, captioning=choice, clips_per_part=2)
    before = sorted(path.name for path in run.path.glob("captions/*/*"))
    colcap.run(manifest, run.path, engine=tiny_engine)

    rows = run.captions.sort("window_id", "attempt").select("attempt", "finish_reason").collect().rows()
    assert rows == [(1, "length"), (2, "stop")] * 4
    said = run.sql("select window_id, caption from captions_latest").join(truth, on="window_id")
    assert said["caption"].to_list() == said["truth"].to_list()
    assert before == [f"part-00000{part}{attempt}.parquet" for part in (0, 1) for attempt in (".a2", "")]
    assert sorted(path.name for path in run.path.glob("captions/*/*")) == before  # nothing is left to do
    assert check(run.path, verify=True) == []


def test_rungs_are_tried_in_order_until_one_is_good(manifest: Path, tiny_engine: Engine, tmp_path: Path) -> None:
    rungs = [{"on": ["length"], "max_output_tokens": 4}, LONGER, {"on": ["length"], "max_output_tokens": 99}]

    run = colcap.run(
        manifest, tmp_path / "out", engine=tiny_engine, captioning=captioning(max_output_tokens=3, escalation=rungs)
    )

    rows = run.sql("select attempt, output_tokens, finish_reason from captions where window_id = 'short:00000'").rows()
    assert [(attempt, reason) for attempt, _, reason in rows] == [(1, "length"), (2, "length"), (3, "stop")]
    assert [tokens for _, tokens, _ in rows][:2] == [3, 4]


def test_good_captions_are_not_asked_again(manifest: Path, tiny_engine: Engine, tmp_path: Path) -> None:
    run = colcap.run(manifest, tmp_path / "out", engine=tiny_engine, captioning=captioning(escalation=[LONGER]))

    assert run.captions.collect()["attempt"].to_list() == [1] * 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red circle moves left across a black background.", False),
        ("the road the road the road the road", True),
        ("", False),
        ("one two", False),
        ("!" * 512, True),
        ("...", False),
        ("车辆向左行驶，" * 20, True),
        ("一辆红色的汽车从左向右驶过十字路口，行人在人行道上等待，天空晴朗，路边有几棵高大的树。", False),
        ("A 红 car 红 is 红 going 红 left", False),
    ],
)
def test_a_loop_is_seen(text: str, expected: bool) -> None:
    rung = Rung(frozenset({"repetition"}), choices.sampling(parse({})))

    assert rung.catches(Generation(text=text, finish_reason="stop")) == expected


def test_a_loop_that_the_engine_has_stopped_is_one() -> None:
    stopped = Generation(text="A car.", finish_reason="repetition")
    rungs = [Rung(frozenset({reason}), choices.sampling(parse({}))) for reason in ("repetition", "length")]

    assert [rung.catches(stopped) for rung in rungs] == [True, False]


def test_sql_draws_the_same_line() -> None:
    sql = (Path(__file__).parents[2] / "sql" / "repetition.sql").read_text()
    texts = ["the road the road the road", "a b c d e f a b c", "Ein Auto fährt, ein Auto fährt, ein Auto hält"]
    texts += ["车辆向左行驶，" * 20, "A红car红2is红2is", "! ! ! . ! !", "½² ½² ½² ½²", "snake_case snake_case"]
    rows = "select unnest($texts) as caption, caption as window_id, 'default' as caption_set, 'ok' as status"
    everything = {"texts": texts, "caption_set": "", "n": 3, "min_ratio": -1}

    found = duckdb.execute(
        f"with captions_latest as ({rows}) select caption, ratio from ({sql})", everything
    ).fetchall()

    assert dict(found) == {text: pytest.approx(repeated_share(text), abs=0.001) for text in texts}


def test_a_rung_says_when(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"captioning.escalation.0.on"):
        parse({"captioning": {"escalation": [{"on": []}]}})


def test_an_escalation_belongs_to_the_fingerprint_and_its_absence_does_not() -> None:
    plain, rung = parse({"captioning": captioning()}), parse({"captioning": captioning(escalation=[LONGER])})
    model = choices.resolve_model(plain)

    assert choices.caption_fingerprint(plain, model) != choices.caption_fingerprint(rung, model)
