"""Full-text search: what is found, in which order, and that the index follows the run and can always be thrown away."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import polars as pl
import pytest
import qa_runs
from click.testing import CliRunner

from colcap.cli import cli
from colcap.errors import QueryError, RunError
from colcap.qa.search import RANKED, search
from colcap.qa.search_index import FILE, FOLDER
from colcap.run_folder import Run

WINDOWS = ("a:00000", "a:00001", "b:00000")


def say(run: Path, *texts: str, part: int = 0, windows: tuple[str, ...] = WINDOWS, **where: object) -> None:
    """Write captions; `where`: caption_set, attempt."""
    rows = qa_runs.captions(list(zip(windows, texts, strict=True)), **where)  # type: ignore[arg-type]
    qa_runs.write_part(run / qa_runs.path("captions", part, **where), rows)  # type: ignore[arg-type]


def found(run: Path, words: str) -> list[str]:
    return search(run, words).rows["window_id"].to_list()


def index_of(run: Path) -> Path:
    return run / FOLDER / FILE


@pytest.fixture
def spoken(run: Path) -> Path:
    """Three captions worth searching, and one of part 1."""
    say(
        run,
        "A red circle moves left, and then the camera pans over a long, empty street with parked cars.",
        "A red circle.",
        "Left of the Café, a blue square moves. No circles here.",
    )
    return run


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("circle", ["a:00001", "b:00000", "d:00000", "a:00000"]),
        ("red circle", ["a:00001", "b:00000", "d:00000", "a:00000"]),
        ("street", ["a:00000"]),
        ("STREETS", ["a:00000"]),
        ("cafe", ["b:00000"]),
        ('"moves left"', ["a:00000"]),
        ('"left moves"', []),
        ('"moves left', ["a:00000"]),
        ("moves blue", ["b:00000"]),
        ("street square", []),
        ("zebra", []),
        ("warm", ["a:00000", "a:00001", "b:00000", "d:00000"]),
    ],
)
def test_captions_with_all_the_words_the_best_first(spoken: Path, words: str, expected: list[str]) -> None:
    result = found(spoken, words)

    assert sorted(result) == sorted(expected)
    if words == "circle":
        assert result[0] == "a:00001"


def test_rows_have_texts_and_falling_scores(spoken: Path) -> None:
    result = search(spoken, "circle", limit=2)

    assert result.hits == 4
    assert result.rows.columns == ["window_id", "caption_set", "score", "caption", "enhanced_caption"]
    assert result.rows["score"].is_sorted(descending=True)
    assert result.rows.row(0, named=True)["caption"] == "A red circle."
    assert result.rows.row(0, named=True)["enhanced_caption"].startswith("A warm red circle")


@pytest.mark.parametrize(
    "words",
    ["AND", "OR circle", "NOT", "NEAR(red circle)", "red AND", "caption:red", "{caption} : red", "-red", "^red", "red*",
     "(red", "red)", "red + circle", "a:b", "'; drop table captions --", "red\0circle", "\ud800red", "% red", "\\ red",
     '""red', "red " * 5000, '"' * 999 + "red"],
)  # fmt: skip
def test_words_are_never_operators(spoken: Path, words: str) -> None:
    search(spoken, words)

    assert found(spoken, "street") == ["a:00000"]


def test_a_word_that_looks_like_an_operator_is_a_word(spoken: Path) -> None:
    assert found(spoken, "red AND street") == ["a:00000"]
    assert found(spoken, "red OR street") == []
    assert found(spoken, "stree*") == []


@pytest.mark.parametrize("words", ["", "   ", '""', "!?", "🙂"])
def test_without_a_word_there_is_nothing_to_look_for(spoken: Path, words: str) -> None:
    with pytest.raises(QueryError, match="there is no word to look for"):
        search(spoken, words)


def test_any_run_can_be_searched(any_run: Path) -> None:
    search(any_run, "circle")


def test_the_newest_ok_attempt_counts(spoken: Path) -> None:
    assert found(spoken, "street") == ["a:00000"]

    say(spoken, "A quiet avenue.", windows=("a:00000",), attempt=2)
    failed = qa_runs.captions([("a:00001", "A zebra.")], attempt=3).with_columns(status=pl.lit("error"))
    qa_runs.write_part(spoken / qa_runs.path("captions", 0, attempt=3), failed)

    assert found(spoken, "street") == []
    assert found(spoken, "avenue") == ["a:00000"]
    assert found(spoken, "zebra") == []


def test_only_parts_that_changed_are_read_again(spoken: Path) -> None:
    search(spoken, "circle")
    unchanged = spoken / qa_runs.path("captions", 0)
    facts = unchanged.stat()
    unchanged.write_bytes(bytes(facts.st_size))  # whoever reads it now will know
    os.utime(unchanged, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    say(spoken, "A violin.", part=1, windows=("d:00000",))

    assert found(spoken, "violin") == ["d:00000"]
    assert found(spoken, "street") == ["a:00000"]


def test_an_index_that_is_current_is_not_written(spoken: Path) -> None:
    search(spoken, "circle")
    before = index_of(spoken).stat()

    search(spoken, "red")

    assert (index_of(spoken).stat().st_mtime_ns, index_of(spoken).stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_part_or_a_set_that_is_gone_is_forgotten(spoken: Path) -> None:
    say(spoken, "A violin.", windows=("a:00000",), caption_set="x")
    assert found(spoken, "violin") == ["a:00000"]

    shutil.rmtree(spoken / "captions" / "set=x")

    assert found(spoken, "violin") == []


def test_sets_are_apart(spoken: Path) -> None:
    say(spoken, "A red circle, too.", windows=("a:00000",), caption_set="x")

    result = search(spoken, "red circle").rows

    assert set(result.select("window_id", "caption_set").rows()) >= {("a:00000", "default"), ("a:00000", "x")}


def other_schema(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as index:
        index.execute("create table captions (x)")


def hostile_view(path: Path) -> None:
    with sqlite3.connect(path) as index:
        index.execute("create view evil as select load_extension('/tmp/x.so')")


DAMAGES = {
    "text": lambda path: path.write_bytes(b"not a database" * 1000),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: os.truncate(path, path.stat().st_size // 2),
    "overwritten": lambda path: path.write_bytes(path.read_bytes()[:4096] + os.urandom(path.stat().st_size - 4096)),
    "other schema": other_schema,
    "hostile view": hostile_view,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_built_again(spoken: Path, damage: str) -> None:
    search(spoken, "circle")
    DAMAGES[damage](index_of(spoken))

    assert found(spoken, "street") == ["a:00000"]
    with sqlite3.connect(index_of(spoken)) as index:
        assert index.execute("select count(*) from sqlite_master where type = 'view'").fetchone() == (0,)


def test_a_link_is_not_followed(spoken: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (spoken / FOLDER).symlink_to(tmp_path / "elsewhere")

    assert found(spoken, "street") == ["a:00000"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


SEARCH_AS_OTHER = """
import os, sys
from pathlib import Path
from colcap.qa.search import search
if os.getuid() == 0:
    os.setgid(65534), os.setuid(65534)
print(search(Path(sys.argv[1]), "street").rows["window_id"].to_list())
"""


@pytest.mark.parametrize("current", [True, False])
def test_a_run_that_cannot_be_written_is_searched(spoken: Path, tmp_path: Path, current: bool) -> None:
    if current:
        search(spoken, "circle")
    for folder in [spoken.parent, *spoken.parents]:
        if folder.name.startswith(("pytest", "popen", "test_")):
            folder.chmod(0o755)
    spoken.chmod(0o555)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o777)
    command = [sys.executable, "-c", SEARCH_AS_OTHER, str(spoken)]

    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    )

    assert result.stdout.strip() == "['a:00000']", result.stderr
    assert [path.name for path in spoken.glob(".search")] == ([FOLDER] if current else [])
    kept = list((tmp_path / "tmp").rglob(FILE))
    assert len(kept) == (0 if current else 1)
    assert all(path.parent.parent.stat().st_mode & 0o077 == 0 for path in kept)


def test_a_part_that_cannot_be_read_is_told(spoken: Path) -> None:
    (spoken / qa_runs.path("captions", 1)).write_bytes(b"PAR1")

    with pytest.raises(RunError, match="captions of part 1 cannot be read"):
        search(spoken, "circle")


def test_searches_at_once_build_one_index(spoken: Path) -> None:
    results: list[list[str]] = []
    threads = [threading.Thread(target=lambda: results.append(found(spoken, "street"))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [["a:00000"]] * 6
    assert search(spoken, "circle").hits == 4


def test_more_hits_than_are_ranked(spoken: Path) -> None:
    names = tuple(f"a:{number:05d}" for number in range(RANKED + 500))
    say(spoken, *("A red circle moves." for _ in names), windows=names)

    result = search(spoken, "circle", limit=7)

    assert result.hits == RANKED + 501
    assert result.rows.height == 7


def test_the_method_and_the_command(spoken: Path) -> None:
    result = CliRunner().invoke(cli, ["search", str(spoken), "red", "circle", "--limit", "1", "--format", "csv"])

    assert Run(spoken).search("red circle", limit=1)["window_id"].to_list() == ["a:00001"]
    assert result.exit_code == 0, result.output
    assert "a:00001,default" in result.stdout


def test_the_command_shows_no_column_of_enhancements_where_there_are_none(
    spoken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(spoken / "enhanced")

    cli(["search", str(spoken), "red", "circle"], standalone_mode=False)

    assert "enhanced_caption" not in capsys.readouterr().out
