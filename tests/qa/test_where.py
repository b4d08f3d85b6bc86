"""A wrong condition is told to its writer as he wrote it: nothing of the query around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import qa_runs

from colcap.errors import QueryError
from colcap.export.rows import Choice
from colcap.qa.gallery.rows import choose
from colcap.qa.select import failures, windows_where

OURS = ("everything", "select *", "coalesce", "window_status", "))", "LINE 3", "LINE 4")
"""What the queries around a condition have in them."""

ASKED: dict[str, Callable[[Path, str], object]] = {
    "gallery": lambda run, where: choose(run, where=where),
    "export": lambda run, where: Choice(run, where).chosen(),
    "caption": lambda run, where: windows_where(run, where, caption_set="default", fingerprint="f"),
    "retry": failures,
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_a_column_that_is_not_there_is_pointed_at(run: Path, ask: Callable[[Path, str], object]) -> None:
    with pytest.raises(QueryError) as told:
        ask(run, "1 = 1 and\n  captoin = 'x' -- or so")

    text = str(told.value)
    assert text.startswith('Binder Error: Referenced column "captoin" not found')
    assert text.endswith("LINE 2:   captoin = 'x' -- or so\n          ^^^^^^^")
    assert not [word for word in OURS if word in text]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("e.caption = 'a'", "Binder Error: Referenced table \"e\" not found!\n\nLINE 1: e.caption = 'a'\n        ^"),
        ("start_s = 'abc'", "Conversion Error: Could not convert string 'abc' to DOUBLE\n\nLINE 1: start_s = 'abc'\n"),
        ("finish_reason = 'length", "unterminated string literal\n\nin the condition: finish_reason = 'length"),
        ("status = (", 'syntax error at or near "("\n\nin the condition: status = ('),
        ("finish_reason ==", 'syntax error at or near "=="'),
        ("a) or (b", 'syntax error at or near ")"'),
        ("true limit 1", "it holds a modifier"),
        ("true; copy clips to 'x'", "more than one statement"),
        ("", "in the condition: "),
    ],
)
def test_a_mistake_is_told_in_the_writers_words(run: Path, where: str, said: str) -> None:
    with pytest.raises(QueryError) as told:
        choose(run, where=where)

    assert said in str(told.value)
    assert not [word for word in OURS if word in str(told.value)]


def test_a_set_of_some_windows_can_be_given_the_others(tmp_path: Path) -> None:
    tables = qa_runs.full()
    tables[qa_runs.path("captions", 1, caption_set="short")] = qa_runs.captions(
        [("d:00000", "Red.")], caption_set="short"
    )
    run = qa_runs.write(tmp_path / "run", tables)

    found = windows_where(run, "start_s = 0", caption_set="short", fingerprint=qa_runs.FINGERPRINT)

    assert dict(found.select("window_id", "is_there").iter_rows()) == {
        "a:00000": False, "b:00000": False, "d:00000": True
    }  # fmt: skip


def test_a_comment_or_a_bracket_in_a_text_is_no_mistake(run: Path) -> None:
    assert failures(run, "error <> 'a) or (b' -- and so on").height == 2


@pytest.mark.parametrize("ask", [ASKED["export"], ASKED["retry"]], ids=["export", "retry"])
def test_a_condition_only_reads_the_run(run: Path, ask: Callable[[Path, str], object]) -> None:
    with pytest.raises(QueryError, match="file system operations are disabled"):
        ask(run, "exists (from read_text('/etc/passwd'))")


def test_a_condition_is_not_told_of_a_flag_that_its_command_has_not(run: Path) -> None:
    with pytest.raises(QueryError, match="windows_mp4 does not exist") as told:
        failures(run, "exists (from windows_mp4)")

    assert "--blobs" not in str(told.value)
