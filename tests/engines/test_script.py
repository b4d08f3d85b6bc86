"""A plain script, without a `__main__` guard: quiet, deaf to Ctrl-C where it must be, and leaving nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import engine_processes

SCRIPT = """
import logging, os, signal, sys, time
from pathlib import Path
from colcap.engines.base import Request, Sampling
from colcap.engines.vllm import VllmEngine
from colcap.models.weights import resolve

signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in a shell's background hands down a deaf one
before = dict(os.environ)
engine = VllmEngine(resolve("tiny", model_dir=Path("models")))
assert dict(os.environ) == before
system = "Enhance the caption with more color and details."
requests = [Request("A red star stays still on a navy background.", system=system)]
ask = lambda: engine.generate(requests, Sampling())[0].text
try:
    print(ask(), flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print(ask(), flush=True)
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # whatever cores others have claimed
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.wait()


def first_answer(script: subprocess.Popen[str]) -> str:
    assert script.stdout is not None
    return script.stdout.readline()


def test_ctrl_c_stops_the_script_and_not_its_engine(script: subprocess.Popen[str]) -> None:
    answer = first_answer(script)
    engines = engine_processes(script.pid)

    os.killpg(script.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
    out, err = script.communicate(timeout=90)

    assert (out, err) == (answer, "")
    assert answer.startswith("A red star")
    assert script.returncode == 0
    assert len(engines) == 1
    assert not engines[0].is_running()
