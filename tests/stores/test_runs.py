"""A run folder on an object store: the same tables as in a folder, whatever the network does."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal
from stores_s3 import KEY, S3, SECRET, TOKEN

import colcap
from colcap import store
from colcap.cli import cli
from colcap.engines.base import Engine
from colcap.errors import ConfigError, RunError
from colcap.objects import Url
from colcap.qa.check import check
from colcap.store import lease

TABLES = ("clips", "windows", "previews")


@pytest.fixture(scope="module")
def manifest(s3: S3, clips_folder: Path) -> str:
    """A manifest on the store, of clips on the store."""
    for path in clips_folder.glob("*.mp4"):
        s3.put(f"clips/{path.name}", path.read_bytes())
    listed = CliRunner().invoke(cli, ["manifest", f"{s3.url}/clips", "-o", f"{s3.url}/m.parquet"])
    assert listed.exit_code == 0, listed.output
    return f"{s3.url}/m.parquet"


HASHED = """
select window_id, sha256(mp4) as hash from windows_mp4
union all select window_id, sha256(webp) from previews_webp
"""


def rows(run: colcap.Run) -> dict[str, list[tuple[object, ...]]]:
    """Every table's rows, and the hashes of the bytes, in an order of their own."""
    frames = {name: run.table(name).collect().drop("uri", strict=False) for name in TABLES}
    frames["bytes"] = run.sql(HASHED, blobs=True)
    return {name: sorted(frame.rows(), key=repr) for name, frame in frames.items()}


@pytest.fixture(scope="module")
def local(manifest: str, tmp_path_factory: pytest.TempPathFactory) -> colcap.Run:
    """The same clips run into a folder."""
    return colcap.run(manifest, tmp_path_factory.mktemp("local") / "run", generate_captions=False, clips_per_part=1)


@pytest.fixture(scope="module")
def run(s3: S3, manifest: str, local: colcap.Run) -> colcap.Run:
    """A run made while one request in five fails, and answers are slow."""
    s3.faults(seed=11, rate=0.2, slow_s=0.02)
    made = colcap.run(manifest, f"{s3.url}/runs/one", generate_captions=False, clips_per_part=1)
    wrong = {kind: count for kind, count in s3.seen().items() if kind.startswith(("5", "cut"))}
    s3.faults()
    assert sum(wrong.values()) > 5
    return made


def test_tables_are_those_of_a_local_run(run: colcap.Run, local: colcap.Run) -> None:
    assert rows(run) == rows(local)
    assert repr(run) == "Run('s3://test-runs/runs/one')"


def test_nothing_but_the_run_is_there(s3: S3, run: colcap.Run) -> None:
    tables = ("clips", "windows", "windows_mp4", "previews", "previews_webp", "timings")
    parts = {f"runs/one/{table}/part-{part:06d}.parquet" for table in tables for part in range(4)}

    assert set(s3.names("runs/one/")) == parts | {
        f"runs/one/{n}" for n in (".lock", "manifest.parquet", "run.log", "run.toml")
    }
    assert json.loads(s3.get("runs/one/.lock"))["released"] is True


def test_local_copies_hold_no_video(run: colcap.Run) -> None:
    """Footers and facts only, here; the bytes are read from the store."""
    fresh = store.readable("s3://test-runs/runs/one")
    blobs = [path for path in fresh.parents[2].rglob("windows_mp4/*.parquet") if "write" in path.parts]

    assert len(blobs) == 4
    assert all(path.stat().st_blocks * 512 <= 16384 for path in blobs)
    assert check(fresh, verify=True) == []


def ask(*words: str) -> str:
    """What a command says."""
    answer = CliRunner().invoke(cli, list(words))
    assert answer.exit_code == 0, (answer.output, answer.exception)
    return answer.stdout


def test_every_verb_reads_it_from_there(s3: S3, run: colcap.Run, tmp_path: Path) -> None:
    url = f"{s3.url}/runs/one"

    assert ask("sql", url, "select count(*) as n from windows", "--format", "csv").split() == ["n", "4"]
    assert f"{url}: 4 of 4 parts" in ask("status", url)
    assert "truncated" in ask("qa", url)
    assert f"{url}: every check passed" in ask("check", url, "--verify")
    assert "4 windows, in" in ask("gallery", url, "-o", str(tmp_path / "g.html"), "--where", "window_id is not null")
    assert (tmp_path / "g.html").read_text().count("data:image/webp") == 4
    ask("export", url, str(tmp_path / "tree"), "--format", "curator", "--clips")
    assert (tmp_path / "tree/clips/short.mp4").read_bytes() == s3.get("clips/short.mp4")
    ask("export", url, str(tmp_path / "table"), "--format", "parquet", "--media", "both")
    assert pl.read_parquet(tmp_path / "table/*.parquet")["mp4"].null_count() == 1


def test_pages_and_exports_may_be_written_there(s3: S3, run: colcap.Run, tmp_path: Path) -> None:
    run.gallery(f"{s3.url}/pages/g.html")
    there = run.gallery(tmp_path / "g.html")
    done = run.export(f"{s3.url}/lines", format="jsonl")

    assert s3.get("pages/g.html") == Path(str(there)).read_bytes()
    assert s3.client.head_object(Bucket=s3.bucket, Key="pages/g.html")["ContentType"] == "text/html"
    assert s3.names("lines/") == [f"lines/part-{part:06d}.jsonl" for part in range(4)]
    assert str(done.path) == f"{s3.url}/lines"
    with pytest.raises(ConfigError, match="not empty"):
        run.export(f"{s3.url}/lines", format="jsonl")


def test_a_flipped_bit_is_found_and_only_its_part_is_made_again(s3: S3, manifest: str, run: colcap.Run) -> None:
    key = "runs/one/windows_mp4/part-000000.parquet"
    sound = {name: s3.get(name) for name in s3.names("runs/one/") if "/part-" in name and "timings" not in name}
    broken = bytearray(sound[key])
    broken[len(broken) // 2] ^= 1
    s3.put(key, bytes(broken))

    found = CliRunner().invoke(cli, ["check", f"{s3.url}/runs/one", "--verify"])
    colcap.run(manifest, f"{s3.url}/runs/one", verify=True)

    assert found.exit_code == 1
    assert "windows_mp4 part 0" in found.output
    assert {name: s3.get(name) for name in sound} == sound
    assert "every check passed" in ask("check", f"{s3.url}/runs/one", "--verify")


def start(manifest: str, url: str, *flags: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "colcap", "run", manifest, url, "--clips-per-part", "1", *flags]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, start_new_session=True, **quiet)  # type: ignore[call-overload,no-any-return]


def wait_for(s3: S3, prefix: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not s3.names(prefix) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_killed_at_any_moment_it_goes_on(s3: S3, manifest: str, local: colcap.Run) -> None:
    url, kept = f"{s3.url}/runs/killed", {}
    s3.faults(seed=7, rate=0.05, slow_s=0.01)
    for part in (0, 2):
        process = start(manifest, url, "--no-generate-captions")
        wait_for(s3, f"runs/killed/windows_mp4/part-{part:06d}", process)
        process.kill()
        process.wait()
        kept |= {name: s3.get(name) for name in s3.names("runs/killed/clips/")}

    run = colcap.run(manifest, url, generate_captions=False, clips_per_part=1)

    s3.faults()
    assert kept
    assert {name: s3.get(name) for name in kept} == kept
    assert rows(run) == rows(local)
    assert check(run.path, verify=True) == []


def test_of_two_writers_at_once_one_is_refused(s3: S3, manifest: str, local: colcap.Run) -> None:
    url = f"{s3.url}/runs/two"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "RENEW_S", 0.2)
        with store.writable(url):
            others = dict(os.environ) | {"XDG_CACHE_HOME": os.environ["XDG_CACHE_HOME"] + "-other-machine"}
            for environment in (dict(os.environ), others):
                refused = subprocess.run(
                    [sys.executable, "-m", "colcap", "run", manifest, url, "--no-generate-captions"],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert refused.returncode == 2
                assert "another colcap process is writing this run" in refused.stderr

    assert rows(colcap.run(manifest, url, generate_captions=False, clips_per_part=1)) == rows(local)


def test_a_writer_that_was_taken_for_dead_writes_nothing_more(s3: S3) -> None:
    url = Url.parse(f"{s3.url}/runs/lease/.lock")
    first = lease.Lease(url, "first", lease_s=0.5, renew_s=60)

    second = lease.Lease(url, "second", lease_s=0.5, renew_s=60)

    with pytest.raises(RunError, match="has taken this run over"):
        first.check()
    second.check()
    second.release()
    lease.Lease(url, "third", lease_s=60, renew_s=60).release()


def test_a_part_that_is_replaced_is_never_half_old(s3: S3, manifest: str, run: colcap.Run) -> None:
    """Cut off after its journal: the next writer finishes it; cut off before: nothing happened."""
    before = {name: s3.get(name) for name in s3.names("runs/one/") if "/previews" in name}
    pairs = [(f".stage-x/{i}", f"{table}/part-000000.parquet") for i, table in enumerate(("previews_webp", "previews"))]
    for staged, name in pairs:
        s3.put(f"runs/one/{staged}", s3.get(f"runs/one/{name.replace('000000', '000002')}"))
    s3.put("runs/one/.stage-y/0", b"never finished")
    s3.put("runs/one/.commit-x.json", json.dumps(pairs).encode())

    with store.writable(f"{s3.url}/runs/one"):
        pass

    assert s3.get("runs/one/previews/part-000000.parquet") == before["runs/one/previews/part-000002.parquet"]
    assert s3.get("runs/one/previews_webp/part-000000.parquet") == before["runs/one/previews_webp/part-000002.parquet"]
    assert not [name for name in s3.names("runs/one/.") if ".stage" in name or ".commit" in name]
    for name, data in before.items():
        s3.put(name, data)
    assert check(run.path, verify=True) == []


def test_failed_rows_are_made_again_in_their_parts(s3: S3, manifest: str, clips_folder: Path) -> None:
    url = f"{s3.url}/runs/retried"
    listed = pl.read_parquet(s3.get("m.parquet")).drop("num_bytes")
    good, bad = (clips_folder / "short.mp4").read_bytes(), (clips_folder / "broken.mp4").read_bytes()
    buffer = io.BytesIO()
    listed.with_columns(uri=pl.col("uri").str.replace("broken", "mended")).write_parquet(buffer)
    s3.put("retried.parquet", buffer.getvalue())
    s3.faults(seed=3, rate=0.1)
    s3.put("clips/mended.mp4", bad)
    first = colcap.run(f"{s3.url}/retried.parquet", url, generate_captions=False, clips_per_part=4)
    windows = first.windows.collect()
    s3.put("clips/mended.mp4", good)

    again = colcap.run(f"{s3.url}/retried.parquet", url, retry_errors=True)

    s3.faults()
    s3.client.delete_object(Bucket=s3.bucket, Key="clips/mended.mp4")
    assert again.clips.collect()["status"].to_list() == ["ok"] * 4
    assert_frame_equal(again.windows.filter(pl.col("clip_id") != "broken").collect(), windows)
    assert not [name for name in s3.names("runs/retried/.") if name != "runs/retried/.lock"]
    assert check(again.path, verify=True) == []


def test_no_secret_is_anywhere(s3: S3, run: colcap.Run, tmp_path: Path) -> None:
    written = {name: s3.get(name) for name in s3.names()}
    cache = Path(os.environ["XDG_CACHE_HOME"])
    written |= {str(path): path.read_bytes() for path in cache.rglob("*") if path.is_file()}

    assert len(written) > 50
    leaks = [name for name, data in written.items() for secret in (KEY, SECRET, TOKEN) if secret.encode() in data]
    assert leaks == []


def test_what_is_no_run_and_what_cannot_be_reached_is_told(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match=f"{s3.url}/nothing: is not a run folder"):
        colcap.open(f"{s3.url}/nothing")
    with pytest.raises(ConfigError, match="a run can be in a folder or on s3://, az://"):
        colcap.open("gs://bucket/run")
    with pytest.raises(RunError, match="other-bucket"):
        colcap.run(f"{s3.url}/m.parquet", "s3://other-bucket/run", generate_captions=False)


def test_captions_by_an_engine(s3: S3, manifest: str, tiny_engine: Engine, truth: pl.DataFrame) -> None:
    run = colcap.run(
        manifest, f"{s3.url}/runs/captions", engine=tiny_engine, captioning={"model_variant": "tiny"}, clips_per_part=2
    )

    assert_frame_equal(
        run.captions.select("window_id", truth="caption").collect().sort("window_id"), truth.sort("window_id")
    )
    assert run.search("circle").height == run.captions.filter(pl.col("caption").str.contains("circle")).collect().height
    colcap.caption(f"{s3.url}/runs/captions", where="true", engine=tiny_engine, prompt_text="Describe it.")
    assert run.captions.collect()["attempt"].max() == 2
    assert check(run.path, verify=True) == []
