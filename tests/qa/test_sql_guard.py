"""SQL of strangers: what is refused, and that refusing leaves no trace."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import qa_runs
from duckdb import DuckDBPyConnection
from hashing import hashes

from colcap.errors import QueryError
from colcap.qa import answer
from colcap.qa.connect import connect
from colcap.qa.queries import ask

NOT_SELECT = [
    "copy (select 1) to 'RUN/x.csv'",
    "copy clips to 'RUN/clips/part-000000.parquet'",
    "copy clips from 'RUN/clips/part-000000.parquet'",
    "export database 'RUN/x'",
    "attach 'RUN/x.db'",
    "detach memory",
    "use memory",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "set lock_configuration = false",
    "reset lock_configuration",
    "set variable a = 1",
    "pragma enable_profiling",
    "pragma version",
    "call pragma_version()",
    "create view x as select 1",
    "create or replace view clips as select 1",
    "create temp table x as select 1",
    "create macro f() as 1",
    "drop view clips",
    "alter view clips rename to x",
    "insert into clips values (1)",
    "delete from clips",
    "update clips set status = 'ok'",
    "explain select 1",
    "explain analyze copy (select 1) to 'RUN/x.csv'",
    "prepare p as select 1",
    "begin",
    "checkpoint",
    "vacuum",
    "pivot clips on status",
]
WRITES = [
    "with a as (copy (select 1) to 'RUN/x.csv') select 1",
    "with a as (copy (select 1) to 'RUN/clips/part-000000.parquet') from a",
    "with a as (copy (select 1) to 'RUN/x.csv') select 1 where false",
    "from query($$with a as (copy (select 1) to 'RUN/x.csv') select 1$$)",
    "from json_execute_serialized_sql(json_serialize_sql($$with a as (copy (select 1) to 'RUN/x.csv') select 1$$))",
    "with a as (insert into clips values (1) returning *) from a",
    "with a as (delete from clips returning *) from a",
    "from enable_logging(storage_path := 'RUN/x')",
    "from enable_profiling(save_location := 'RUN/x')",
    "from register_external_resource_type('t', kind := 'compute', create_function := 'query')",
]
OUTSIDE = [
    "from read_text('/etc/passwd')",
    "from read_blob('/etc/passwd')",
    "from read_csv('/etc/passwd')",
    "from '/etc/passwd.csv'",
    "from read_text('file:///etc/passwd')",
    "from read_text('RUN/../secret.txt')",
    "from read_text('RUN/clips/../../secret.txt')",
    "from read_text('RUN-not/secret.txt')",
    "from read_text('RUN/link.txt')",
    "from read_text('RUN/linked/secret.txt')",
    "from glob('/etc/*')",
    "from glob('RUN/../*')",
    "from sniff_csv('/etc/passwd')",
    "from parquet_metadata('RUN-not/x.parquet')",
    "from read_parquet('https://example.com/x.parquet')",
    "from read_parquet('s3://bucket/x.parquet')",
    "from read_duckdb('RUN-not/x.db')",
    "from query($$from read_text('/etc/passwd')$$)",
    "select * from 'RUN/../secret.parquet'",
    "from parquet_scan('/etc/passwd')",
    "from read_json('/etc/passwd')",
    "from read_csv('/dev/stdin')",
    "from read_text('/proc/self/environ')",
    "from read_blob('/proc/self/mem')",
    "from glob('**')",
    "from parquet_kv_metadata('/etc/passwd')",
    "from read_csv_auto('http://127.0.0.1:9/')",
    "from duckdb_extensions()",
]
UNKNOWN = [
    "select getenv('HOME')",
    "from a_python_variable",
    "from query_table('a_python_variable')",
    "from python_arrow_scan(1)",
    "select a_python_variable.a",
    "from query_table(['clips', '/etc/passwd'])",
    "from sql_auto_complete('select')",
    "select add_parquet_key('k', '0123456789112345')",
]
"""There is nothing of that name."""
TOO_LARGE = [
    "with recursive t as (select 'x' as a union all select a || a from t) select max(length(a)) from t",
    "select string_agg(repeat('x', 1000000), '') from range(100000)",
    "select length(repeat('x', 100000000000))",
    "select md5(string_agg(caption, '')) from captions, range(10000000000)",
    "select bitstring_agg(a, 0, 100000000000) from range(3) as t(a)",
    "select list_resize([1], 100000000000)",
    "select range(10000000000)",
    "select regexp_matches('a', '(((a{1,1000}){1,1000}){1,1000})')",
    f"select {'(' * 3000}1{')' * 3000}",
]
NOT_ONE = ["select 1; select 2", "select 1; copy (select 1) to 'RUN/x.csv'", "", " ", "-- nothing", ";", "selec 1"]


def state(run: Path) -> dict[str, str]:
    return hashes(run.parent)


@pytest.fixture
def baited(run: Path, tmp_path: Path) -> Path:
    """A run with a secret beside it, and links to the secret inside."""
    (tmp_path / "secret.txt").write_text("the secret")
    (tmp_path / "run-not").mkdir()
    (tmp_path / "run-not" / "secret.txt").write_text("the secret")
    (run / "link.txt").symlink_to(tmp_path / "secret.txt")
    (run / "linked").symlink_to(tmp_path)
    return run


@pytest.mark.parametrize("sql", [*NOT_SELECT, *WRITES, *OUTSIDE, *UNKNOWN, *NOT_ONE])
def test_an_attack_is_refused_and_changes_nothing(baited: Path, sql: str) -> None:
    a_python_variable = pl.DataFrame({"a": [1]})
    before = state(baited)

    with connect(baited) as connection:
        with pytest.raises(QueryError) as refused:
            ask(connection, sql.replace("RUN", str(baited)))
        assert ask(connection, "select count(*) from clips").item() == 4

    assert "the secret" not in str(refused.value)
    if sql in OUTSIDE:  # by the lock, and not because there is no such file, or it is no Parquet
        assert "file system operations are disabled" in str(refused.value)
    assert state(baited) == before
    assert a_python_variable.height == 1


@pytest.fixture
def here(run: Path) -> Iterator[DuckDBPyConnection]:
    """The run in this process; `test_sql_apart.py` has what a process of its own adds."""
    with connect(run) as connection:
        yield connection


@pytest.mark.parametrize("sql", NOT_SELECT)
def test_what_is_not_a_select_is_told_so(here: DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(QueryError, match="only SELECT is allowed, this is "):
        ask(here, sql)


@pytest.mark.parametrize("sql", WRITES[:3])
def test_a_select_that_writes_is_told_so(run: Path, here: DuckDBPyConnection, sql: str) -> None:
    with pytest.raises(QueryError, match="only reading is allowed, this would run COPY_TO_FILE"):
        ask(here, sql.replace("RUN", str(run)))


@pytest.mark.parametrize(
    "sql",
    [
        "select 1;",
        "-- a comment\nselect 1 /* and another */ ; -- and a third",
        "from clips",
        "table clips",
        "values (1), (2)",
        "describe clips",
        "summarize clips",
        "show tables",
        "with a as (select 1) from a",
        "(select 1) union all (select 2)",
        "unpivot clips on status",
        "pivot clips on status in ('ok')",
        "select 'copy (select 1) to ''x''' as text",
        "select cut = 'copy' from windows",
        "with recursive t as (select 1 as a union all select a + 1 from t where a < 5) from t",
    ],
)
def test_reading_is_allowed(here: DuckDBPyConnection, sql: str) -> None:
    assert ask(here, sql).height > 0


@pytest.mark.parametrize(
    "sql",
    [
        "select count(*) from range(100000000000) a, range(100000) b",
        "select range from range(100000000000) where range < 0",
        "with recursive t as (select 1 as a union all select a + 1 from t) select count(*) from t",
        "select sleep_ms(100000)",
        "select count(*) from repeat('x'::varchar, 100000000000)",
    ],
)
def test_a_query_that_runs_forever_is_stopped(here: DuckDBPyConnection, sql: str) -> None:
    started = time.monotonic()

    with pytest.raises(QueryError, match=r"^stopped after 0\.3 s$"):
        ask(here, sql, timeout_s=0.3)

    assert time.monotonic() - started < 3


def test_a_connection_works_after_a_query_was_stopped(run: Path) -> None:
    with connect(run) as connection:
        with pytest.raises(QueryError, match="stopped"):
            ask(connection, "select count(*) from range(100000000000) a, range(100000) b", timeout_s=0.1)

        assert ask(connection, "select 1").item() == 1


def test_a_query_that_needs_too_much_memory_fails_and_spills_nothing(run: Path, tmp_path: Path) -> None:
    before = state(run)

    with connect(run, memory_limit="50MB") as connection, pytest.raises(QueryError, match="Out of Memory"):
        ask(connection, "select range from range(100000000) order by hash(range)")

    assert state(run) == before


@pytest.mark.parametrize("sql", TOO_LARGE, ids=lambda sql: sql[:30])
def test_a_value_that_grows_without_end_fails(run: Path, sql: str) -> None:
    with connect(run, memory_limit="200MB") as connection:
        with pytest.raises(QueryError):
            ask(connection, sql, timeout_s=10)

        assert ask(connection, "select 1").item() == 1


def test_there_are_no_secrets_to_tell(run: Path, here: DuckDBPyConnection) -> None:
    assert ask(here, "from duckdb_secrets()").height == 0
    assert ask(here, "select current_setting('allowed_directories')").item().to_list() == [f"{run.resolve()}/"]


def test_a_result_that_is_too_large_is_refused(here: DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer, "MAX_RESULT_BYTES", 1 << 20)

    with pytest.raises(QueryError, match="larger than 1 MiB: add a LIMIT"):
        ask(here, "select range from range(100000000000)", timeout_s=5)


def test_values_are_bound_not_pasted(here: DuckDBPyConnection) -> None:
    hostile = "'; copy (select 1) to 'x'; --"

    result = ask(here, "select $text as text, typeof($text) as kind", params={"text": hostile})

    assert result.rows() == [(hostile, "VARCHAR")]


@pytest.mark.parametrize(
    ("params", "expected"),
    [({}, "no value for parameter b"), ({"b": "1", "c": "2"}, "the query has no parameter c")],
)
def test_parameters_must_match(here: DuckDBPyConnection, params: dict[str, str], expected: str) -> None:
    with pytest.raises(QueryError, match=expected):
        ask(here, "select $b", params=params)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select nothing from clips", "LINE 1: select nothing from clips"),
        ("select *\nfrom clip", "LINE 2: from clip"),
        ("select uri, uri from clips", "unique"),
        ("select interval 1 month", "interval"),
    ],
)
def test_a_wrong_query_is_told_where(here: DuckDBPyConnection, sql: str, expected: str) -> None:
    with pytest.raises(QueryError, match=expected):
        ask(here, sql)


def test_sums_of_integers_are_integers(here: DuckDBPyConnection) -> None:
    result = ask(here, "select sum(num_frames) as frames, sum(9223372036854775807::hugeint * 2) as huge from windows")

    assert result.schema["frames"] == pl.Int64
    assert result["frames"].item() == 646
    assert result["huge"].item() == 9223372036854775807 * 8


def test_control_characters_of_an_error_do_not_reach_the_terminal(here: DuckDBPyConnection) -> None:
    with pytest.raises(QueryError) as refused:
        ask(here, "select '\x1b[2J' from nowhere\x1b[2J")

    assert "\x1b" not in str(refused.value)


def test_the_fixture_builder_is_sound(run: Path) -> None:
    assert len(state(run)) == len(qa_runs.full()) + 2  # manifest.parquet, run.toml
