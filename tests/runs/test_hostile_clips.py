"""A run over clips and names that an attacker chose: they stay in the run's folder and are rows like any other."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from bait import PLAYLISTS, laid_out
from click.testing import CliRunner

import colcap
from colcap.cli import cli
from colcap.qa.check import check

NAMES = ["../../x", "/x", "..", "a\0b", "\x1b[2Jcleared", "line\nbreak", "\u202egnp.x", "C:\\x"]


@pytest.mark.parametrize("cut", ["copy", "encode"])
def test_clips_and_names_of_strangers_reach_nothing(cut: str, clips_folder: Path, tmp_path: Path) -> None:
    good, deep = (clips_folder / "short.mp4").read_bytes(), tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    with laid_out(tmp_path, good) as bait:
        files = [text.format(target).encode() for text in PLAYLISTS.values() for target in bait.targets()]
        names = [*NAMES, *(f"{name}{index}" for index, name in enumerate(NAMES * 5))][: len(files) + 1]
        pl.DataFrame({"clip_id": names, "mp4": [good, *files]}).write_parquet(deep / "m.parquet")
        before = set(tmp_path.rglob("*"))

        arguments = ["run", str(deep / "m.parquet"), str(deep / "out"), "--no-generate-captions", "--cut", cut]
        result = CliRunner().invoke(cli, arguments)

        assert bait.untouched()
    assert "\x1b" not in result.output
    assert all(path.is_relative_to(deep / "out") for path in set(tmp_path.rglob("*")) - before)
    rows = colcap.open(deep / "out").clips.collect()
    assert rows.get_column("clip_id").sort().to_list() == sorted(names)
    assert rows.filter(pl.col("clip_id") == names[0])["status"].to_list() == ["ok"]
    assert set(rows.filter(pl.col("clip_id") != names[0])["error_kind"]) <= {"unreadable", "unsupported"}
    assert check(deep / "out", verify=True) == []
