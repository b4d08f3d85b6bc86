"""Requests to a store: repeated where they fail, and conditional writes that hold although answers are lost."""

from __future__ import annotations

import pytest
from stores_s3 import S3

from colcap import objects
from colcap.objects import NEW, Changed, Url


def test_conditional_writes_hold_though_answers_are_lost(s3: S3) -> None:
    s3.faults(seed=2, rate=0.3, only="500 after")
    urls = [Url.parse(f"{s3.url}/one/{i}") for i in range(10)]

    etags = [objects.put(url, b"first", only_if=NEW) for url in urls]
    again = [objects.put(url, b"second", only_if=etag) for url, etag in zip(urls, etags, strict=True)]

    assert s3.seen()["500 after"] > 2
    for url, etag in zip(urls, etags, strict=True):
        for condition in (NEW, etag):
            with pytest.raises(Changed):
                objects.put(url, b"third", only_if=condition)
    assert [objects.read_with_etag(url) for url in urls] == [(b"second", etag) for etag in again]


@pytest.mark.parametrize("size", [0, 1, 9_000_000])
def test_what_is_read_is_what_was_written_whatever_breaks_off(s3: S3, size: int) -> None:
    data, url = bytes(range(256)) * (size // 256) + b"x" * (size % 256), Url.parse(f"{s3.url}/sizes/{size}")
    s3.faults(seed=size + 1, rate=0.2)

    objects.put(url, data)

    assert objects.read(url) == data
    assert objects.read_bounded(url, size) == data
    assert size == 0 or objects.read_bounded(url, size - 1) is None
    assert objects.open_input(url).read() == data
    assert objects.head(url).size == size  # type: ignore[union-attr]
    s3.faults()
    assert objects.head(url / "none") is None


def test_a_store_that_refuses_is_told_in_one_line(s3: S3) -> None:
    with pytest.raises(FileNotFoundError, match=r"^s3://no-such-bucket/a: no such object$"):
        objects.read(Url.parse("s3://no-such-bucket/a"))
    with pytest.raises(OSError, match="no-such-bucket") as failed:
        objects.put(Url.parse("s3://no-such-bucket/a"), b"")

    assert "\n" not in str(failed.value)
