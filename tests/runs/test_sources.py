"""Sources that vanish, change or may not be read are rows that say so; the rest of the run is as ever."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from disks import as_somebody_else

import colcap
from colcap.errors import ManifestError
from colcap.qa.check import check


@pytest.fixture
def sources(clips_folder: Path, tmp_path: Path) -> Path:
    """A folder of three clips, listed in `m.parquet`."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("across", "change", "short"):
        shutil.copy(clips_folder / f"{name}.mp4", folder)
    colcap.manifest(folder).sink_parquet(tmp_path / "m.parquet")
    return folder


def test_a_clip_gives_the_same_windows_however_it_is_named(sources: Path, tmp_path: Path) -> None:
    path = sources / "across.mp4"
    uris = ["clips/across.mp4", str(path), path.as_uri(), None]
    rows = {"clip_id": ["relative", "absolute", "url", "inside"], "uri": uris, "mp4": [None] * 3 + [path.read_bytes()]}
    pl.DataFrame(rows).write_parquet(tmp_path / "named.parquet")

    run = colcap.run(tmp_path / "named.parquet", tmp_path / "out", generate_captions=False, clips_per_part=1)
    result = run.windows.drop("window_id", "clip_id").collect().rows()

    assert run.clips.collect()["status"].to_list() == ["ok"] * 4
    assert len(result) == 4 * len(set(result)) > 0
    assert check(run.path, verify=True) == []


def test_a_source_that_vanished_or_changed_since_it_was_listed_is_a_row(sources: Path, tmp_path: Path) -> None:
    (sources / "across.mp4").unlink()
    with (sources / "change.mp4").open("ab") as file:
        file.write(b"more")

    run = colcap.run(tmp_path / "m.parquet", tmp_path / "out", generate_captions=False)
    result = {row["clip_id"]: row for row in run.clips.collect().iter_rows(named=True)}

    assert {name: row["error_kind"] for name, row in result.items()} == {
        "across": "unreadable",
        "change": "source_changed",
        "short": None,
    }
    assert "no such file" in result["across"]["error"]
    assert f"it has {(sources / 'change.mp4').stat().st_size} bytes and had" in result["change"]["error"]
    assert check(run.path, verify=True) == []


def test_a_source_that_changes_within_a_run_is_noticed_where_it_is_read(sources: Path, tmp_path: Path) -> None:
    first = colcap.run(tmp_path / "m.parquet", tmp_path / "out", generate_captions=False, clips_per_part=1)
    for table in ("clips", "windows", "windows_mp4"):
        (first.path / table / "part-000001.parquet").unlink()
    before = {path: path.stat().st_mtime_ns for path in first.path.glob("*/part-*")}
    (sources / "change.mp4").write_bytes((sources / "short.mp4").read_bytes())
    (sources / "short.mp4").unlink()  # its part is committed: nobody reads it again

    result = colcap.run(tmp_path / "m.parquet", tmp_path / "out", generate_captions=False).clips.collect()

    assert result.sort("clip_id")["error_kind"].to_list() == [None, "source_changed", None]
    untouched = {path for path in before if "000001" not in path.name}
    assert all(path.stat().st_mtime_ns == before[path] for path in untouched)


def test_without_a_size_in_the_manifest_a_source_is_taken_as_it_is(sources: Path, tmp_path: Path) -> None:
    pl.read_parquet(tmp_path / "m.parquet").drop("num_bytes").write_parquet(tmp_path / "own.parquet")
    (sources / "change.mp4").write_bytes((sources / "short.mp4").read_bytes())

    run = colcap.run(tmp_path / "own.parquet", tmp_path / "out", generate_captions=False)

    assert run.clips.collect()["status"].to_list() == ["ok"] * 3


def test_a_size_that_is_no_number_is_refused(sources: Path, tmp_path: Path) -> None:
    pl.read_parquet(tmp_path / "m.parquet").with_columns(num_bytes=pl.lit("big")).write_parquet(tmp_path / "m.parquet")

    with pytest.raises(ManifestError, match="num_bytes must be a whole number"):
        colcap.run(tmp_path / "m.parquet", tmp_path / "out", generate_captions=False)


def test_a_source_that_may_not_be_read_is_a_row(sources: Path, tmp_path: Path) -> None:
    secret = sources / "short.mp4"
    secret.chmod(0)
    said = as_somebody_else(f"""
        from colcap.errors import RowError
        from colcap.manifests import ClipReader
        try:
            ClipReader(max_bytes=1 << 30)({str(secret)!r})
        except RowError as error:
            print(error)
    """)

    assert said.startswith("unreadable: ")
    assert "no such file" in said or "Permission denied" in said
