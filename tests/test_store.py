"""Parts are committed whole or not at all, whatever is cut off when."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from colcap import store
from colcap.errors import ColcapError
from colcap.schema import WINDOWS, WINDOWS_MP4


def commit_of(run: Path, part: int = 0) -> store.PartCommit:
    paths = {t: store.table_dir(run, t) / store.part_name(part) for t in ("windows", "windows_mp4")}
    return store.PartCommit(run, part, {t: store.TableFile(t, path, "f1") for t, path in paths.items()})


def fill(commit: store.PartCommit, count: int = 3, size: int = 10) -> None:
    ids = [f"c:{i:05d}" for i in range(count)]
    commit.append(
        "windows", pl.concat([pl.DataFrame(schema=WINDOWS), pl.DataFrame({"window_id": ids})], how="diagonal")
    )
    commit.append("windows_mp4", pl.DataFrame({"window_id": ids, "mp4": [bytes(size)] * count}, schema=WINDOWS_MP4))


def files(run: Path) -> list[str]:
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())


def test_nothing_is_visible_before_the_commit_and_everything_after(tmp_path: Path) -> None:
    commit = commit_of(tmp_path)
    fill(commit)

    before = [name for name in files(tmp_path) if name.endswith(".parquet")]
    rows = commit.commit()

    assert before == []
    assert rows == {"windows": 3, "windows_mp4": 3}
    assert files(tmp_path) == ["windows/part-000000.parquet", "windows_mp4/part-000000.parquet"]


def test_a_part_says_what_it_is_and_keeps_its_types_when_empty(tmp_path: Path) -> None:
    commit_of(tmp_path, part=5).commit()
    path = tmp_path / "windows" / "part-000005.parquet"

    assert store.read_footer(path) == store.Footer(part=5, rows=0, fingerprint="f1", scope="part", counts={})
    assert pl.read_parquet_schema(path) == WINDOWS
    assert json.loads(pq.read_metadata(path).metadata[b"colcap.versions"])["polars"]


def test_blobs_lie_uncompressed_in_row_groups_of_bounded_size(tmp_path: Path) -> None:
    commit = commit_of(tmp_path)
    fill(commit, count=5, size=10 << 20)
    commit.commit()

    meta = pq.read_metadata(tmp_path / "windows_mp4" / "part-000000.parquet")
    column = meta.row_group(0).column(1)

    assert [meta.row_group(i).num_rows for i in range(meta.num_row_groups)] == [2, 2, 1]
    assert (column.compression, column.has_dictionary_page, column.is_stats_set) == ("UNCOMPRESSED", False, False)
    assert meta.row_group(0).column(0).is_stats_set


def test_an_aborted_part_leaves_nothing(tmp_path: Path) -> None:
    commit = commit_of(tmp_path)
    fill(commit)
    commit.abort()

    assert files(tmp_path) == []


def test_what_was_cut_off_before_the_journal_is_swept_away(tmp_path: Path) -> None:
    fill(commit_of(tmp_path))  # the process dies here

    store.recover(tmp_path)

    assert files(tmp_path) == []


@contextmanager
def renames_fail(after: int, error: BaseException) -> Iterator[None]:
    """So many files of a part get their names, and no more."""
    replace, left = os.replace, iter(range(after))

    def replace_some(source: Path, target: Path) -> None:
        if target.suffix == ".parquet" and next(left, None) is None:
            raise error
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace_some)
        yield


CUT_OFF = [KeyboardInterrupt(), OSError(errno.EIO, "bad disk"), OSError(errno.ENOSPC, "full disk")]


@pytest.mark.parametrize("renamed", [0, 1])
@pytest.mark.parametrize("error", CUT_OFF, ids=["killed", "bad disk", "full disk"])
def test_a_commit_that_was_cut_off_after_the_journal_is_finished(
    tmp_path: Path, renamed: int, error: BaseException
) -> None:
    """A part that is replaced is never half old, half new."""
    old, new = commit_of(tmp_path), commit_of(tmp_path)
    fill(old, count=1)
    old.commit()
    fill(new, count=3)
    with renames_fail(renamed, error), pytest.raises((KeyboardInterrupt, ColcapError)):
        new.commit()
    new.abort()  # as a runner does when it goes home

    store.recover(tmp_path)

    assert files(tmp_path) == ["windows/part-000000.parquet", "windows_mp4/part-000000.parquet"]
    footers = [store.read_footer(tmp_path / name) for name in files(tmp_path)]
    assert [footer and footer.rows for footer in footers] == [3, 3]


def test_a_commit_under_way_is_not_dropped_by_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, replace = commit_of(tmp_path), os.replace
    fill(commit)

    def drop_meanwhile(source: Path, target: Path) -> None:
        thread = threading.Thread(target=commit.abort)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()  # nor does it wait: a disk may hang
        replace(source, target)

    monkeypatch.setattr(os, "replace", drop_meanwhile)
    rows = commit.commit()

    assert rows == {"windows": 3, "windows_mp4": 3}
    assert files(tmp_path) == ["windows/part-000000.parquet", "windows_mp4/part-000000.parquet"]


def test_what_was_swept_by_another_writer_is_no_success(tmp_path: Path) -> None:
    commit = commit_of(tmp_path)
    fill(commit)
    store.recover(tmp_path)

    with pytest.raises(ColcapError):
        commit.commit()

    assert files(tmp_path) == []


def test_what_was_dropped_cannot_be_committed(tmp_path: Path) -> None:
    commit = commit_of(tmp_path)
    fill(commit)
    commit.abort()

    with pytest.raises(ColcapError, match="was dropped"):
        commit.commit()

    assert files(tmp_path) == []


def test_a_small_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with renames_fail(0, OSError(errno.ENOSPC, "full disk")), pytest.raises(OSError, match="full disk"):
        store.write_atomically(tmp_path / "index.parquet", b"data")

    assert files(tmp_path) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "garbage", "foreign"])
def test_a_damaged_part_has_no_footer(tmp_path: Path, damage: str) -> None:
    commit = commit_of(tmp_path)
    fill(commit)
    commit.commit()
    path = tmp_path / "windows" / "part-000000.parquet"
    whole = path.read_bytes()
    if damage == "foreign":
        pl.DataFrame({"a": [1]}).write_parquet(path)
    else:
        path.write_bytes({"cut": whole[:-9], "empty": b"", "garbage": b"PAR1" + bytes(100)}[damage])

    assert store.read_footer(path) is None


def test_a_disk_that_is_full_is_told_and_commits_nothing(tmp_path: Path) -> None:
    script = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]
from pathlib import Path
from test_store import commit_of, fill
from colcap.errors import ColcapError
commit = commit_of(Path({str(tmp_path)!r}))
fill(commit, count=3, size=30000)
try:
    commit.commit()
except ColcapError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert "no room to write" in result.stdout
    assert files(tmp_path) == []


def test_a_run_that_cannot_be_written_says_where() -> None:
    assert "Mend that" in str(store.disk_error(Path("run"), PermissionError(13, "Permission denied")))
    assert isinstance(store.disk_error(Path("run"), OSError(28, "No space left")), ColcapError)


def test_later_attempts_are_files_of_their_own(tmp_path: Path) -> None:
    for attempt in (2, 1, 10):
        (tmp_path / store.part_name(3, attempt)).touch()
    (tmp_path / ".part-000003.1.tmp").touch()
    (tmp_path / "notes.txt").touch()

    result = [(file.part, file.attempt) for file in store.list_parts(tmp_path)]

    assert result == [(3, 1), (3, 2), (3, 10)]


def test_two_attempts_at_one_part_do_not_meet(tmp_path: Path) -> None:
    first, second = commit_of(tmp_path), commit_of(tmp_path)
    fill(first)
    fill(second)
    rows = [second.commit(), first.commit()]

    assert rows == [{"windows": 3, "windows_mp4": 3}] * 2
    assert files(tmp_path) == ["windows/part-000000.parquet", "windows_mp4/part-000000.parquet"]
    assert store.recover(tmp_path) == 0


def test_who_works_for_an_earlier_writer_cannot_commit(tmp_path: Path) -> None:
    lost = commit_of(tmp_path)
    fill(lost)

    swept = store.recover(tmp_path)

    assert swept == 2
    with pytest.raises(ColcapError, match="cannot write"):
        lost.commit()
    assert files(tmp_path) == []
