"""A real run leaves as every format and comes back: the same clips, the same windows, the same pictures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import av
import polars as pl
import pytest
import webdataset
from click.testing import CliRunner
from PIL import Image

import colcap
from colcap.cli import cli
from colcap.errors import ManifestError
from colcap.export.curator import previews_folder
from colcap.manifests import from_sources


@pytest.fixture(scope="module")
def made(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> colcap.Run:
    """A run of the shared clips, without captions: no engine is needed. Clip `broken` failed."""
    folder = tmp_path_factory.mktemp("export") / "run"
    preview = {"target_height": 32}
    own = folder.with_name("own.parquet")
    pl.read_parquet(manifest).with_columns(city=pl.lit("Oslo")).write_parquet(own)
    return colcap.run(own, folder, generate_captions=False, preview=preview, clips_per_part=2)


@pytest.mark.parametrize("clips", [False, True])
def test_a_tree_comes_back_as_the_same_clips(clips: bool, made: colcap.Run, manifest: Path, tmp_path: Path) -> None:
    made.export(tmp_path / "tree", format="curator", clips=clips)
    before = pl.read_parquet(manifest).sort("clip_id")

    for source in ("tree", "tree/metas", "tree/metas/v0"):
        result = CliRunner().invoke(cli, ["manifest", str(tmp_path / source), "-o", str(tmp_path / "m.parquet")])
        assert result.exit_code == 0, result.output
        back = pl.read_parquet(tmp_path / "m.parquet").sort("clip_id")
        assert back["clip_id"].to_list() == before["clip_id"].to_list()
        if not clips:
            assert back.equals(before)
            continue
        for name, uri in back.filter(pl.col("clip_id") != "broken").select("clip_id", "uri").iter_rows():
            assert Path(uri) == tmp_path / "tree" / "clips" / f"{name}.mp4"
            assert Path(uri).read_bytes() == Path(before.filter(clip_id=name)["uri"].item()).read_bytes()


def test_a_tree_that_came_back_gives_the_same_windows(made: colcap.Run, tmp_path: Path) -> None:
    made.export(tmp_path / "tree", format="curator", clips=True)
    colcap.manifest(tmp_path / "tree").collect().write_parquet(tmp_path / "m.parquet")

    again = colcap.run(tmp_path / "m.parquet", tmp_path / "again", generate_captions=False, generate_previews=False)

    columns = ["window_id", "start_frame", "end_frame", "mp4_sha256"]
    assert (
        again.windows.select(columns)
        .sort("window_id")
        .collect()
        .equals(made.windows.select(columns).sort("window_id").collect())
    )


def test_previews_of_the_tree_are_pictures(made: colcap.Run, tmp_path: Path) -> None:
    made.export(tmp_path / "tree", format="curator")

    with Image.open(previews_folder(tmp_path / "tree", "change") / "256_405.webp") as picture:
        assert (picture.height, picture.n_frames) == (32, 5)


def test_samples_decode_to_the_frames_that_they_say(made: colcap.Run, tmp_path: Path) -> None:
    made.export(tmp_path / "shards", format="webdataset", media="both")

    shards = [str(path) for path in sorted((tmp_path / "shards").glob("*.tar"))]
    found = list(webdataset.WebDataset(shards, shardshuffle=False).decode())

    assert [sample["json"]["window_id"] for sample in found] == made.windows.collect()["window_id"].to_list()
    for sample in found:
        with av.open(io.BytesIO(sample["mp4"]), format="mp4") as video:
            assert sum(1 for _ in video.decode(video=0)) == sample["json"]["num_frames"]
        assert sample["webp"][:4] == b"RIFF"
        assert sample["json"]["city"] == "Oslo"
        assert "txt" not in sample


def test_facts_come_back_from_parquet_and_json_lines_alike(made: colcap.Run, tmp_path: Path) -> None:
    made.export(tmp_path / "table", format="parquet")
    made.export(tmp_path / "lines", format="jsonl")

    table = pl.read_parquet(tmp_path / "table" / "*.parquet")
    lines = [json.loads(line) for path in sorted((tmp_path / "lines").glob("*.jsonl")) for line in path.open()]

    assert table.to_dicts() == lines
    windows = table.drop_nulls("window_id").select("window_id", "start_frame", "end_frame", "mp4_sha256")
    assert windows.equals(made.windows.select(windows.columns).collect())


def test_a_clip_that_is_gone_is_told_in_its_meta(tmp_path: Path, clips_folder: Path) -> None:
    copy = tmp_path / "c.mp4"
    copy.write_bytes((clips_folder / "short.mp4").read_bytes())
    colcap.manifest(copy).collect().write_parquet(tmp_path / "m.parquet")
    options = {"generate_captions": False, "generate_previews": False}
    run = colcap.run(tmp_path / "m.parquet", tmp_path / "run", **options)
    inside = run.export(tmp_path / "inside", format="curator", clips=True, root=tmp_path)
    outside = run.export(tmp_path / "outside", format="curator", clips=True, root=tmp_path / "elsewhere")
    copy.write_bytes(b"another")
    changed = run.export(tmp_path / "changed", format="curator", clips=True)

    meta = json.loads((tmp_path / "changed" / "metas/v0/c.json").read_text())

    assert [done.counts.get("clips") for done in (inside, outside, changed)] == [1, 0, 0]
    assert changed.counts["clips_not_copied"] == 1
    assert "source_changed" in meta["errors"]["clips"]
    assert "outside --root" in (tmp_path / "outside" / "metas/v0/c.json").read_text().replace("lies ", "")
    assert list((tmp_path / "changed").rglob("*.mp4")) == []

    copy.write_bytes((clips_folder / "short.mp4").read_bytes())  # it is back
    again = run.export(tmp_path / "changed", format="curator", clips=True)
    assert (again.counts["clips"], again.counts["clips_not_copied"]) == (1, 0)


def test_clips_that_the_manifest_carries_are_copied_too(clips_folder: Path, tmp_path: Path) -> None:
    data = (clips_folder / "short.mp4").read_bytes()
    pl.DataFrame({"clip_id": ["in"], "mp4": [data]}).write_parquet(tmp_path / "m.parquet")
    run = colcap.run(tmp_path / "m.parquet", tmp_path / "run", generate_captions=False, generate_previews=False)

    run.export(tmp_path / "tree", format="curator", clips=True)

    assert (tmp_path / "tree/clips/in.mp4").read_bytes() == data


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "is no meta"),
        ('{"clip_location": "/x.mp4"}', "has no span_uuid"),
        ('{"span_uuid": "x"}', "has no clip_location"),
        ('{"span_uuid": "x", "clip_location": "../../etc/passwd"}', "leaves the tree"),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_a_meta_that_is_none_is_refused_by_name(meta: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "metas/v0").mkdir(parents=True)
    (tmp_path / "metas/v0/x.json").write_text(meta)

    with pytest.raises(ManifestError, match=rf"x\.json.*{told}"):
        from_sources([str(tmp_path)])


def test_a_tree_of_the_reference_has_its_own_ids_and_clips(tmp_path: Path) -> None:
    (tmp_path / "metas/v0").mkdir(parents=True)
    (tmp_path / "clips").mkdir()
    for name in ("u1", "without-meta"):
        (tmp_path / "clips" / f"{name}.mp4").write_bytes(b"x")
    metas = {"u1": "/elsewhere/u1.mp4", "u2": "/elsewhere/u2.mp4", "u3": "more/u3.mp4"}
    for name, location in metas.items():
        said = {"span_uuid": name, "clip_location": location, "source_video": "/long.mp4", "duration_span": [3, 9]}
        (tmp_path / "metas/v0" / f"{name}.json").write_text(json.dumps(said))

    result = from_sources([str(tmp_path)]).sort("clip_id").select("clip_id", "uri").rows()

    assert result == [
        ("u1", str(tmp_path / "clips/u1.mp4")),
        ("u2", "/elsewhere/u2.mp4"),
        ("u3", str(tmp_path / "more/u3.mp4")),
        ("without-meta", str(tmp_path / "clips/without-meta.mp4")),
    ]
