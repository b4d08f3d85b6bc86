"""What a run says about itself: where the time went, and a log that programs can read and that holds no secrets."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import polars as pl
import pytest

import colcap
from colcap.errors import ColcapError
from colcap.qa.check import check
from colcap.runners.runlog import LOG_NAME, MAX_LOG_BYTES, logged
from colcap.schema import TIMINGS
from colcap.secrets import MAX_TEXT_CHARS, without_secrets


@pytest.fixture(scope="module")
def run(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> colcap.Run:
    """A finished run of two clips a part, without captions."""
    return colcap.run(manifest, tmp_path_factory.mktemp("run") / "out", generate_captions=False, clips_per_part=2)


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]


def test_where_the_time_went_is_told_by_stage(run: colcap.Run) -> None:
    result = {row["stage"]: row for row in run.sql("@throughput").iter_rows(named=True)}

    assert set(result) == {"media", "wait_media", "write"}
    assert result["media"]["parts"] == 2
    assert result["media"]["rows"] == 5  # four windows, and the broken clip's row
    assert result["media"]["cpu_s"] > 0
    assert result["media"]["num_bytes"] > run.windows.select("mp4_bytes").sum().collect().item()
    assert sum(row["share"] for row in result.values()) == pytest.approx(1, abs=0.01)
    assert pl.read_parquet_schema(run.path / "timings" / "part-000000.parquet") == TIMINGS


def test_timings_are_no_data(manifest: Path, tmp_path: Path) -> None:
    run = colcap.run(manifest, tmp_path / "out", generate_captions=False, generate_previews=False)
    (run.path / "timings" / "part-000000.parquet").write_bytes(b"not Parquet")
    before = (run.path / "clips" / "part-000000.parquet").stat().st_ino

    colcap.run(manifest, run.path, generate_captions=False)

    assert check(run.path, verify=True) == []
    assert (run.path / "clips" / "part-000000.parquet").stat().st_ino == before
    assert [path.name for path in sorted((run.path / "timings").iterdir())] == [
        "part-000000.a2.parquet",
        "part-000000.parquet",
    ]


def test_the_log_has_a_json_object_a_line(run: colcap.Run) -> None:
    result = lines(run.path)

    assert [line["event"] for line in result] == ["start", "plan", "part done", "part done", "end"]
    assert result[1]["to_do"] == 2
    assert {line["part"] for line in result[2:4]} == {0, 1}
    assert all(line["level"] == "info" and line["time"] for line in result)


def test_why_a_run_stopped_is_in_its_log(run: colcap.Run, manifest: Path) -> None:
    with pytest.raises(ColcapError):
        colcap.run(manifest, run.path, generate_captions=False, captioning={"window_size": 64})

    last = lines(run.path)[-1]
    assert (last["level"], last["event"]) == ("error", "stopped")
    assert "window_size: 256 then, 64 now" in str(last["error"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a.mp4", "s3://bucket/a.mp4"),
        ("https://h/a.mp4?X-Amz-Signature=abc&b=c.", "https://h/a.mp4?***"),
        ("https://user:pw@h/a.mp4", "https://***@h/a.mp4"),
        ("Authorization: Bearer abcdefghij.klm", "Authorization: Bearer ***"),
        ('{"api_key": "sk-1", "n": 2}', '{"api_key": ***, "n": 2}'),
        ("AWS_SECRET_ACCESS_KEY=abc/def next", "AWS_SECRET_ACCESS_KEY=*** next"),
        ("key AKIAABCDEFGHIJKLMNOP", "key ***"),
        ("max_output_tokens is 512", "max_output_tokens is 512"),
    ],
)
def test_secrets_are_stripped(text: str, expected: str) -> None:
    assert without_secrets(text) == expected


def test_the_log_is_bounded_and_keeps_to_its_block(tmp_path: Path) -> None:
    with logged(tmp_path, "test"):
        for number in range(2 + MAX_LOG_BYTES // MAX_TEXT_CHARS):
            logging.getLogger("colcap.test").info("x" * 2 * MAX_TEXT_CHARS, extra={"fields": {"n": number}})
    logging.getLogger("colcap.test").warning("after")

    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"run.log", "run.log.1"}
    assert max(sizes.values()) <= MAX_LOG_BYTES
    assert "after" not in (tmp_path / LOG_NAME).read_text()


@pytest.mark.parametrize("text", ["x" * 100_000, "://" * 40_000, "a@" * 50_000, "token" * 20_000])
def test_a_hostile_text_costs_little(text: str) -> None:
    started = time.process_time()

    without_secrets(text)

    assert time.process_time() - started < 2
