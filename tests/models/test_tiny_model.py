"""The shipped checkpoint tells the truth about fresh clips and combinations it never saw, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import pytest

from colcap import prompts
from colcap.engines.base import Engine, Request, Sampling
from colcap.models.tiny.scenes import MOTIONS, Scene, as_seen, caption
from colcap.models.tiny.training import questions
from colcap.models.tiny.training.fresh import Fresh, first_two, fresh_windows
from colcap.models.weights import resolve

COUNT = 64


@pytest.fixture(scope="module")
def fresh() -> list[Fresh]:
    return fresh_windows(COUNT, resolve("tiny", model_dir=Path("models")), seed=7)


def said(
    engine: Engine, windows: list[Fresh], *, batch: int = COUNT, ask: Sequence[str] = (prompts.load("default"),)
) -> list[str | None]:
    requests = [Request(text, video=window.video) for text, window in zip(cycle(ask), windows, strict=False)]
    batches = (requests[at : at + batch] for at in range(0, len(requests), batch))
    return [answer.text for each in batches for answer in engine.generate(each, Sampling())]


def share_right(result: list[str | None], windows: list[Fresh]) -> float:
    return sum(text == caption(window.scene) for text, window in zip(result, windows, strict=True)) / len(windows)


@pytest.mark.parametrize("held_out", [False, True])
def test_fresh_clips(tiny_engine: Engine, fresh: list[Fresh], held_out: bool) -> None:
    windows = [window for window in fresh if window.held_out is held_out]

    result = said(tiny_engine, windows)

    assert len(windows) == COUNT // 2
    assert share_right(result, windows) >= 0.9


@pytest.mark.parametrize(("ask", "least"), [(questions.UNSEEN, 0.9), (questions.ODD, 0.8)], ids=["languages", "odd"])
def test_prompts_that_were_never_trained(
    tiny_engine: Engine, fresh: list[Fresh], ask: Sequence[str], least: float
) -> None:
    result = said(tiny_engine, fresh, ask=ask)

    assert share_right(result, fresh) >= least


def test_two_frames_say_no_motion(tiny_engine: Engine, fresh: list[Fresh]) -> None:
    windows = list(first_two(fresh))

    result = said(tiny_engine, windows)

    assert share_right(result, windows) >= 0.9
    moving = {caption(Scene("red", "star", "black", motion)).split("star ")[1].split(" a ")[0] for motion in MOTIONS}
    assert not any(phrase in (text or "") for phrase in moving for text in result)


def test_the_batch_size_does_not_change_a_text(tiny_engine: Engine, fresh: list[Fresh]) -> None:
    windows = fresh[:24]

    one, eight, all_ = (said(tiny_engine, windows, batch=size) for size in (1, 8, 64))

    assert one == eight == all_


def test_its_files_are_small_and_need_no_code(fresh: list[Fresh]) -> None:
    folder = resolve("tiny", model_dir=Path("models")).path

    assert (folder / "model.safetensors").stat().st_size <= 6_000_000
    assert not list(folder.glob("*.py"))
    assert "auto_map" not in (folder / "config.json").read_text()
    assert all(window.scene == as_seen(window.scene, len(window.video.frames)) for window in fresh)
