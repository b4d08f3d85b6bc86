"""An S3 server on loopback, with a bucket for each test module, and credentials only in the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from stores_s3 import KEY, S3, SECRET, TOKEN


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The endpoint of a server that is there for the session."""
    script = Path(__file__).with_name("server.py")
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def s3(s3_server: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A bucket of the module's own; the environment names the server, and where colcap keeps its copies."""
    bucket = request.module.__name__.rpartition(".")[2].replace("_", "-")
    environment = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_server,
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        boto3.client("s3").create_bucket(Bucket=bucket)
        there = S3(s3_server, bucket)
        there.faults()
        yield there


@pytest.fixture(autouse=True)
def _no_faults_left(s3: S3) -> Iterator[None]:
    yield
    s3.faults()
