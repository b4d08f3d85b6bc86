"""A condition is asked of some parts after others, so that a large run fits: the answers are those of the whole run."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import qa_runs

from colcap.export.rows import Choice as Exported
from colcap.qa import select
from colcap.qa.gallery.rows import Choice, choose
from colcap.qa.views import share_statements

CLIPS, PARTS = 12, 6


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips a part, of which the parts' order is not the ids'; a clip without windows; a failed caption a part."""
    run = tmp_path_factory.mktemp("shares") / "run"
    tables: dict[str, pl.DataFrame] = {}
    for part in range(PARTS):
        names = [f"clip-{(7 * n) % CLIPS:02d}" for n in (2 * part, 2 * part + 1)]
        clips = [{"clip_id": name, "uri": name, "part": part, "status": "ok"} for name in names]
        windows = [
            {"window_id": f"{name}:{i:05d}", "clip_id": name, "window_index": i, "status": "ok"}
            for name in names for i in range(2)
        ]  # fmt: skip
        if part == 3:
            clips.append(
                {"clip_id": "gone", "uri": "gone", "part": part, "status": "error", "error_kind": "unreadable"}
            )
        said = [
            _label(row["window_id"]) | {"caption": f"Scene {n % 19}.", "output_tokens": n, "status": "ok"}
            for n, row in enumerate(windows, 4 * part)
        ]
        said[3] |= {"caption": None, "status": "error", "error_kind": "over_context", "error": "too long"}
        tables |= {
            qa_runs.path("clips", part): qa_runs.rows("clips", clips),
            qa_runs.path("windows", part): qa_runs.rows("windows", windows),
            qa_runs.path("captions", part): qa_runs.rows("captions", said),
        }
        if part == 4:  # another set, and another attempt, which lie in files of their own
            more = [_label(windows[0]["window_id"]) | {"caption": "Other.", "status": "ok", "caption_set": "x"}]
            tables[qa_runs.path("captions", part, caption_set="x")] = qa_runs.rows("captions", more)
            again = [_label(windows[3]["window_id"]) | {"caption": "At last.", "status": "ok", "attempt": 2}]
            tables[qa_runs.path("captions", part, attempt=2)] = qa_runs.rows("captions", again)
    return qa_runs.write(run, tables)


def _label(window_id: object) -> dict[str, object]:
    return {"window_id": window_id, "caption_set": "default", "attempt": 1, "fingerprint": "f"}


def _choice(run: Path, where: str | None) -> Choice:
    return choose(run, where=where, limit=5)


@pytest.fixture
def shares(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part is a share."""
    monkeypatch.setattr(select, "SHARE_BYTES", 1)


def test_a_share_is_of_so_many_bytes(run: Path) -> None:
    total = sum(file.stat().st_size for file in run.rglob("part-*.parquet"))

    assert [len(share_statements(run, num_bytes=size)) for size in (1, total // 3 + 1, total)] == [PARTS, 3, 1]


@pytest.mark.usefixtures("shares")
def test_a_page_has_the_first_of_all_shares_and_counts_all(run: Path) -> None:
    result = _choice(run, None)

    windows = [f"clip-0{clip}:0000{index}" for clip in (0, 1, 2) for index in (0, 1)]
    assert [card.window_id for card in result.cards] == windows[:5]
    assert str(result.total) == "24 windows, 1 clip without windows"


@pytest.mark.usefixtures("shares")
def test_a_subquery_sees_the_whole_run(run: Path) -> None:
    elsewhere = "caption in (select caption from captions_latest group by caption having count(*) > 1)"
    choice = _choice(run, f"output_tokens > (select avg(output_tokens) from captions) and {elsewhere}")

    assert [(card.window_id, card.said[0].caption) for card in choice.cards] == [
        ("clip-10:00000", "Scene 1."),
        ("clip-10:00001", "Scene 2."),
    ]


@pytest.mark.usefixtures("shares")
def test_windows_to_make_again_are_of_all_shares(run: Path) -> None:
    def chosen(caption_set: str, where: str) -> list[tuple[object, ...]]:
        found = select.windows_where(run, where, caption_set=caption_set, fingerprint="f")
        return sorted(found.rows())

    assert chosen("x", "caption = 'Other.'") == [("clip-08:00000", 4, True)]
    assert chosen("y", "window_index = 1 and part > 3 and attempt = 2") == [("clip-03:00001", 4, False)]


@pytest.mark.usefixtures("shares")
def test_rows_to_export_and_failures_are_of_all_shares(run: Path) -> None:
    exported = Exported(run, "caption in ('Other.', 'Scene 1.')").chosen()
    failed = select.failures(run)

    assert exported is not None
    assert sorted(exported["window_id"]) == ["clip-00:00001", "clip-08:00000", "clip-10:00000"]
    assert sorted(failed["part"]) == [0, 1, 2, 3, 3, 5]
    assert select.without_caption(run, "x").height == 2 * CLIPS - 1
