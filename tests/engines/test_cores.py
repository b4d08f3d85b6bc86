"""The engine's cores and the others do not overlap."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from colcap.engines import claims
from colcap.engines.cores import plan_cores
from colcap.engines.options import engine_env, outside
from colcap.errors import ConfigError


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine on which nobody has claimed a core."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    held = set(claims._held)
    yield
    for path in set(claims._held) - held:
        claims._held.pop(path).release()


OTHER_RUN = """
import os, sys, tempfile
tempfile.tempdir = sys.argv[1]
from colcap.engines import claims
assert all([claims.claim(int(core)) for core in sys.argv[2:]])
print("claimed", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_run(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process that has claimed cores."""
    command = [sys.executable, "-c", OTHER_RUN, str(tmp_path), *map(str, request.param)]
    run = subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert run.stdout is not None
    assert run.stdout.readline() == "claimed\n"
    yield run
    run.kill()
    run.wait()


@pytest.mark.parametrize(
    ("other_run", "mine", "wanted", "engine", "media", "is_shared"),
    [
        ([0], {0, 1}, None, (1,), (0,), False),
        ([0, 1], {0, 1, 2, 3}, None, (2,), (3,), False),
        ([0, 2], {0, 1, 2, 3}, 2, (1, 3), (0, 2), False),
        ([0, 1], {0, 1}, None, (0,), (1,), True),
        ([0], {0, 1}, 2, (0, 1), (0, 1), True),
    ],
    indirect=["other_run"],
)
def test_a_second_run_takes_other_cores_or_says_that_it_shares_them(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    other_run: subprocess.Popen[str],
    mine: set[int],
    wanted: int | None,
    engine: tuple[int, ...],
    media: tuple[int, ...],
    is_shared: bool,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: mine)

    result = plan_cores(wanted)

    assert (result.engine, result.media) == (engine, media)
    assert ("this run's engine shares it" in caplog.text) == is_shared


@pytest.mark.parametrize("other_run", [[0]], indirect=True)
def test_a_claim_ends_with_its_process(other_run: subprocess.Popen[str]) -> None:
    taken = claims.is_free(0)
    other_run.kill()
    other_run.wait()

    assert (taken, claims.is_free(0), claims.claim(0), claims.claim(0)) == (False, True, True, True)


@pytest.mark.parametrize("other_run", [[0]], indirect=True)
def test_a_running_engine_keeps_its_cores(monkeypatch: pytest.MonkeyPatch, other_run: subprocess.Popen[str]) -> None:
    """The next run of this process may use the engine, and must keep media work off its core."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    first = plan_cores()
    other_run.kill()
    other_run.wait()

    again = plan_cores()

    assert (first.engine, first.media) == (again.engine, again.media) == ((1,), (0,))


def test_a_folder_that_others_can_write_to_holds_no_claims(tmp_path: Path) -> None:
    folder = tmp_path / f"colcap-cores-{os.getuid()}"
    folder.mkdir()
    folder.chmod(0o777)

    assert claims.claim(0)
    assert list(folder.iterdir()) == []


def test_several_engines_have_a_core_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4})

    assert plan_cores(num_engines=3).engine == (0, 1, 2)
    assert plan_cores(num_engines=1).engine == (0, 1)


@pytest.mark.parametrize(
    ("mine", "wanted", "engine", "media"),
    [
        ({0, 1}, None, (0,), (1,)),
        ({2, 5, 7}, None, (2,), (5, 7)),
        ({0, 1, 2, 3}, 3, (0, 1, 2), (3,)),
        ({4}, None, (4,), (4,)),
        ({0, 1}, 0, (), (0, 1)),
        ({0, 1}, 2, (0, 1), (0, 1)),
    ],
)
def test_plan(
    monkeypatch: pytest.MonkeyPatch, mine: set[int], wanted: int | None, engine: tuple[int, ...], media: tuple[int, ...]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: mine)

    result = plan_cores(wanted)

    assert (result.engine, result.media) == (engine, media)
    assert outside(result.engine) == set(media)


def test_more_cores_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    with pytest.raises(ConfigError, match=r"runtime.engine_cores: got 3; this process may use 2 cores"):
        plan_cores(3)


def test_an_engine_on_the_cpu_has_a_thread_per_core() -> None:
    result = engine_env((1, 3), verbose=False)

    assert (result["OMP_NUM_THREADS"], result["GOMP_CPU_AFFINITY"]) == ("2", "1 3")
    assert "OMP_NUM_THREADS" not in engine_env(None, verbose=False)
