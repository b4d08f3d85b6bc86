"""A manifest may be a folder of Parquet files, or those that a pattern finds."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import colcap
from colcap.errors import ManifestError, RunError
from colcap.manifests import freeze


def write(file: Path, **columns: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(columns).write_parquet(file)
    return file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, one in a subfolder with its columns the other way round, and what is no data."""
    write(tmp_path / "many" / "b.parquet", clip_id=["3"], uri=["c.mp4"])
    write(tmp_path / "many" / "a" / "z.parquet", uri=["a.mp4", "b.mp4"], clip_id=["1", "2"])
    write(tmp_path / "many" / "_temporary" / "0.parquet", uri=["no.mp4"])
    (tmp_path / "many" / "_SUCCESS").touch()
    return tmp_path / "many"


@pytest.mark.parametrize("pattern", ["", "**/[ab]*.parquet", "*/[z]*.parquet"])
def test_files_are_read_in_the_order_of_their_names(folder: Path, tmp_path: Path, pattern: str) -> None:
    count = freeze(folder / pattern, tmp_path / "frozen.parquet", clips_per_part=2)
    result = pl.read_parquet(tmp_path / "frozen.parquet")

    here = [("1", f"{folder}/a/a.mp4", 0), ("2", f"{folder}/a/b.mp4", 0), ("3", f"{folder}/c.mp4", 1)]
    expected = {"": here, "**/[ab]*.parquet": here[2:], "*/[z]*.parquet": here[:2]}[pattern]
    assert result.drop("part").rows() == [row[:2] for row in expected]
    assert result["part"].to_list() == [index // 2 for index in range(count)]


def test_an_id_in_two_files_is_refused(folder: Path, tmp_path: Path) -> None:
    write(folder / "c.parquet", clip_id=["2"], uri=["d.mp4"])

    with pytest.raises(ManifestError, match=r"c\.parquet: clip_id '2' appears twice"):
        freeze(folder, tmp_path / "frozen.parquet", clips_per_part=2)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"uri": ["d.mp4"]}, "clip_id is missing here, large_string there"),
        ({"uri": ["d.mp4"], "clip_id": [4]}, "clip_id is int64 here, large_string there"),
        ({"uri": ["d.mp4"], "clip_id": ["4"], "score": [0.5]}, "score is double here, missing there"),
    ],
)
def test_files_whose_columns_differ_are_refused(
    folder: Path, tmp_path: Path, columns: dict[str, object], expected: str
) -> None:
    write(folder / "c.parquet", **columns)

    with pytest.raises(ManifestError, match=expected):
        freeze(folder, tmp_path / "frozen.parquet", clips_per_part=2)


@pytest.mark.parametrize(
    ("name", "expected"), [("", "folder without Parquet files .*; `colcap manifest"), ("*.parquet", "matches no file")]
)
def test_nothing_found_is_told(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(ManifestError, match=expected):
        freeze(tmp_path / name, tmp_path / "frozen", clips_per_part=2)


def test_a_run_of_a_folder_goes_on_with_that_folder_alone(folder: Path, tmp_path: Path) -> None:
    choices = {"generate_captions": False, "generate_previews": False}
    run = colcap.run(folder, tmp_path / "run", **choices)
    again = colcap.run(folder, tmp_path / "run", **choices)

    assert run.clips.select("clip_id").collect()["clip_id"].to_list() == ["1", "2", "3"]
    assert again.clips.collect().equals(run.clips.collect())
    write(folder / "d.parquet", clip_id=["4"], uri=["d.mp4"])
    with pytest.raises(RunError, match="another manifest"):
        colcap.run(folder, tmp_path / "run", **choices)
