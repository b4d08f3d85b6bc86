"""What must be there before the first clip is read: a run that cannot end well does not start."""

from __future__ import annotations

from pathlib import Path

import pytest
from disks import small_disk

import colcap
from colcap.errors import ColcapError, ConfigError
from colcap.runners.preflight import require_encoder


def test_too_little_disk_is_told_before_any_clip_is_read(manifest: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk:
        with pytest.raises(ColcapError, match="GB are free") as refused:
            colcap.run(manifest, disk / "out", generate_captions=False)

        assert "will write about" in str(refused.value)
        assert not list(disk.rglob("part-*"))


def test_a_manifest_that_is_not_there_leaves_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(ColcapError, match="no such file"):
        colcap.run(tmp_path / "none.parquet", tmp_path / "out", generate_captions=False)

    assert not (tmp_path / "out").exists()


def test_a_missing_encoder_is_named_with_what_needs_it() -> None:
    with pytest.raises(ColcapError, match="libnothing is missing, and previews need it"):
        require_encoder("libnothing", "previews")


def test_a_folder_that_cannot_be_written_is_told(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(ColcapError, match="cannot write there"):
        colcap.run(manifest, tmp_path / "file" / "out", generate_captions=False)


@pytest.mark.parametrize(
    ("runtime", "told"),
    [
        ({"engines": 999}, r"runtime\.engines \(--engines\): got 999; there are \d+ cores"),
        ({"tensor_parallel_size": 2}, r"\(--tensor-parallel-size\): got 2; an engine on the CPU takes 1"),
    ],
)
def test_more_engines_than_fit_are_told_before_any_work(
    manifest: Path, tmp_path: Path, runtime: dict[str, int], told: str
) -> None:
    tiny = {"model_variant": "tiny"}
    enhancing = {"generate_captions": False, "enhance_captions": True, "enhancement": tiny}

    for options in ({"captioning": tiny}, enhancing):
        with pytest.raises(ConfigError, match=told):
            colcap.run(manifest, tmp_path / "out", runtime=runtime, **options)

    assert not (tmp_path / "out").exists()
