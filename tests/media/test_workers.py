"""Workers that crash, hang or eat memory cost one task."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import clips
import psutil
import pytest
from pebble.pool.base_pool import BasePool

from colcap.errors import RowError
from colcap.media import MediaPool, Wanted, process_clip, workers


@pytest.fixture(scope="module")
def pool() -> Iterator[MediaPool]:
    with MediaPool(1, timeout_s=1.5, max_memory_bytes=1 << 30) as found:
        yield found


def allocate(num_bytes: int) -> int:
    return len(bytearray(num_bytes))


def die_once(marker: str) -> str:
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def interrupt() -> str:
    os.kill(os.getpid(), signal.SIGINT)
    return "still here"


def engines() -> list[str]:
    return [name for name in ("torch", "vllm") if name in sys.modules]


def affinity() -> set[int]:
    return os.sched_getaffinity(0)


@pytest.mark.parametrize(
    ("fn", "argument", "kind"),
    [
        (os._exit, 3, "crashed"),
        (signal.raise_signal, signal.SIGSEGV, "crashed"),
        (signal.raise_signal, signal.SIGKILL, "crashed"),
        (time.sleep, 60, "timeout"),
        (allocate, 4 << 30, "too_large"),
    ],
)
def test_one_bad_task_is_one_error(pool: MediaPool, fn: Callable[[int], object], argument: int, kind: str) -> None:
    bad, good = pool.submit(fn, argument), pool.submit(allocate, 10)

    error = bad.exception(timeout=30)
    assert isinstance(error, RowError)
    assert error.kind == kind
    assert good.result(timeout=30) == 10


def test_a_worker_killed_from_outside_costs_no_task(pool: MediaPool, tmp_path: Path) -> None:
    assert pool.submit(die_once, str(tmp_path / "died")).result(timeout=30) == "done"
    assert (tmp_path / "died").exists()


def test_errors_of_tasks_arrive_as_they_were(pool: MediaPool) -> None:
    error = pool.submit(process_clip, b"junk", Wanted()).exception(timeout=30)

    assert isinstance(error, RowError)
    assert error.kind == "unreadable"
    assert isinstance(pool.submit(allocate, "x").exception(timeout=30), TypeError)


def test_clips_go_in_and_windows_come_out(pool: MediaPool) -> None:
    data = clips.clip("h264 gop 12")

    assert pool.submit(process_clip, data, Wanted()).result(timeout=30) == process_clip(data, Wanted())


def test_workers_survive_ctrl_c_and_know_no_engine(pool: MediaPool) -> None:
    assert pool.submit(interrupt).result(timeout=30) == "still here"
    assert pool.submit(engines).result(timeout=30) == []


def test_workers_stay_on_their_cores() -> None:
    core = max(os.sched_getaffinity(0))
    with MediaPool(1, cores=[core]) as pool:
        assert pool.submit(affinity).result(timeout=30) == {core}


def test_an_idle_worker_that_is_killed_is_replaced() -> None:
    with MediaPool(1) as pool:
        os.kill(pool.submit(os.getpid).result(timeout=30), signal.SIGKILL)
        time.sleep(0.5)

        assert pool.submit(allocate, 10).result(timeout=30) == 10


def test_a_worker_is_replaced_after_so_many_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "TASKS_PER_WORKER", 3)
    with MediaPool(1) as pool:
        tasks = [pool.submit(os.getpid) for _ in range(7)]
        result = [task.result(timeout=30) for task in tasks]

    assert len(set(result[:3])) == len(set(result[3:6])) == 1
    assert len(set(result)) == 3


def test_a_worker_that_dies_as_its_task_is_handed_in_does_not_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    check = BasePool._check_pool_status

    def slow(pool: BasePool) -> None:
        check(pool)
        time.sleep(0.5)  # as a busy machine may: meanwhile pebble finds the dead worker, and then looks no more

    with MediaPool(1) as pool:
        pid = pool.submit(os.getpid).result(timeout=30)
        with monkeypatch.context() as patch:
            patch.setattr(BasePool, "_check_pool_status", slow)
            os.kill(pid, signal.SIGKILL)
            task = pool.submit(allocate, 10)

        assert task.result(timeout=30) == 10


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def hang_once(marker: str) -> None:
    if not os.path.exists(marker):
        open(marker, "w").close()
        time.sleep(600)


def test_a_worker_that_hangs_as_it_starts_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "hung"
    with MediaPool(1, initializer=hang_once, initargs=(str(marker),)) as pool:
        first, task = pool._workers[0].pool, pool.submit(allocate, 10)
        until(marker.exists)
        with monkeypatch.context() as patch:
            patch.setattr(workers, "START_S", 3)
            until(lambda: pool._workers[0].pool is not first)

        assert task.result(timeout=30) == 10


def test_killing_the_pool_cancels_its_tasks() -> None:
    pool = MediaPool(2)
    tasks = [pool.submit(time.sleep, 60) for _ in range(5)]
    time.sleep(0.2)
    started = time.monotonic()
    pool.kill()

    assert all(task.cancelled() for task in tasks)
    assert time.monotonic() - started < 5


def test_a_cancelled_task_stops(pool: MediaPool) -> None:
    task = pool.submit(time.sleep, 60)
    time.sleep(0.2)
    task.cancel()

    assert pool.submit(allocate, 10).result(timeout=5) == 10


def test_workers_that_cannot_start_stop_the_run() -> None:
    pool = MediaPool(1, initializer=os._exit, initargs=(5,))

    assert not isinstance(pool.submit(allocate, 10).exception(timeout=60), RowError | None)
    pool.kill()


ORPHANS = """
import os, time
from colcap.media import MediaPool
if __name__ == "__main__":
    pool = MediaPool(2)
    busy = pool.submit(time.sleep, 600)
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


def test_workers_die_with_their_parent(tmp_path: object) -> None:
    script = f"{tmp_path}/orphans.py"
    with open(script, "w", encoding="utf-8") as file:
        file.write(ORPHANS)
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        workers = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
        parent.wait(timeout=10)
        _, alive = psutil.wait_procs(workers, timeout=20)

    assert len(workers) >= 3  # the fork server and two workers, one of them busy
    assert alive == []


def test_several_threads_may_end_the_workers_at_once() -> None:
    pool, errors = MediaPool(2), []

    def kill() -> None:
        try:
            pool.kill()
        except Exception as error:
            errors.append(error)

    tasks = [pool.submit(time.sleep, 30) for _ in range(4)]
    time.sleep(0.5)
    threads = [threading.Thread(target=kill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert errors == []
    assert all(task.cancelled() for task in tasks)


def locked_and_killed(marker: str) -> str:
    """Die as one that is killed while it sends its result: with the lock of its pipe in its hands."""
    if not os.path.exists(marker):
        open(marker, "w").close()
        frame = sys._getframe()
        while "channel" not in frame.f_locals:
            assert frame.f_back is not None
            frame = frame.f_back
        frame.f_locals["channel"].mutex.acquire()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def test_a_worker_killed_with_its_locks_held_stops_nobody(tmp_path: Path) -> None:
    with MediaPool(2) as pool:
        tasks = [pool.submit(locked_and_killed, str(tmp_path / f"died-{n}")) for n in range(3)]
        others = [pool.submit(allocate, 1 << 20) for _ in range(20)]

        assert [task.result(timeout=30) for task in tasks] == ["done"] * 3
        assert [task.result(timeout=30) for task in others] == [1 << 20] * 20


UNGUARDED = """
from colcap.media import MediaPool
with MediaPool(2) as pool:
    print(pool.submit(len, "abc").result())
"""


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)

    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)

    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert 'put what calls colcap under `if __name__ == "__main__":`' in last


GUARDED = """
from colcap.media import MediaPool
if __name__ == "__main__":
    with MediaPool(1) as pool:
        print(pool.submit(len, "abc").result())
"""


def test_a_folder_for_temporary_files_that_is_too_long_for_sockets_is_named(tmp_path: Path) -> None:
    script, folder = tmp_path / "script.py", tmp_path / ("x" * 100)
    script.write_text(GUARDED)
    folder.mkdir()
    env = {**os.environ, "TMPDIR": str(folder)}

    result = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, timeout=60, check=False)

    last = result.stderr.strip().splitlines()[-1]
    assert (result.returncode == 0 and result.stdout == "3\n") or (str(folder) in last and "Set TMPDIR" in last)


PAUSED = """
import os, time
from colcap.media import MediaPool
def begun() -> None:
    print("begun", flush=True)
    for _ in range(20):  # a second of being awake; one long sleep would end with the pause
        time.sleep(0.05)
if __name__ == "__main__":
    with MediaPool(1, timeout_s=3) as pool:
        pool.submit(len, "start the worker").result()
        print(pool.submit(begun).exception(), flush=True)
"""


def test_a_run_that_is_paused_has_no_timeouts(tmp_path: Path) -> None:
    script = tmp_path / "paused.py"
    script.write_text(PAUSED)
    command = [sys.executable, script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        assert run.stdout is not None
        begun = run.stdout.readline()
        os.killpg(run.pid, signal.SIGSTOP)
        time.sleep(4.5)
        os.killpg(run.pid, signal.SIGCONT)
        said = run.stdout.read()

    assert (begun, said) == ("begun\n", "None\n")
