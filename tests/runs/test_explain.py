"""What `explain` says in advance is what a run then makes, and it leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

import colcap
from colcap.cli import cli
from colcap.engines.base import Engine
from colcap.errors import ManifestError, WeightsError

TINY: dict[str, Any] = {"model_variant": "tiny"}


LONG = f"    {'Describe the video. ' * 20}\n" * 75 + f"    {'Describe the video. ' * 5}"
TOO_LONG = "Describe the video. " * 3000
"""With them `across` only fits when it is shrunk, and `short` not at all; indented, `across` would not fit either."""


@pytest.fixture(scope="module")
def prompted(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shared clips, two of them with long prompts of their own."""
    path = tmp_path_factory.mktemp("explain") / "m.parquet"
    prompts = pl.Series("prompt_text", [LONG, None, None, TOO_LONG], dtype=pl.String)
    pl.read_parquet(manifest).with_columns(prompts).write_parquet(path)
    return path


def entries(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*")}


def test_it_says_what_a_run_makes(
    prompted: Path, tiny_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = entries(prompted.parent)
    result = colcap.explain(prompted, captioning=TINY, engine=tiny_engine)
    assert entries(prompted.parent) == before
    assert entries(tmp_path) == set()

    run = colcap.run(prompted, tmp_path / "run", engine=tiny_engine, captioning=TINY)

    windows, captions = run.windows.collect(), run.captions.collect()
    said = captions.filter(pl.col("status") == "ok")
    assert (result.clips, result.clips_probed, result.windows) == (4, 4, windows.height)
    assert list(result.clips_failed.values()) == [1]
    assert "broken" in result.examples[next(iter(result.clips_failed))]
    assert result.source_frames == windows["num_frames"].sum()
    assert result.source_hours * 3600 == pytest.approx((windows["end_s"] - windows["start_s"]).sum())
    assert (result.windows_shrunk, result.windows_over_context) == (captions["warning"].count(), 1)
    assert captions.filter(pl.col("error_kind") == "over_context")["window_id"].to_list() == ["short:00000"]
    assert captions.drop_nulls("warning")["window_id"].to_list() == ["across:00000"]
    sides = pl.col("frame_width") * pl.col("frame_height") // 28**2 * pl.col("num_frames") // 2
    assert result.vision_tokens == said.select(sides.sum()).item()
    assert result.prompt_tokens == said["prompt_tokens"].sum()
    assert sum(b.windows for b in result.vision_histogram) == said.height
    assert result.bytes_mp4 == pytest.approx(windows["mp4_bytes"].sum(), rel=0.02)
    assert result.bytes_previews == pytest.approx(run.previews.collect()["webp_bytes"].sum(), rel=0.02)


def test_hours_come_from_a_trial_on_the_engine(manifest: Path, tiny_engine: Engine) -> None:
    asked = tiny_engine.stats.requests_done

    result = colcap.explain(manifest, captioning=TINY, engine=tiny_engine)

    assert result.calibration is not None
    assert (result.calibration.clips, result.calibration.windows) == (3, 2)  # of four windows, two to warm up
    assert tiny_engine.stats.requests_done - asked == 4
    assert result.caption_hours == pytest.approx(4 / (result.calibration.captions_per_s or 0) / 3600)
    assert result.media_hours == pytest.approx(4 * result.calibration.media_s_per_window / result.media_workers / 3600)
    assert result.hours == max(result.media_hours or 0, result.caption_hours or 0)
    assert "estimated time" in str(result)


def test_two_caption_sets_take_twice_the_engine(manifest: Path, tiny_engine: Engine) -> None:
    sets = [{"name": "a"}, {"name": "b", "prompt_text": "Describe."}]
    one = colcap.explain(manifest, captioning=TINY, calibrate=False)

    two = colcap.explain(manifest, captioning=TINY, captions=sets, calibrate=False)

    assert (one.prompt_tokens, one.vision_tokens) != (None, None)
    assert two.vision_tokens == one.vision_tokens
    assert (two.prompt_tokens or 0) > (one.prompt_tokens or 0) + (one.vision_tokens or 0)


def test_few_clips_stand_for_all(clips_folder: Path, tmp_path: Path) -> None:
    paths = [str(clips_folder / "across.mp4"), str(clips_folder / "short.mp4")] * 50
    rows = {"clip_id": [f"c{i:03}" for i in range(100)], "uri": paths}
    pl.DataFrame(rows).write_parquet(tmp_path / "m.parquet")

    result = colcap.explain(tmp_path / "m.parquet", captioning=TINY, sample=10, calibrate=False)

    assert (result.clips, result.clips_probed, result.windows) == (100, 10, 100)
    assert result.source_frames == pytest.approx(50 * (120 + 90), rel=0.1)
    assert "10 looked at, the rest extrapolated" in str(result)
    assert any("--sample takes more" in note for note in result.notes)


def test_without_weights_it_says_what_is_missing_and_estimates_the_rest(manifest: Path, tmp_path: Path) -> None:
    result = colcap.explain(manifest, captioning={"model_dir": str(tmp_path / "none")})

    assert result.calibration is not None  # media work was tried
    assert result.hours is None
    assert result.media_hours is not None
    assert (result.windows, result.sampled_frames) == (4, 42)
    assert result.vision_tokens == 21 * (336 // 28) ** 2  # 240 pixels are enlarged to the least that Qwen looks at
    assert any("no weights for Qwen/Qwen2.5-VL-7B-Instruct at revision cc59489" in note for note in result.notes)
    assert any("upper bound" in note for note in result.notes)
    assert not (tmp_path / "none").exists()


def test_what_is_off_is_not_counted(manifest: Path) -> None:
    result = colcap.explain(
        manifest, generate_captions=False, generate_previews=False, store_mp4=False, calibrate=False
    )

    assert (result.windows, result.sampled_frames, result.prompt_tokens) == (4, None, None)
    assert (result.bytes_mp4, result.bytes_previews) == (0, 0)
    assert "vision tokens" not in str(result)


def test_what_a_run_refuses_is_refused(manifest: Path) -> None:
    with pytest.raises(WeightsError, match="no model 'no such model'"):
        colcap.explain(manifest, captioning={"model_variant": "no such model"})
    with pytest.raises(ManifestError, match="no such file"):
        colcap.explain(manifest.parent / "none.parquet", captioning=TINY)


def test_the_verb_prints_both_forms(manifest: Path) -> None:
    flags = ["--captioning-algorithm", "tiny", "--no-calibrate", "--captioning-window-size", "64"]

    table = CliRunner().invoke(cli, ["explain", str(manifest), *flags])
    form = CliRunner().invoke(cli, ["explain", str(manifest), *flags, "--format", "json"])

    assert table.exit_code == form.exit_code == 0, table.output
    assert "by window:" in table.output
    said = json.loads(form.stdout)
    assert said["windows"] == 8
    assert sum(b["windows"] for b in said["vision_histogram"]) == 8
