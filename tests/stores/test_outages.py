"""A store that is away stops the run; an object that cannot be read is a row; a slow answer is no failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from stores_s3 import S3

import colcap
from colcap import objects
from colcap.errors import ColcapError, RowError
from colcap.manifests import ClipReader
from colcap.objects import Url, connection


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are told soon."""
    monkeypatch.setattr(connection, "FIRST_PATIENCE_S", 0.3)
    monkeypatch.setattr(connection, "_RETRIES", {**connection._RETRIES, "max_retries": 0})
    connection._connected.cache_clear()
    connection._answered.clear()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["503 before", "cut within"])
def test_no_clip_is_to_blame_where_nothing_can_be_read(s3: S3, kind: str) -> None:
    s3.put("clips/a.mp4", b"a clip")
    s3.faults(rate=1, only=kind)

    with pytest.raises(ColcapError, match=r"clips cannot be read: .*the same command goes on"):
        ClipReader(max_bytes=100)(f"{s3.url}/clips/a.mp4")


@pytest.mark.usefixtures("impatient")
def test_an_object_that_alone_cannot_be_read_is_a_row(s3: S3) -> None:
    s3.put("clips/bad.mp4", b"a clip")
    s3.faults(broken="clips/bad.mp4")

    with pytest.raises(RowError, match=r"unreadable: .*500"):
        ClipReader(max_bytes=100)(f"{s3.url}/clips/bad.mp4")


@pytest.mark.usefixtures("impatient")
def test_a_host_of_http_that_is_away_is_a_row() -> None:
    with pytest.raises(RowError, match="unreadable"):
        ClipReader(max_bytes=100, http=True)("http://127.0.0.1:9/a.mp4")


def test_a_run_whose_clips_are_away_stops_and_goes_on(s3: S3, clips_folder: Path, tmp_path: Path) -> None:
    s3.put("away/short.mp4", (clips_folder / "short.mp4").read_bytes())
    pl.DataFrame({"uri": [f"{s3.url}/away/short.mp4"]}).write_parquet(tmp_path / "m.parquet")
    command = [sys.executable, "-m", "colcap", "run", "m.parquet", "out", "--no-generate-captions"]
    s3.faults(rate=1, only="503")

    stopped = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    s3.faults()
    went_on = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    assert stopped.returncode == 1
    assert "clips cannot be read" in stopped.stderr
    assert went_on.returncode == 0, went_on.stderr
    assert colcap.open(tmp_path / "out").clips.collect()["status"].to_list() == ["ok"]


def test_an_answer_may_take_longer_than_the_store_may_be_silent(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "READ_TIMEOUT", "1s")
    connection._connected.cache_clear()
    s3.put("slow.bin", bytes(64 << 10))
    s3.faults(trickle_s=0.3)

    assert objects.read(Url.parse(f"{s3.url}/slow.bin")) == bytes(64 << 10)


def test_an_answer_that_breaks_off_goes_on_from_there(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 1000
    s3.put("cut.bin", data)
    monkeypatch.setattr(connection, "_RETRIES", {**connection._RETRIES, "max_retries": 0})
    connection._connected.cache_clear()
    s3.faults(rate=0.5, only="cut within", seed=2)

    for _ in range(8):
        assert objects.read_bounded(Url.parse(f"{s3.url}/cut.bin"), len(data)) == data
    assert s3.seen()["cut within"] > 0


def test_what_the_store_does_not_copy_is_copied_by_this_machine(s3: S3) -> None:
    s3.put("staged", b"5 GB or more")
    s3.faults(copies=0)

    objects.copy(Url.parse(f"{s3.url}/staged"), Url.parse(f"{s3.url}/final"))

    assert s3.get("final") == b"5 GB or more"
