"""Windows that are black or do not move are found by what their previews look like."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import polars as pl
import pytest
import qa_runs

import colcap
from colcap import manifests
from colcap.qa.quality import quality
from colcap.qa.queries import ask

FPS, SIZE = 10, (96, 128)


def _black(i: int) -> np.ndarray:
    return np.zeros((*SIZE, 3), np.uint8)


def _still(i: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (*SIZE, 3), np.uint8)


def _moving(i: int) -> np.ndarray:
    picture = np.full((*SIZE, 3), 60, np.uint8)
    picture[40:56, 2 * i : 2 * i + 16] = (250, 40, 40)
    return picture


def _flashing(i: int) -> np.ndarray:
    return np.full((*SIZE, 3), 255 * (i // FPS % 2), np.uint8)


PICTURES = {"black": _black, "still": _still, "moving": _moving, "flashing": _flashing}


def make(path: Path, name: str) -> None:
    """Five seconds of H.264."""
    data = io.BytesIO()
    with av.open(data, "w", format="mp4") as output:
        stream = output.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for i in range(5 * FPS):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(PICTURES[name](i), "rgb24")))
        output.mux(stream.encode(None))
    path.write_bytes(data.getvalue())


@pytest.fixture(scope="module", params=[False, True], ids=["lossy", "lossless"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> colcap.Run:
    folder = tmp_path_factory.mktemp("seen")
    for name in PICTURES:
        make(folder / f"{name}.mp4", name)
    manifests.from_sources([str(folder)]).write_parquet(folder / "m.parquet")
    preview = {"target_height": 96, "lossless": request.param}
    return colcap.run(folder / "m.parquet", folder / "run", generate_captions=False, preview=preview)


@pytest.mark.parametrize(("query", "expected"), [("dark", ["black"]), ("frozen", ["black", "still"])])
def test_the_check_finds_them(run: colcap.Run, query: str, expected: list[str]) -> None:
    result = run.sql(f"@{query}").sort("clip_id")

    assert [name.split("-")[0] for name in result["clip_id"]] == expected
    assert run.qa().filter(check=query)["found"].to_list() == [len(expected)]


def test_numbers_are_those_of_the_pictures(run: colcap.Run) -> None:
    rows = run.previews.select("window_id", "mean_luma", "motion").collect().rows()
    result = {name.split(":")[0].split("-")[0]: seen for name, *seen in rows}

    assert result["black"] == [0, 0]
    assert result["flashing"] == [pytest.approx(2 / 5 * 255, abs=1), pytest.approx(255, abs=1)]
    assert result["moving"][0] == pytest.approx(60, abs=2)
    assert result["moving"][1] == pytest.approx(2 * 16 * 16 * 39 / (96 * 128), abs=0.5)


def test_a_preview_of_one_frame_is_not_called_frozen(run: colcap.Run) -> None:
    assert run.sql("@frozen", params={"min_frames": 6}).rows() == []


def test_a_run_from_before_has_neither(tmp_path: Path) -> None:
    tables = {
        name: rows.drop("mean_luma", "motion") if name.startswith("previews/") else rows
        for name, rows in qa_runs.full().items()
    }
    run = qa_runs.write(tmp_path / "run", tables)

    assert quality(run).filter(pl.col("check").is_in(["dark", "frozen"]))["found"].to_list() == [0, 0]
    assert ask(run, "select count(*) from previews where mean_luma is null and motion is null").item() == 4


def test_previews_made_again_in_a_run_from_before_get_the_numbers(run: colcap.Run) -> None:
    for file in (run.path / "previews").glob("*.parquet"):
        footer = pl.read_parquet_metadata(file)
        rows = pl.read_parquet(file).drop("mean_luma", "motion")
        qa_runs.write_part(file, rows, fingerprint=footer["colcap.fingerprint"])

    colcap.preview(run.path, where="clip_id like 'black%' or clip_id = 'black'")

    known = run.previews.filter(pl.col("motion").is_not_null()).collect()
    assert [name.split(":")[0].split("-")[0] for name in known["window_id"]] == ["black"]
