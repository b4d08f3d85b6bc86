"""SQL of strangers runs in a process of its own: the same answers, and limits that hold whatever it calls."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_sql_guard import state

from colcap.errors import QueryError, RunError
from colcap.qa.connect import connect
from colcap.qa.queries import ask

TOO_LARGE = [
    "select length(repeat('x', 4000000000))",
    "with recursive t as (select repeat('x', 1000) as a union all select a || a from t) select max(length(a)) from t",
]
TOO_SLOW = [
    "select length(lpad('x', 2000000000, 'y'))",
    "select levenshtein(repeat('a', 200000), repeat('b', 200000))",
]
"""Single calls: DuckDB does not look at an interrupt while they run."""
REFUSED = [
    "with a as (copy (select 1) to 'RUN/x.csv') select 1",
    "from read_text('RUN/link.txt')",
    "attach 'RUN/x.db'",
]


def test_the_answer_is_that_of_a_connection(run: Path) -> None:
    sql = "select * exclude (error), sum(num_frames) over () as frames, $text as text from clips order by clip_id"
    params = {"text": "'; --"}
    with connect(run) as connection:
        expected = ask(connection, sql, params=params)

    result = ask(run, sql, params=params)

    assert result.equals(expected)
    assert result.schema == expected.schema
    assert ask(run, "select mp4 from windows_mp4 limit 0", blobs=True).shape == (0, 1)
    with pytest.raises(QueryError, match="--blobs"):
        ask(run, "select mp4 from windows_mp4 limit 0")


@pytest.mark.parametrize("sql", TOO_LARGE, ids=lambda sql: sql[:40])
def test_no_value_outgrows_the_memory_limit(run: Path, sql: str) -> None:
    with pytest.raises(QueryError, match=r"Out of Memory|process died"):
        ask(run, sql, timeout_s=60)


@pytest.mark.parametrize("sql", TOO_SLOW, ids=lambda sql: sql[:40])
def test_no_call_outlives_the_deadline(run: Path, sql: str) -> None:
    started = time.monotonic()

    with pytest.raises(QueryError, match=r"^stopped after 2 s$"):
        ask(run, sql, timeout_s=2)

    assert time.monotonic() - started < 6


@pytest.mark.parametrize("sql", REFUSED)
def test_what_is_refused_here_is_refused_there(run: Path, tmp_path: Path, sql: str) -> None:
    (tmp_path / "secret.txt").write_text("the secret")
    (run / "link.txt").symlink_to(tmp_path / "secret.txt")
    before = state(run)

    with pytest.raises(QueryError, match=r"allowed|disabled") as refused:
        ask(run, sql.replace("RUN", str(run)))

    assert "the secret" not in str(refused.value)
    assert state(run) == before


def test_a_wrong_query_is_told_where(run: Path) -> None:
    with pytest.raises(QueryError) as told:
        ask(run, "select 1,\n  captoin from captions")

    assert str(told.value).endswith("LINE 2:   captoin from captions\n          ^^^^^^^")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        ask(tmp_path, "select 1")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_process_ends_with_the_one_that_asked(run: Path, how: signal.Signals) -> None:
    code = f"""if True:
        import signal
        from pathlib import Path
        from colcap.qa.queries import ask
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background is deaf
        ask(Path({str(run)!r}), {TOO_SLOW[0]!r})
    """
    asking = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    answering = _answering(asking.pid)

    asking.send_signal(how)

    assert asking.wait(20) != 0
    deadline = time.monotonic() + 30
    while _lives(answering) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(answering)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_ctrl_c_at_a_query_is_130(run: Path) -> None:
    command = [sys.executable, "-m", "colcap", "sql", str(run), TOO_SLOW[0]]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as asking:
        _answering(asking.pid)
        asking.send_signal(signal.SIGINT)
        said = asking.communicate(timeout=20)[1]

    assert (asking.returncode, said) == (130, "stopped\n")


def _answering(pid: int) -> int:
    """The process that answers the query of another, once it is there."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + 30
    while not (found := children.read_text().split()) and time.monotonic() < deadline:
        time.sleep(0.05)
    (answering,) = map(int, found)
    return answering


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
