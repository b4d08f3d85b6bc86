"""The named queries run on any run, and each finds what it is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest
import qa_runs

from colcap.errors import QueryError
from colcap.qa.named import find, named_queries, parse
from colcap.qa.queries import ask
from colcap.schema import TIMINGS

Edit = Callable[[Path], None]
NAMES = list(named_queries())


@pytest.mark.parametrize("name", NAMES)
def test_a_named_query_runs_on_any_run(any_run: Path, name: str) -> None:
    result = ask(any_run, f"@{name}")

    assert result.width > 0


@pytest.mark.parametrize("name", [name for name in NAMES if named_queries()[name].is_check and name != "failures"])
def test_a_check_finds_nothing_in_sound_captions(run: Path, name: str) -> None:
    assert ask(run, f"@{name}").rows() == []


@pytest.mark.parametrize("name", NAMES)
def test_a_named_query_is_one_select_with_all_its_parameters(name: str) -> None:
    query = find(name)

    (statement,) = duckdb.extract_statements(query.sql)

    assert statement.type == duckdb.StatementType.SELECT
    assert statement.named_parameters == {param.name for param in query.params}
    assert query.title.endswith(".")


@pytest.mark.parametrize("name", [name for name in NAMES if "caption_set" in {p.name for p in find(name).params}])
def test_a_caption_set_that_is_not_there_has_no_rows(run: Path, name: str) -> None:
    assert ask(run, f"@{name}", params={"caption_set": "none"}).rows() == []


def say(*texts: str, windows: tuple[str, ...] = ("a:00000", "a:00001", "b:00000"), **columns: object) -> Edit:
    """Replace the captions of part 0."""

    def edit(run: Path) -> None:
        rows = qa_runs.captions(list(zip(windows, texts, strict=True)))
        values = [pl.lit(value).cast(rows.schema[name]).alias(name) for name, value in columns.items()]
        qa_runs.write_part(run / qa_runs.path("captions", 0), rows.with_columns(values))

    return edit


def another_set(run: Path) -> None:
    rows = qa_runs.captions([("a:00000", "A red circle moves, number a:00000."), ("b:00000", "Else.")], caption_set="x")
    qa_runs.write_part(run / qa_runs.path("captions", 0, caption_set="x"), rows)


def another_attempt(run: Path) -> None:
    rows = qa_runs.captions([("b:00000", "Better.")], attempt=2)
    qa_runs.write_part(run / qa_runs.path("captions", 0, attempt=2), rows)


def nothing(run: Path) -> None:
    pass


LOOP = "the car turns left and " * 9
GOOD = "A blue star rises slowly over a plain gray background."
LONG = (
    "In the early morning a delivery van stops beside the market hall, its driver unloads two crates of oranges, "
    "waves, and leaves while rain falls."
)
OTHER = "Two green squares shrink on a white background."


def time_parts(run: Path) -> None:
    """Two parts whose media work took one and two seconds."""
    (run / "timings").mkdir()
    for part in (0, 1):
        row = (part, 1, "media", part + 1.0, None, 3, 10)
        pl.DataFrame([row], schema=TIMINGS, orient="row").write_parquet(run / "timings" / f"part-{part:06d}.parquet")


def see(run: Path) -> None:
    """Previews of part 0: a dark one, a still one, and one that failed."""
    file = run / qa_runs.path("previews", 0)
    seen = [pl.Series("mean_luma", [3.0, 90.0, None]), pl.Series("motion", [4.0, 0.05, None])]
    qa_runs.write_part(file, pl.read_parquet(file).with_columns(seen))


FOUND: dict[str, tuple[str, Edit, dict[str, object], list[str], list[tuple[object, ...]]]] = {
    # what is found: (query, damage, parameters, columns of the answer, its rows)
    "cut off": (
        "truncated", say(GOOD, OTHER, "A car", finish_reason="length"), {}, ["window_id", "output_tokens"],
        [("a:00000", 12), ("a:00001", 12), ("b:00000", 12)],
    ),
    "cut off, few tokens": (
        "truncated", say(GOOD, OTHER, "A car", finish_reason="length"), {"min_tokens": "13"}, ["window_id"], [],
    ),
    "unfinished": (
        "truncated", say(GOOD, 'He says "stop."', "A car that"), {"unfinished": "true"}, ["window_id"], [("b:00000",)],
    ),
    "short": ("lengths", say(GOOD, OTHER, "A car."), {}, ["window_id", "problem"], [("b:00000", "short")]),
    "long": ("lengths", say(GOOD, OTHER, LOOP), {"max_chars": "200"}, ["window_id", "problem"], [("b:00000", "long")]),
    "loop": ("repetition", say(GOOD, LOOP, OTHER), {}, ["window_id", "ratio", "words"], [("a:00001", 0.884, 45)]),
    "loop of one word": (
        "repetition", say(GOOD, "no no no no no no", ""), {}, ["window_id", "ratio"], [("a:00001", 0.75)],
    ),
    "same text in clips": (
        "duplicates", say(GOOD, OTHER, GOOD), {}, ["clips", "windows", "first_window_id", "last_window_id"],
        [(2, 2, "a:00000", "b:00000")],
    ),
    "same text in one clip": ("duplicates", say(GOOD, GOOD, OTHER), {}, ["caption"], []),
    "same words": (
        "near_duplicates", say("A red car, a dog runs.", OTHER, "A dog, RED car runs!"), {},
        ["similarity", "window_id", "other_window_id"], [(1.0, "b:00000", "a:00000")],
    ),
    "nearly the same words": (
        "near_duplicates", say(LONG, OTHER, LONG.replace("two", "three")), {},
        ["similarity", "caption", "other_caption"], [(0.92, LONG.replace("two", "three"), LONG)],
    ),
    "not similar enough": (
        "near_duplicates", say(LONG, OTHER, LONG.replace("two", "three")), {"min_similarity": "0.93"}, ["caption"], [],
    ),
    "similar in one clip": ("near_duplicates", say(LONG, LONG.replace("two", "three"), OTHER), {}, ["caption"], []),
    "one shorter": (
        "enhanced_shorter", say(GOOD, OTHER, LONG), {}, ["window_id", "growth"],
        [("b:00000", 0.35), ("a:00000", 0.926)],
    ),
    "none half as long again": (
        "enhanced_shorter", nothing, {"min_growth": "1.5"}, ["growth"], [(1.429,), (1.429,), (1.429,), (1.429,)],
    ),
    "failures": (
        "failures", nothing, {}, ["table_name", "id", "caption_set", "error_kind", "error"],
        [
            ("clips", "gone", None, "unreadable", "no such file"),
            ("previews", "b:00000", None, "encode_failed", "no room"),
        ],
    ),
    "failures of a kind": ("failures", nothing, {"error_kind": "unreadable"}, ["id"], [("gone",)]),
    "dark": ("dark", see, {}, ["window_id", "mean_luma"], [("a:00000", 3.0)]),
    "frozen": ("frozen", see, {}, ["window_id", "motion"], [("a:00001", 0.05)]),
    "stuck": (
        "stuck_neighbours", say(GOOD, GOOD, OTHER), {}, ["clip_id", "windows", "first_window_id", "start_s", "caption"],
        [("a", 2, "a:00000", 0.0, GOOD)],
    ),
    "stuck, three wanted": ("stuck_neighbours", say(GOOD, GOOD, OTHER), {"min_windows": 3}, ["clip_id"], []),
    "opening": (
        "boilerplate",
        say(f"The video shows {GOOD}", f"The video shows {OTHER}", "The video shows it."),
        {"words": 3, "min_windows": 3}, ["opening", "windows", "share"], [("The video shows", 3, 0.75)],
    ),
    "refusal": (
        "refusals", say(GOOD, OTHER, "I'm sorry, I can't see the video."), {}, ["window_id", "words"],
        [("b:00000", "I'm sorry")],
    ),
    "errors": (
        "errors", nothing, {}, ["table_name", "error_kind", "rows", "example_id", "example"],
        [("clips", "unreadable", 1, "gone", "no such file"), ("previews", "encode_failed", 1, "b:00000", "no room")],
    ),
    "failed captions": (
        "errors",
        say("", "", "", status="error", error_kind="over_context", error="too long"),
        {}, ["table_name", "error_kind", "rows"],
        [("clips", "unreadable", 1), ("previews", "encode_failed", 1), ("captions", "over_context", 3)],
    ),
    "skipped": (
        "errors", say("", "", "", status="skipped", error_kind="too_short", error="short"), {"skipped": "false"},
        ["table_name"], [("clips",), ("previews",)],
    ),
    "warnings": (
        "warnings", say(GOOD, OTHER, LONG, warning="frames were shrunk"), {}, ["table_name", "warning", "rows"],
        [("captions", "frames were shrunk", 3), ("previews", "lower target_height", 3)],
    ),
    "sets": (
        "compare_sets", another_set, {}, ["window_id", "left_set", "right_set", "same", "right_caption"],
        [("b:00000", "default", "x", False, "Else.")],
    ),
    "sets, all rows": (
        "compare_sets", another_set, {"only_different": "false", "left": "x", "right": "default"},
        ["window_id", "same"], [("a:00000", True), ("b:00000", False)],
    ),
    "attempts": (
        "attempts", another_attempt, {}, ["window_id", "attempts", "counts", "caption"], [("b:00000", 2, 2, "Better.")],
    ),
    "coverage": (
        "coverage", another_set, {}, ["step", "caption_set", "rows", "ok", "skipped", "errors", "missing"],
        [
            ("clips", None, 4, 3, 0, 1, None), ("windows", None, 4, 4, 0, 0, 0), ("previews", None, 4, 3, 0, 1, 0),
            ("captions", "default", 4, 4, 0, 0, 0), ("captions", "x", 2, 2, 0, 0, 2),
            ("enhanced", "default", 4, 4, 0, 0, 0),
        ],
    ),
    "captions": (
        "captions", nothing, {"contains": "B:0"}, ["window_id", "clip_id", "uri", "start_s", "end_s", "caption"],
        [("b:00000", "b", "/clips/b.mp4", 0.0, 3.0, "A red circle moves, number b:00000.")],
    ),
    "tokens": (
        "tokens", another_attempt, {}, ["step", "rows", "prompt_tokens", "output_tokens", "p95_output"],
        [("captions", 5, 500, 60, 12), ("enhanced", 4, 400, 48, 12)],
    ),
    "words": ("words", say(GOOD, GOOD, OTHER), {"limit": "2"}, ["word", "captions"], [("background", 3), ("blue", 2)]),
    "clips": ("clips", nothing, {}, ["codec", "clips", "windows", "seconds"], [("h264", 3, 4, 21.5)]),
    "throughput": ("throughput", time_parts, {}, ["stage", "parts", "rows", "wall_s"], [("media", 2, 6, 3.0)]),
    "enhanced": ("enhanced", nothing, {"limit": 1}, ["window_id", "growth"], [("a:00000", 1.43)]),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_a_query_finds_what_it_is_for(run: Path, case: str) -> None:
    name, damage, params, columns, expected = FOUND[case]
    damage(run)

    result = ask(run, f"@{name}", params=params).select(columns)

    assert result.rows() == expected


def test_every_query_is_tried() -> None:
    assert {name for name, *_ in FOUND.values()} == set(NAMES)


def test_minhash_finds_similar_captions_and_little_else(run: Path) -> None:
    words = [f"word{number}" for number in range(4000)]
    texts = [" ".join(words[40 * i : 40 * i + 40]) for i in range(90)]
    texts += [text.replace(f"word{40 * i} ", "else ") for i, text in enumerate(texts[:45])]
    names = [f"{'ad'[i >= 90]}:{i:05d}" for i in range(len(texts))]
    windows = [
        {"window_id": name, "clip_id": name[0], "window_index": i, "status": "ok"} for i, name in enumerate(names)
    ]
    qa_runs.write_part(run / qa_runs.path("windows", 0), qa_runs.rows("windows", windows))
    qa_runs.write_part(run / qa_runs.path("captions", 0), qa_runs.captions(list(zip(names, texts, strict=True))))

    result = ask(run, "@near_duplicates")

    found = set(result.select("other_window_id", "window_id").iter_rows())
    assert found <= {(names[i], names[90 + i]) for i in range(45)}
    assert len(found) >= 43


def test_the_list_of_queries(run: Path) -> None:
    result = ask(run, "@")

    assert result["name"].to_list() == NAMES
    assert result.filter(name="lengths").row(0)[1:] == (
        "check",
        "Captions that are suspiciously short or long.",
        'caption_set="" min_chars=20 max_chars=4000',
    )


@pytest.mark.parametrize(
    ("sql", "params", "expected"),
    [
        ("@truncatd", {}, "there is no query @truncatd; did you mean truncated?"),
        ("@zzzzzzzz", {}, "there is no query @zzzzzzzz; there are: attempts, "),
        ("@../../etc/passwd", {}, "there is no query"),
        ("@lengths", {"min_char": "1"}, "@lengths has no parameter min_char; did you mean min_chars?"),
        ("@lengths", {"min_chars": "many"}, "parameter min_chars must be a whole number, got 'many'"),
        ("@lengths", {"min_chars": "1); drop view clips"}, "must be a whole number"),
        ("@repetition", {"min_ratio": "x"}, "parameter min_ratio must be a number, got 'x'"),
        ("@truncated", {"unfinished": "maybe"}, "parameter unfinished must be true or false, got 'maybe'"),
    ],
)
def test_a_wrong_call_is_told(run: Path, sql: str, params: dict[str, str], expected: str) -> None:
    with pytest.raises(QueryError) as refused:
        ask(run, sql, params=params)

    assert expected in str(refused.value)


@pytest.mark.parametrize(
    "text", ["select 1", "-- Title.\nselect 1", "-- kind = check\nselect 1", "-- T.\n-- kind = check"]
)
def test_a_file_without_its_header_is_refused(text: str) -> None:
    with pytest.raises(QueryError, match="needs a sentence, a kind and a SELECT"):
        parse("x", text)


@pytest.mark.parametrize(
    "text", ["-- T.\n-- kind = check\nselect 1", "-- T.\n-- kind = report\n-- threshold = 0 : rows\nselect 1"]
)
def test_checks_alone_have_a_threshold(text: str) -> None:
    with pytest.raises(QueryError, match="a check needs a threshold, and nothing else has one"):
        parse("x", text)
