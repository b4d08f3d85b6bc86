"""Clips and manifests on an object store: listed, read within what is allowed, and the same rows as from the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal
from stores_s3 import KEY, S3, SECRET

import colcap
from colcap.cli import cli
from colcap.errors import ConfigError, ManifestError, RowError
from colcap.manifests import ClipReader, freeze, from_sources
from colcap.objects import Url


@pytest.fixture(scope="module")
def clips(s3: S3, clips_folder: Path) -> str:
    """The prefix of the suite's clips."""
    for path in clips_folder.glob("*.mp4"):
        s3.put(f"clips/{path.name}", path.read_bytes())
    s3.put("clips/deep/notes.txt", b"no clip")
    s3.put("clips/deep/a b#%20é.mp4", b"12345")
    return f"{s3.url}/clips"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", ["across.mp4", "broken.mp4", "change.mp4", "deep/a b#%20é.mp4", "short.mp4"]),
        ("/*.mp4", ["across.mp4", "broken.mp4", "change.mp4", "short.mp4"]),
        ("/[ab]*.mp4", ["across.mp4", "broken.mp4"]),
        ("/**/notes.*", ["deep/notes.txt"]),
        ("/deep/notes.txt", ["deep/notes.txt"]),
    ],
)
def test_prefixes_patterns_and_names_are_listed(clips: str, source: str, expected: list[str]) -> None:
    result = from_sources([clips + source])

    assert [uri.removeprefix(f"{clips}/") for uri in result["uri"]] == expected
    assert result["num_bytes"].null_count() == 0


def test_an_object_that_is_not_there_is_told(clips: str) -> None:
    with pytest.raises(ManifestError, match="no such object"):
        from_sources([f"{clips}/none.mp4"])


def test_the_reader_stays_inside_its_root_and_its_size(clips: str) -> None:
    read = ClipReader(root=Url.parse(f"{clips}/deep"), max_bytes=5)

    def kind(uri: str, reader: ClipReader = read) -> str:
        with pytest.raises(RowError) as failed:
            reader(uri)
        assert failed.value.kind in ("unreadable", "too_large")
        return f"{failed.value.kind}: {failed.value.text}"

    assert read(f"{clips}/deep/a b#%20é.mp4") == b"12345"
    assert kind(f"{clips}/deep/notes.txt").startswith("too_large")
    assert "no such object" in kind(f"{clips}/deep/none.mp4")
    assert "outside --root" in kind(f"{clips}/short.mp4")
    assert "outside --root" in kind("s3://other/clips/deep/a.mp4")
    assert "outside --root" in kind("/etc/passwd")
    assert "`..`" in kind(f"{clips}/deep/../short.mp4")
    assert "outside --root" in kind(f"{clips}/short.mp4", ClipReader(root=Path("/data"), max_bytes=5))


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        (f"s3://{KEY}:{SECRET.replace('/', '')}@bucket/a.mp4", "credentials belong in"),
        (f"s3://{KEY}:{SECRET}@bucket/a.mp4", "no bucket"),
        ("s3://bucket/a.mp4?X-Amz-Signature=dead", "query does not belong"),
        ("filecache::s3://bucket/a.mp4", "no URL of a known kind"),
        ("ftp://host/a.mp4", "no URL of a known kind"),
        ("https://host/a.mp4", "allow-http"),
        ("s3://bucket/../a.mp4", "`..`"),
    ],
)
def test_other_urls_are_refused_before_anything_is_done(tmp_path: Path, uri: str, told: str) -> None:
    manifest = tmp_path / "m.parquet"
    pl.DataFrame({"uri": [uri]}).write_parquet(manifest)

    with pytest.raises(ManifestError, match=told) as refused:
        freeze(manifest, tmp_path / "frozen.parquet", clips_per_part=1)

    assert "dead" not in str(refused.value)
    assert SECRET[-10:] not in str(refused.value)


def test_http_is_read_where_it_is_asked_for(s3: S3, clips: str) -> None:
    s3.client.put_object_acl(Bucket=s3.bucket, Key="clips/short.mp4", ACL="public-read")
    uri = f"{s3.endpoint}/{s3.bucket}/clips/short.mp4"

    assert ClipReader(max_bytes=1 << 30, http=True)(uri) == s3.get("clips/short.mp4")
    with pytest.raises(RowError, match="allow-http"):
        ClipReader(max_bytes=1 << 30)(uri)


def test_relative_uris_are_meant_from_their_manifest(s3: S3, clips: str, tmp_path: Path) -> None:
    pl.DataFrame({"uri": ["../clips/short.mp4", f"{clips}/across.mp4", "/data/a.mp4"]}).write_parquet(tmp_path / "m")
    s3.put("lists/m.parquet", (tmp_path / "m").read_bytes())

    freeze(Url.parse(f"{s3.url}/lists"), tmp_path / "frozen.parquet", clips_per_part=1)

    uris = pl.read_parquet(tmp_path / "frozen.parquet")["uri"].to_list()
    assert uris == [f"{clips}/short.mp4", f"{clips}/across.mp4", "/data/a.mp4"]


def test_a_run_of_objects_has_the_rows_of_a_run_of_files(
    s3: S3, clips: str, clips_folder: Path, tmp_path: Path
) -> None:
    """With answers that are lost, cut and slow; and an object that vanished is what a vanished file is."""
    listed = CliRunner().invoke(cli, ["manifest", f"{clips}/*.mp4", "-o", f"{s3.url}/lists/all.parquet"])
    assert listed.exit_code == 0, listed.output
    manifests = {"s3": f"{s3.url}/lists/all.parquet", "files": str(tmp_path / "files.parquet")}
    files = Path(shutil.copytree(clips_folder, tmp_path / "clips"))
    from_sources([str(files / "*.mp4")]).write_parquet(manifests["files"])
    removed = s3.get("clips/change.mp4")
    s3.client.delete_object(Bucket=s3.bucket, Key="clips/change.mp4")
    (files / "change.mp4").unlink()
    s3.faults(seed=5, rate=0.3, slow_s=0.05)

    runs = {name: colcap.run(given, tmp_path / name, generate_captions=False) for name, given in manifests.items()}

    s3.put("clips/change.mp4", removed)
    assert sum(count for kind, count in s3.seen().items() if kind.startswith(("5", "cut"))) > 0
    facts = [runs[name].clips.drop("uri", "error").collect() for name in manifests]
    assert_frame_equal(*facts)
    assert_frame_equal(*[runs[name].windows.collect() for name in manifests])
    assert facts[0].sort("clip_id")["error_kind"].to_list() == [None, "unreadable", "unreadable", None]
    assert "no such object" in runs["s3"].clips.filter(clip_id="change").collect()["error"].item()
    assert all(uri.startswith("s3://") for uri in runs["s3"].clips.collect()["uri"])


def test_credentials_are_those_of_the_environment_or_of_the_profile_it_names(
    s3: S3, clips: str, tmp_path: Path
) -> None:
    named = tmp_path / "credentials"
    named.write_text("[mine]\naws_access_key_id = AKIAPROFILEOFTHETEST\naws_secret_access_key = not-a-secret\n")
    profile = {**os.environ, "AWS_PROFILE": "mine", "AWS_SHARED_CREDENTIALS_FILE": str(named)}
    profile = {name: value for name, value in profile.items() if name not in ("AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN")}
    s3.faults()

    for environment in (dict(os.environ), profile):
        subprocess.run(
            [sys.executable, "-m", "colcap", "manifest", clips, "-o", str(tmp_path / "m.parquet")],
            env=environment,
            check=True,
        )

    assert {name for name in s3.seen() if name.startswith("key")} == {f"key {KEY}", "key AKIAPROFILEOFTHETEST"}


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)

    with pytest.raises(ConfigError, match=r"pip install 'colcap\[s3\]'"):
        from_sources(["s3://bucket/clips"])
