"""`vllm serve` with the embedded model, in a process of its own on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from colcap.engines.cores import plan_cores
from colcap.models.weights import resolve

PATIENCE_S = 300.0
"""On a busy machine its imports alone take a minute."""

OPTIONS = {
    "--served-model-name": "colcap/tiny",
    "--host": "127.0.0.1",
    "--dtype": "bfloat16",
    "--seed": "0",
    "--max-num-seqs": "64",
    "--distributed-executor-backend": "uni",  # a worker process apart spins on a core while it waits
    "--limit-mm-per-prompt": json.dumps({"image": 32, "video": 1}),
    "--structured-outputs-config": json.dumps({"backend": "guidance", "disable_any_whitespace": True}),
}
FLAGS = ["--enforce-eager", "--skip-mm-profiling", "--trust-request-mm-kwargs", "--disable-uvicorn-access-log"]


@contextmanager
def vllm_serve() -> Iterator[Callable[[], str]]:
    """Start a server and yield what waits for it and returns the URL of its API."""
    model = resolve("tiny", model_dir=Path("models"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model.path), "--port", port]
    command += [word for pair in OPTIONS.items() for word in pair] + FLAGS
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, env=_environment(), stdout=log, stderr=log, start_new_session=True)
        try:
            yield partial(_url, port, process, log.fileno())
        finally:
            process.terminate()
            process.wait(60)


def _environment() -> dict[str, str]:
    core = str((plan_cores().engine or (0,))[0])
    threads = {"VLLM_CPU_OMP_THREADS_BIND": core, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    ours = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    return {**os.environ, **threads, **ours}


def _url(port: str, process: subprocess.Popen[bytes], log: int) -> str:
    _wait_for(f"http://127.0.0.1:{port}/health", process, log)
    return f"http://127.0.0.1:{port}/v1"


def _wait_for(url: str, process: subprocess.Popen[bytes], log: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)
    words = os.pread(log, 1 << 20, 0).decode(errors="replace")[-3000:]
    raise RuntimeError(f"vllm serve did not start:\n{words}")
