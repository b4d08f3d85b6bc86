"""An S3 server as tests see it: a bucket, and how to look into it past colcap."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import boto3

KEY: Final = "AKIA4COLCAPTESTKEY01"
SECRET: Final = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYtestsecret"
TOKEN: Final = "session-token-of-the-tests"


@dataclass(frozen=True, slots=True)
class S3:
    """The server, a bucket of one's own, and how to look into it past colcap."""

    endpoint: str
    bucket: str

    @property
    def url(self) -> str:
        """The bucket, as colcap is given it."""
        return f"s3://{self.bucket}"

    @property
    def client(self) -> Any:
        """boto3's, which is none of what is tested."""
        return boto3.client("s3")

    def names(self, prefix: str = "") -> list[str]:
        """Names of all objects under a prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return sorted(each["Key"] for page in pages for each in page.get("Contents", ()))

    def get(self, key: str) -> bytes:
        """An object's bytes."""
        return bytes(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def upload(self, folder: Path, prefix: str) -> None:
        """Write all files of a folder."""
        for path in folder.iterdir():
            self.put(f"{prefix}/{path.name}", path.read_bytes())

    def faults(self, **options: float | str) -> None:
        """What goes wrong from now on: seed, rate, slow_s, only."""
        request = urllib.request.Request(f"{self.endpoint}/-faults?{urlencode(options)}", method="POST")
        urllib.request.urlopen(request).close()

    def seen(self) -> dict[str, int]:
        """What went wrong since."""
        with urllib.request.urlopen(f"{self.endpoint}/-faults") as answer:
            return dict(json.load(answer))
