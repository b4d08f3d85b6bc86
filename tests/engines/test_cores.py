"""The engine's cores and the others do not overlap."""

from __future__ import annotations

import os

import pytest

from colcap.engines.cores import plan_cores
from colcap.engines.options import engine_env, outside
from colcap.errors import ConfigError


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
