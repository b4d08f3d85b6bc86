"""The folder of an export: refused where it is another's, gone on with where it stopped, the same bytes twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest
import qa_runs
from disks import fill, small_disk
from hashing import hashes

from colcap.errors import ColcapError, ConfigError, RunError
from colcap.export import export
from colcap.export.folder import NOTES, opened
from colcap.export.names import Names, alike

FORMS = ["curator", "webdataset", "jsonl", "parquet"]


def content(folder: Path) -> dict[str, str]:
    return hashes(folder, without=NOTES)


def times(folder: Path) -> dict[str, int]:
    return {name: (folder / name).stat().st_mtime_ns for name in content(folder)}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows_give_the_same_bytes(form: str, run: Path, tmp_path: Path) -> None:
    first = export(run, tmp_path / "one", form=form)
    second = export(run, tmp_path / "two", form=form)

    assert content(tmp_path / "one") == content(tmp_path / "two") != {}
    assert first.counts == second.counts


@pytest.mark.parametrize("form", FORMS)
def test_finished_parts_are_kept_and_changed_ones_are_written_anew(form: str, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = export(run, out, form=form)
    before = times(out)

    again = export(run, out, form=form)
    kept = times(out)
    later = qa_runs.captions([("d:00000", "A blue square.")], attempt=2)
    qa_runs.write(run, {qa_runs.path("captions", 1, attempt=2): later})
    changed = export(run, out, form=form)

    assert kept == before
    assert (again.kept, again.parts, again.counts) == (2, 2, first.counts)
    assert changed.kept == 1
    rewritten = {name for name, when in times(out).items() if when != before[name]}
    assert rewritten
    assert all("000001" in name or "d" in Path(name).parts[-1] or "/d/" in name for name in rewritten)


def test_what_is_missing_or_short_is_written_again(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(run, out, form="curator")
    before = content(out)
    (out / "previews/d/0_99.webp").unlink()
    (out / "metas/v0/a.json").write_text("{")

    export(run, out, form="curator")

    assert content(out) == before


def test_what_a_part_no_longer_has_is_taken_away(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(run, out, form="curator")
    for table in ("previews", "previews_webp"):
        qa_runs.write(run, {qa_runs.path(table, 1): qa_runs.rows(table, [])})

    export(run, out, form="curator")

    assert not (out / "previews/d/0_99.webp").exists()
    assert (out / "previews/a/0_255.webp").exists()


def test_a_folder_of_others_is_refused_and_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")

    for name, told in (("mine", "is not empty"), ("file", "is not a folder"), ("run", "is not empty")):
        with pytest.raises(ConfigError, match=told):
            export(run, tmp_path / name, form="jsonl")
    assert content(tmp_path / "mine") == {"thesis.txt": hashlib.sha256(b"x").hexdigest()}
    with pytest.raises(RunError):
        export(tmp_path / "no-run", tmp_path / "out", form="jsonl")


def test_another_export_is_refused(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", form="jsonl")

    with pytest.raises(ConfigError, match="format: 'jsonl' then, 'parquet' now"):
        export(run, tmp_path / "out", form="parquet")
    with pytest.raises(ConfigError, match="where: None then, 'false' now"):
        export(run, tmp_path / "out", form="jsonl", where="false")


def test_two_exports_at_once_are_refused(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "out", form="jsonl")
    asked = json.loads((tmp_path / "out" / NOTES / "export.json").read_text())

    with opened(tmp_path / "out", asked), pytest.raises(ConfigError, match="another colcap process"):
        export(run, tmp_path / "out", form="jsonl")


def test_notes_that_point_outside_are_not_followed(run: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("x")
    export(run, tmp_path / "out", form="jsonl")
    note = {"digest": "", "files": {"../victim": 1}, "counts": {}}
    (tmp_path / "out" / NOTES / "part-000000.json").write_text(json.dumps(note))

    export(run, tmp_path / "out", form="jsonl")

    assert victim.exists()


HOSTILE = [
    "../x",
    "/etc/passwd",
    "..",
    ".",
    ".hidden",
    "a\x00b",
    "a\nb",
    "\x1b[2J",
    "CON",
    "nul.txt",
    "Street",
    "street",
    "C:\\x",
    "a:b",
    "dot.",
    "x" * 500,
    "straße",
    "",
    " ",
    "a/../../b",
    "\u202etxt.exe",
]


@pytest.mark.parametrize("form", ["curator", "webdataset"])
def test_ids_of_strangers_stay_inside_and_apart(form: str, tmp_path: Path) -> None:
    tables: qa_runs.Tables = {}
    clips = [{"clip_id": i, "uri": "/x.mp4", "part": 0, "num_windows": 1, "status": "ok"} for i in HOSTILE]
    windows = [
        {"window_id": f"{i}:00000", "clip_id": i, "window_index": 0, "start_frame": 0, "end_frame": 9, "mp4_bytes": 1}
        for i in HOSTILE
    ]
    tables[qa_runs.path("clips", 0)] = qa_runs.rows("clips", clips)  # type: ignore[arg-type]
    tables[qa_runs.path("windows", 0)] = qa_runs.rows("windows", [w | {"status": "ok"} for w in windows])
    blobs = [{"window_id": w["window_id"], "mp4": b"x"} for w in windows]
    tables[qa_runs.path("windows_mp4", 0)] = qa_runs.rows("windows_mp4", blobs)
    run = qa_runs.write(tmp_path / "deep" / "run", tables, with_manifest=False)
    pl.DataFrame({"clip_id": HOSTILE}).write_parquet(run / "manifest.parquet")
    before = content(tmp_path)

    export(run, tmp_path / "deep" / "out", form=form)
    after = content(tmp_path)

    assert all(name.startswith("deep/out/") for name in set(after) - set(before))
    assert {name: after[name] for name in before} == before
    if form == "curator":
        metas = list((tmp_path / "deep/out/metas/v0").iterdir())
        assert sorted(json.loads(path.read_text())["span_uuid"] for path in metas) == sorted(HOSTILE)
        assert len({path.name.lower() for path in metas}) == len(HOSTILE)


def test_no_id_can_be_chosen_to_become_anothers_name() -> None:
    names = Names(alike(["A", "a"]))

    first = names("A")

    assert names(first) != first
    assert names("A") != names("a")


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_is_told_and_the_same_command_goes_on_once_there_is_room(
    form: str, run: Path, tmp_path: Path
) -> None:
    whole = export(run, tmp_path / "whole", form=form)
    with small_disk(tmp_path / "disk", 1) as disk:
        out = disk / "out"
        out.mkdir()
        ballast = fill(disk)
        with pytest.raises(ColcapError, match="no room to write"):
            export(run, out, form=form)
        ballast.unlink()
        again = export(run, out, form=form)

        assert content(out) == content(tmp_path / "whole")
        assert again.counts == whole.counts
