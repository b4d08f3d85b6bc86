"""Manifests: listing clips, and freezing a manifest into a run with ids and parts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from colcap.errors import ManifestError, RowError
from colcap.manifests import ClipReader, freeze, from_sources, iter_parts


def write(file: Path, **columns: object) -> Path:
    pl.DataFrame(columns).write_parquet(file)
    return file


def test_folders_are_searched_for_video_and_named_files_are_kept(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.MKV", "notes.txt", "sub/c.webm", "odd.bin"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "clips" / name).write_bytes(b"x")

    result = from_sources([str(tmp_path / "clips"), str(tmp_path / "clips" / "odd.bin")])

    assert result["clip_id"].to_list() == ["a", "b", "odd", "c"]
    assert all(Path(uri).is_absolute() for uri in result["uri"])


def test_stems_that_repeat_get_ids_that_do_not(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.mp4").write_bytes(b"x")

    result = from_sources([str(tmp_path / "*" / "*.mp4")])

    assert result["clip_id"].n_unique() == 2
    assert all(name.startswith("same-") for name in result["clip_id"])


def test_a_source_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        from_sources([str(tmp_path / "none*.mp4")])


def test_a_name_that_no_table_can_hold_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"x")
    (tmp_path / "café ok.mp4").write_bytes(b"x")

    with pytest.raises(ManifestError, match=r"caf .mp4: its name is not UTF-8"):
        from_sources([str(tmp_path)])


def test_freezing_gives_ids_parts_absolute_paths_and_keeps_own_columns(tmp_path: Path) -> None:
    source = write(tmp_path / "m.parquet", uri=["x/a.mp4", "/abs/b.mp4", "file:///c%20d.mp4"], score=[0.1, 0.2, None])

    count = freeze(source, tmp_path / "frozen.parquet", clips_per_part=2)
    result = pl.read_parquet(tmp_path / "frozen.parquet")

    assert count == 3
    assert result["uri"].to_list() == [str(tmp_path / "x/a.mp4"), "/abs/b.mp4", "/c d.mp4"]
    assert result["part"].to_list() == [0, 0, 1]
    assert result["score"].to_list() == [0.1, 0.2, None]
    assert result["clip_id"].n_unique() == 3


def test_ids_are_stable_and_a_given_id_is_kept(tmp_path: Path) -> None:
    source = write(tmp_path / "m.parquet", uri=["a.mp4", "b.mp4"], clip_id=["mine", None])

    ids = []
    for target in ("one.parquet", "two.parquet"):
        freeze(source, tmp_path / target, clips_per_part=64)
        ids.append(pl.read_parquet(tmp_path / target)["clip_id"].to_list())

    assert ids[0] == ids[1]
    assert ids[0][0] == "mine"


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"path": ["a.mp4"]}, "needs a column"),
        ({"uri": ["a.mp4", "a.mp4"]}, "twice"),
        ({"uri": ["a.mp4", "b.mp4"], "clip_id": ["x", "x"]}, "twice"),
        ({"uri": ["a.mp4", None]}, "row 2"),
        ({"uri": [1, 2]}, "must be text"),
        ({"uri": ["a.mp4"], "status": ["ok"]}, "status"),
        ({"uri": ["a.mp4"], "Width": [1]}, "Width"),
        ({"uri": ["https://example.org/a.mp4"]}, "https"),
        ({"uri": ["subfile,,start,0,:://etc/passwd"]}, "no URL of a known kind"),
        ({"uri": pl.Series([], dtype=pl.String)}, "no rows"),
        ({"uri": ["a.mp4"], "clip_id": ["x" * 1000]}, "longer than"),
    ],
)
def test_a_manifest_that_is_none_is_refused_whole(tmp_path: Path, columns: dict[str, object], told: str) -> None:
    source = write(tmp_path / "m.parquet", **columns)

    with pytest.raises(ManifestError, match=told):
        freeze(source, tmp_path / "frozen.parquet", clips_per_part=64)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.parquet"]


@pytest.mark.parametrize(("content", "told"), [(b"uri\na.mp4\n", "not a Parquet"), (None, "no such file")])
def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path, content: bytes | None, told: str) -> None:
    source = tmp_path / "m.csv"
    if content is not None:
        source.write_bytes(content)

    with pytest.raises(ManifestError, match=told):
        freeze(source, tmp_path / "frozen.parquet", clips_per_part=64)


def test_parts_come_back_whole_and_in_order_whatever_the_row_groups(tmp_path: Path) -> None:
    blobs, ids = [bytes([i]) for i in range(100)], [f"c{i:03d}" for i in range(100)]
    source = write(tmp_path / "m.parquet", mp4=blobs, clip_id=ids)
    freeze(source, tmp_path / "frozen.parquet", clips_per_part=7)  # 16-row groups: parts straddle them

    result = {part: rows["clip_id"].to_list() for part, rows in iter_parts(tmp_path / "frozen.parquet", [14, 2, 3, 9])}

    assert list(result) == [2, 3, 9, 14]
    assert {part: len(ids) for part, ids in result.items()} == {2: 7, 3: 7, 9: 7, 14: 2}
    assert result[2] == [f"c{i:03d}" for i in range(14, 21)]


def test_limit_takes_the_first_rows(tmp_path: Path) -> None:
    source = write(tmp_path / "m.parquet", uri=[f"{i}.mp4" for i in range(10)])

    assert freeze(source, tmp_path / "frozen.parquet", clips_per_part=4, limit=3) == 3
    assert pl.read_parquet(tmp_path / "frozen.parquet").height == 3


def test_the_reader_says_why_it_cannot_read_and_stays_inside_its_root(tmp_path: Path) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret.mp4"
    root.mkdir()
    secret.write_bytes(b"secret")
    (root / "clip.mp4").write_bytes(b"12345")
    (root / "link.mp4").symlink_to(secret)
    read = ClipReader(root=root, max_bytes=4)

    def kind(uri: str) -> str:
        with pytest.raises(RowError) as failed:
            read(uri)
        return failed.value.kind

    assert kind(str(root / "clip.mp4")) == "too_large"
    assert kind(str(root / "none.mp4")) == "unreadable"
    assert kind(str(root)) == "unreadable"
    assert kind(str(root / "link.mp4")) == "unreadable"
    assert kind(str(root / ".." / "secret.mp4")) == "unreadable"
    assert kind("a\0b") == "unreadable"
    assert ClipReader(max_bytes=100)(str(root / "clip.mp4")) == b"12345"


def test_a_refused_uri_is_told_without_its_secrets(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pl.DataFrame({"uri": ["s3://KEYID:SECRET@bucket/a.mp4?X-Amz-Signature=dead"]}).write_parquet(path)

    with pytest.raises(ManifestError, match=r"s3://\*\*\*@bucket/a.mp4") as refused:
        freeze(path, tmp_path / "frozen.parquet", clips_per_part=1)

    assert not any(secret in str(refused.value) for secret in ("KEYID", "SECRET", "dead"))


def test_where_no_more_files_can_be_opened_no_clip_is_to_blame(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a clip")
    script = f"""
import os, resource
from colcap.manifests import ClipReader
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
read = ClipReader(max_bytes=100)
print(read({str(tmp_path / "a.mp4")!r}))
opened = []
try:
    while True:
        opened.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
try:
    read({str(tmp_path / "a.mp4")!r})
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    first, second = done.stdout.splitlines()
    assert first == "b'a clip'"
    assert second.startswith("ColcapError clips cannot be read: ")
    assert "Too many open files" in second
