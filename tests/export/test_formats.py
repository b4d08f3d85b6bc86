"""What each format holds, read back by the library that people would use."""

from __future__ import annotations

import datetime
import json
from contextlib import closing
from pathlib import Path

import datasets
import polars as pl
import pyarrow as pa
import pytest
import qa_runs
import webdataset

import colcap
from colcap.errors import ConfigError, ManifestError, QueryError
from colcap.export import export
from colcap.export.curator import previews_folder
from colcap.export.rows import ROWS
from colcap.manifests import check_columns
from colcap.qa.connect import connect
from colcap.qa.queries import ask
from colcap.qa.select import EVERYTHING, ask_where

WINDOWS = ["a:00000", "a:00001", "b:00000", "d:00000"]


def lines(folder: Path) -> list[dict[str, object]]:
    return [
        json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().split("\n") if line
    ]


def samples(folder: Path) -> list[dict[str, bytes]]:
    shards = [str(path) for path in sorted(folder.glob("*.tar"))]
    return list(webdataset.WebDataset(shards, shardshuffle=False))


def test_jsonl_has_a_line_for_every_window_and_every_failure(run: Path, tmp_path: Path) -> None:
    done = export(run, tmp_path / "out", form="jsonl")
    result = lines(tmp_path / "out")

    assert [row["window_id"] for row in result] == ["a:00000", "a:00001", "b:00000", None, "d:00000"]
    assert [row["status"] for row in result] == ["ok", "ok", "error", "error", "ok"]
    assert result[0]["caption"] == "A red circle moves, number a:00000."
    assert result[0]["enhanced_caption"] == "A warm red circle moves, and more, number a:00000."
    assert (result[1]["start_frame"], result[1]["end_frame"]) == (256, 455)
    assert result[2]["errors"] == [
        {"step": "preview", "status": "error", "error_kind": "encode_failed", "error": "no room"}
    ]
    assert result[3]["errors"][0]["error"] == "no such file"  # type: ignore[index]
    assert "title" in result[4]  # the manifest's own
    assert done.counts == {
        "rows": 5,
        "from_clips": 4,
        "from_windows": 4,
        "rows_error": 2,
        "rows_ok": 3,
        "lines": 5,
    }


def test_parquet_opens_with_datasets_and_carries_bytes(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", form="parquet", media="both")

    files = [str(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    found = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))

    assert found["window_id"][:] == ["a:00000", "a:00001", "b:00000", None, "d:00000"]
    assert found["mp4"][4] == b"mp4 of d:00000" * 10
    assert [webp is None for webp in found["webp"]] == [False, False, True, True, False]
    video = found.cast_column("mp4", datasets.Video(decode=False))
    assert video[4]["mp4"] == {"bytes": b"mp4 of d:00000" * 10, "path": None}


def test_a_folder_of_parquet_is_a_dataset_by_itself(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", form="parquet")

    found = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))

    assert found.num_rows == 5
    assert pl.read_parquet(tmp_path / "out" / "*.parquet").height == 5


def test_webdataset_opens_with_webdataset(run: Path, tmp_path: Path) -> None:
    done = export(run, tmp_path / "out", form="webdataset")
    result = samples(tmp_path / "out")

    assert [sample["__key__"] for sample in result] == ["a-00000", "a-00001", "b-00000", "d-00000"]
    assert [sample["mp4"] for sample in result] == [f"mp4 of {name}".encode() * 10 for name in WINDOWS]
    assert [sample["txt"].decode() for sample in result] == [f"A red circle moves, number {n}." for n in WINDOWS]
    assert [json.loads(sample["json"])["window_id"] for sample in result] == WINDOWS
    assert (done.counts["samples"], done.counts["left_out"]) == (4, 1)


def test_webdataset_takes_previews_where_windows_are_not_stored(tmp_path: Path) -> None:
    lean = {name: frame for name, frame in qa_runs.full().items() if not name.startswith("windows_mp4")}
    run = qa_runs.write(tmp_path / "run", lean)

    with pytest.raises(ConfigError, match=r"no-store-mp4.*--media webp"):
        export(run, tmp_path / "out", form="webdataset")
    done = export(run, tmp_path / "out", form="webdataset", media="webp")

    assert [sample["__key__"] for sample in samples(tmp_path / "out")] == ["a-00000", "a-00001", "d-00000"]
    assert done.counts["left_out"] == 2


def test_the_curator_tree_has_the_references_fields(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(run, out, form="curator")
    a, b, gone = (json.loads((out / f"metas/v0/{name}.json").read_text()) for name in ("a", "b", "gone"))

    assert list(a) == [
        "span_uuid",
        "source_video",
        "duration_span",
        "width_source",
        "height_source",
        "framerate_source",
        "clip_location",
        "windows",
        "errors",
        "valid",
    ]
    assert a["windows"][1] == {
        "start_frame": 256,
        "end_frame": 455,
        "tiny_caption": "A red circle moves, number a:00001.",
        "qwen_lm_enhanced_caption": "A warm red circle moves, and more, number a:00001.",
    }
    assert (a["span_uuid"], a["source_video"], a["duration_span"]) == ("a", "/clips/a.mp4", [0.0, 15.2])
    assert (a["width_source"], a["height_source"], a["framerate_source"]) == (64, 48, 30.0)
    assert (a["errors"], a["valid"]) == ({}, True)
    assert (b["errors"], b["valid"]) == ({"preview 0_89": "encode_failed: no room"}, True)
    assert (gone["errors"], gone["valid"], gone["windows"]) == ({"clip": "unreadable: no such file"}, False, [])
    assert sorted(path.name for path in previews_folder(out, "a").iterdir()) == ["0_255.webp", "256_455.webp"]
    assert (previews_folder(out) / "d" / "0_99.webp").read_bytes() == b"webp of d:00000" * 10
    assert not (out / "clips").exists()


def test_a_condition_may_only_read(run: Path, tmp_path: Path) -> None:
    for wrong in ("nonsense = 1", "true) union all select * from read_csv('/etc/passwd') --", "1=1; drop view clips"):
        with pytest.raises(QueryError):
            export(run, tmp_path / "other", form="jsonl", where=wrong)
    assert not (tmp_path / "other").exists()


def test_a_condition_sees_the_whole_run(run: Path, tmp_path: Path) -> None:
    longest = "num_frames = (select max(num_frames) from windows) -- of all parts"
    colcap.open(run).export(tmp_path / "out", format="jsonl", where=longest)

    assert [row["window_id"] for row in lines(tmp_path / "out")] == ["a:00000"]


@pytest.fixture
def two_sets(tmp_path: Path) -> Path:
    """Captions in sets `default` and `short`; in `short` only those of part 1."""
    tables = qa_runs.full()
    tables[qa_runs.path("captions", 1, caption_set="short")] = qa_runs.captions(
        [("d:00000", "Red.")], caption_set="short"
    )
    return qa_runs.write(tmp_path / "run", tables)


def test_several_sets_are_rows_of_their_own_or_one_is_chosen(two_sets: Path, tmp_path: Path) -> None:
    export(two_sets, tmp_path / "all", form="jsonl", where="clip_id = 'd'")
    export(two_sets, tmp_path / "one", form="webdataset", caption_set="short")

    assert [(row["caption_set"], row["caption"]) for row in lines(tmp_path / "all")] == [
        ("default", "A red circle moves, number d:00000."),
        ("short", "Red."),
    ]
    assert [sample.get("txt") for sample in samples(tmp_path / "one")] == [b"Red."]
    with pytest.raises(ConfigError, match="several sets: --set default or short"):
        export(two_sets, tmp_path / "two", form="curator")
    with pytest.raises(QueryError, match="no captions in set 'x'"):
        export(two_sets, tmp_path / "two", form="jsonl", caption_set="x")


def test_a_condition_loses_no_window_that_the_set_lacks(two_sets: Path, tmp_path: Path) -> None:
    for name, where in (("all", None), ("chosen", "clip_id is not null")):
        export(two_sets, tmp_path / name, form="jsonl", caption_set="short", where=where)

    assert len(lines(tmp_path / "all")) == 5
    assert lines(tmp_path / "chosen") == lines(tmp_path / "all")


def test_an_enhancement_of_another_attempt_is_not_beside_the_caption(tmp_path: Path) -> None:
    tables = qa_runs.full()
    tables[qa_runs.path("captions", 1, attempt=2)] = qa_runs.captions([("d:00000", "Blue.")], attempt=2)
    run = qa_runs.write(tmp_path / "run", tables)

    export(run, tmp_path / "out", form="jsonl", where="clip_id = 'd'")

    [row] = lines(tmp_path / "out")
    assert (row["caption"], row["attempt"], row["enhanced_caption"]) == ("Blue.", 2, None)


def test_no_column_of_a_manifest_stands_in_the_way(run: Path) -> None:
    """Every name that an export or a condition gives a column of ours is refused as one of a manifest's own."""
    with closing(connect(run)) as connection:
        exported = ask(connection, ROWS, params={"caption_set": None}).columns
    asked = ask_where(run, "select * from ({matching})", rows=EVERYTHING, where=None, params={"of_set": None}).columns

    names = {*exported, *asked} - {"num_bytes", *pl.read_parquet_schema(run / "manifest.parquet")} | {"part"}
    assert len(names) > 40
    for name in sorted(names):
        with pytest.raises(ManifestError, match="rename these columns"):
            check_columns(pa.schema([("uri", pa.string()), (name, pa.int64())]), Path("m.parquet"))


@pytest.mark.parametrize("form", ["curator", "webdataset", "jsonl", "parquet"])
def test_a_run_without_previews_and_captions_is_exported_too(form: str, tmp_path: Path) -> None:
    tables = {name: frame for name, frame in qa_runs.media().items() if not name.startswith("previews")}
    run = qa_runs.write(tmp_path / "run", tables)

    done = export(run, tmp_path / "out", form=form)

    assert (done.counts["rows"], done.counts["from_windows"]) == (5, 4)


def test_text_with_odd_line_ends_stays_one_line(tmp_path: Path) -> None:
    tables = qa_runs.full()
    tables[qa_runs.path("captions", 1)] = qa_runs.captions([("d:00000", 'a\u2028b\x85c\n"d"\x1b')])
    run = qa_runs.write(tmp_path / "run", tables)

    export(run, tmp_path / "out", form="jsonl")
    result = (tmp_path / "out" / "part-000001.jsonl").read_text().splitlines()

    assert [json.loads(line)["caption"] for line in result] == ['a\u2028b\x85c\n"d"\x1b']


@pytest.mark.parametrize("form", ["curator", "webdataset", "jsonl", "parquet"])
def test_own_columns_of_any_type_go_along(form: str, tmp_path: Path) -> None:
    tables = qa_runs.full()
    own = {"raw": b"\xff\x00", "nan": float("nan"), "day": datetime.date(2026, 1, 2), "tags": ["a"]}
    columns = [pl.lit(value, allow_object=False).alias(name) for name, value in own.items() if name != "tags"]
    for part in (0, 1):
        name = qa_runs.path("clips", part)
        tables[name] = tables[name].with_columns(*columns, tags=pl.concat_list(pl.lit("a")))
    run = qa_runs.write(tmp_path / "run", tables)
    clips = pl.concat([tables[qa_runs.path("clips", part)] for part in (0, 1)])
    clips.select("clip_id", "uri", "part", *own).write_parquet(run / "manifest.parquet")

    done = export(run, tmp_path / "out", form=form)

    assert done.counts["rows"] == 5
    if form == "jsonl":
        row = lines(tmp_path / "out")[0]
        assert [row[name] for name in own] == ["/wA=", None, "2026-01-02", ["a"]]
