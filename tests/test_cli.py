"""The command line: help that teaches, refusals that say what to do, exit codes that scripts can use."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import polars as pl
import pytest
from click.testing import CliRunner

import colcap
from colcap.cli import cli
from colcap.flags import FLAGS


def colcap_cli(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "colcap", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def run(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without captions: no engine is needed."""
    folder = tmp_path_factory.mktemp("cli") / "out"
    result = colcap_cli("run", manifest, folder, "--no-generate-captions", "--preview-target-height", 48)
    assert result.returncode == 0, result.stderr
    return folder


def test_every_command_and_option_says_what_it_does() -> None:
    for name, command in cli.commands.items():
        assert command.help, name
        for param in command.params:
            assert isinstance(param, click.Argument) or param.help, f"{name} {param.name}"  # type: ignore[attr-defined]


def test_help_lists_the_commands_in_the_order_of_their_use_and_cuts_no_sentence_short() -> None:
    said = CliRunner().invoke(cli, ["--help"], terminal_width=80).output.partition("Commands:")[2]
    listed = [line.split(maxsplit=1) for line in said.strip().splitlines()]

    assert [name for name, _ in listed][:4] == ["demo", "manifest", "explain", "run"]
    assert {name for name, _ in listed} == set(cli.commands)
    assert [told for _, told in listed if told.endswith("...")] == []


def test_help_shows_every_flag_with_its_default() -> None:
    said = colcap_cli("run", "--help").stdout

    for flag in FLAGS:
        assert f"--{flag.name}" in said, flag.name
    assert "[default: 256]" in " ".join(said.split())


def test_the_manifest_verb_lists_clips(clips_folder: Path, tmp_path: Path) -> None:
    result = colcap_cli("manifest", clips_folder, "-o", tmp_path / "new" / "m.parquet")

    assert result.returncode == 0, result.stderr
    assert "4 clips" in result.stdout
    assert pl.read_parquet(tmp_path / "new" / "m.parquet").height == 4


def test_a_run_prints_what_came_of_it_and_exits_with_0(manifest: Path, tmp_path: Path) -> None:
    result = colcap_cli("run", manifest, tmp_path / "out", "--no-generate-captions")

    assert result.returncode == 0
    assert "3 ok, 1 error" in result.stdout
    assert "broken" in result.stdout


def test_fail_on_error_exits_with_1(manifest: Path, run: Path) -> None:
    flags = ["--no-generate-captions", "--preview-target-height", 48]

    assert colcap_cli("run", manifest, run, *flags, "--fail-on-error").returncode == 1


WINDOW_SIZE = "command line: captioning.window_size (--captioning-window-size): got 2"
MAX_TOKENS = "enhancement.max_output_tokens (--enhance-captions-max-output-tokens): got 0"
FP8 = "captioning.fp8 (--captioning-use-fp8-weights): needs a GPU"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "none.parquet", "out", "--captioning-algorithm", "tiny"], "no such file"),
        (["run", "m.parquet", "out", "--captioning-window-size", "2"], WINDOW_SIZE),
        (["run", "m.parquet", "out", "--captioning-algorithm", "qwen"], "Qwen/Qwen2.5-VL-7B-Instruct"),
        (["run", "m.parquet", "out", "--config", "none.toml"], "none.toml"),
        (["run", "m.parquet", "out", "--captioning-algorithm", "tiny", "--captioning-use-fp8-weights"], FP8),
        (["status", "nowhere"], "is not a run folder, there is no such folder"),
        (["status", "."], "is not a run folder, it has no run.toml"),
        (["run", "m.parquet", ".", "--no-generate-captions"], "is not empty and no run of colcap's, it has m.parquet"),
        (["run", "twice.parquet", "out", "--no-generate-captions"], "ids must be unique"),
        (["run", "paths.parquet", "out"], "needs a column `uri` or `mp4`; it has path"),
        (["run", "m.parquet", "out", "--config", "typo.toml"], "unknown parameter; did you mean window_size?"),
        (["sql", "nowhere", "select 1"], "is not a run folder"),
        (["manifest", "nothing-here", "-o", "m2.parquet"], "no such file"),
        (["run", "m.parquet", "out", "--captioning-widow-size", "2"], "No such option"),
    ],
)
def test_what_cannot_be_done_is_refused_with_2_before_any_work(
    manifest: Path, tmp_path: Path, words: list[str], told: str
) -> None:
    (tmp_path / "m.parquet").write_bytes(manifest.read_bytes())
    pl.DataFrame({"uri": ["a.mp4", "b.mp4"], "clip_id": ["x", "x"]}).write_parquet(tmp_path / "twice.parquet")
    pl.DataFrame({"path": ["a.mp4"]}).write_parquet(tmp_path / "paths.parquet")
    (tmp_path / "typo.toml").write_text("[captioning]\nwindow_sice = 3\n")
    before = sorted(tmp_path.iterdir())

    result = colcap_cli(*words, cwd=tmp_path)

    assert result.returncode == 2, result.stderr
    assert told in result.stderr
    assert "Traceback" not in result.stderr
    left = sorted(path for path in tmp_path.iterdir() if path.name not in (".lock", "run.log", "models"))
    assert left == before


def test_status_and_check_read_a_run(run: Path) -> None:
    status, check = colcap_cli("status", run), colcap_cli("check", run, "--verify")

    assert status.returncode == check.returncode == 0
    assert "1 of 1 parts" in status.stdout
    assert "every check passed" in check.stdout


def test_check_lists_what_does_not_hold_and_exits_with_1(manifest: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    colcap.run(manifest, folder, generate_captions=False)
    path = folder / "windows_mp4" / "part-000000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)

    result = colcap_cli("check", folder, "--verify")

    assert result.returncode == 1
    assert "windows_mp4" in result.stdout


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet"])
def test_sql_prints_in_every_format(run: Path, tmp_path: Path, form: str) -> None:
    query = "select clip_id, num_windows from clips order by clip_id"
    command = [sys.executable, "-m", "colcap", "sql", str(run), query, "--format", form]
    said = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout

    expected = [("across", 1), ("broken", 0), ("change", 2), ("short", 1)]
    if form == "csv":
        assert said.decode().splitlines() == ["clip_id,num_windows", *(f"{name},{count}" for name, count in expected)]
    elif form == "json":
        assert [tuple(json.loads(line).values()) for line in said.decode().splitlines()] == expected
    elif form == "parquet":
        (tmp_path / "rows.parquet").write_bytes(said)
        assert pl.read_parquet(tmp_path / "rows.parquet").rows() == expected
    else:
        assert [tuple(line.split()) for line in said.decode().splitlines()[2:]] == [(n, str(c)) for n, c in expected]


def test_sql_runs_named_queries_and_refuses_to_write(run: Path, tmp_path: Path) -> None:
    named = colcap_cli("sql", run, "@errors")
    refused = colcap_cli("sql", run, f"copy (select 1) to '{tmp_path}/x.csv'")

    assert named.returncode == 0
    assert "broken" in named.stdout
    assert refused.returncode == 2
    assert not list(tmp_path.iterdir())


def test_the_run_file_records_choices_and_versions(run: Path) -> None:
    result = tomllib.loads((run / "run.toml").read_text())

    assert result["config"]["preview"]["target_height"] == 48
    assert result["versions"]["colcap"]
    assert result["run"]["clips"] == 4


def test_importing_colcap_is_light() -> None:
    script = "import sys, colcap; print([m for m in ('torch', 'vllm', 'ray', 'transformers') if m in sys.modules])"

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_a_manifest_has_the_name_of_what_it_is(clips_folder: Path, tmp_path: Path) -> None:
    result = colcap_cli("manifest", clips_folder, "-o", tmp_path / "m.csv")

    assert result.returncode != 0
    assert "a manifest is Parquet" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["preview", "--preview-quality", "500"], "preview.quality (--preview-quality): got 500"),
        (["enhance", "--enhance-captions-max-output-tokens", "0"], MAX_TOKENS),
        (["caption", "--set", "../x"], "letters, digits"),
    ],
)
def test_a_dry_run_refuses_what_the_run_would(run: Path, words: list[str], told: str) -> None:
    verb, *options = words

    result = colcap_cli(verb, run, *options, "--dry-run")

    assert result.returncode == 2
    assert told in result.stderr
