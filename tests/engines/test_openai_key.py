"""The server's key is in no message, row, log or file."""

from __future__ import annotations

import logging
from pathlib import Path

import misbehaving as server_that
import pytest
from asking import KEY, ask
from misbehaving import answer, refuses, says

import colcap
from colcap.config import parse
from colcap.errors import ConfigError, EngineError

pytestmark = pytest.mark.usefixtures("quick")
GOOD = says(answer())


def test_a_wrong_key_is_found_before_any_work(manifest: Path, tmp_path: Path) -> None:
    with server_that.server(GOOD, models=refuses(401, f"no: {KEY}")) as seen:
        server = {"api_base": seen.url, "api_key_env": "TEST_KEY"}
        with pytest.raises(EngineError, match="refuses the key") as stopped:
            colcap.run(manifest, tmp_path / "out", captioning={"engine": "openai", "server": server})

    assert KEY not in str(stopped.value)


def test_the_key_goes_to_the_server_and_nowhere_else(
    manifest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = refuses(400, f"your key is {KEY}")
    with server_that.server(GOOD, echo, GOOD) as seen:
        server = {"api_base": seen.url, "api_key_env": "TEST_KEY", "max_concurrent_requests": 1}
        options = {"model_variant": "m", "engine": "openai", "server": server}
        run = colcap.run(manifest, tmp_path / "out", captioning=options, generate_previews=False)

    rows = run.captions.collect()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert {headers["authorization"] for headers in seen.headers} == {f"Bearer {KEY}"}
    assert rows["status"].to_list().count("ok") == 3
    assert rows.filter(status="error")["error"].to_list() == ["HTTP 400: your key is [key]"]
    assert set(rows["model"]) == {"m"}
    assert KEY.encode() not in written
    assert KEY not in caplog.text


@pytest.mark.parametrize("before", [1000, 1980])
@pytest.mark.parametrize("how", ["error", "refusal", "caption", "stops"])
def test_no_part_of_the_key_is_left_where_a_text_is_cut(before: int, how: str) -> None:
    said = "." * (before - len(KEY) // 2) + KEY
    answers = {
        "error": refuses(400, said),
        "refusal": says(answer(message={"role": "assistant", "content": None, "refusal": said})),
        "caption": says(answer(f"A car. {said}")),
        "stops": refuses(403, said),
    }
    try:
        with server_that.server(answers[how]) as seen:
            [result] = ask(seen)
        told = f"{result.error} {result.text}"
    except EngineError as stopped:
        told = str(stopped)

    assert "." * 900 in told
    assert KEY[:6] not in told


@pytest.mark.parametrize(
    ("server", "told", "secret"),
    [
        ({"api_base": "http://me:hunter2@host/v1"}, "a key goes in api_key_env", "hunter2"),
        ({"api_base": "https://host/v1?key=hunter2"}, "a key goes in api_key_env", "hunter2"),
        ({"api_base": "file:///etc/passwd"}, "must be a URL like", "passwd"),
        ({"api_key_env": "sk-hunter2"}, "name of an environment variable", "hunter2"),
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(
    server: dict[str, str], told: str, secret: str
) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        parse({"captioning": {"server": server}})

    assert secret not in str(refused.value)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", " "])
def test_the_line_end_of_a_file_is_no_part_of_the_key(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    monkeypatch.setenv("TEST_KEY", KEY + end)
    with server_that.server(GOOD) as seen:
        [result] = ask(seen)

    assert result.text == "A car."
    assert seen.headers[0]["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["sk-s\u00e9cret", "sk-se\ncret", "sk-se\x1bcret"])
def test_what_can_be_no_key_is_refused_without_being_told(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("TEST_KEY", key)
    with server_that.server(GOOD) as seen, pytest.raises(ConfigError, match="TEST_KEY") as refused:
        ask(seen)

    assert "cret" not in str(refused.value)


@pytest.mark.parametrize("said", [r"ab\/cd+ef12", r"ab/cd\u002Bef12", r"ab\/cd\u002bef12", "ab%2Fcd%2bef12"])
def test_the_key_is_known_again_where_it_is_escaped(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv("TEST_KEY", "ab/cd+ef12")
    body = f'{{"detail": "bad key {said}"}}'.encode()
    with server_that.server(server_that.sends(body, 422)) as seen:
        [result] = ask(seen)

    assert result.error is not None
    assert result.error.text == 'HTTP 422: {"detail": "bad key [key]"}'
