"""What is published: a wheel that runs the demo, and types that strict checkers accept, far from any checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
MAX_WHEEL_BYTES = 4 << 20
MAX_SDIST_BYTES = 8 << 20

CONSUMER = """
import polars as pl

import colcap


def captions(manifest: str, folder: str) -> pl.DataFrame:
    config = colcap.Config.model_validate({"captioning": {"model_variant": "tiny"}})
    run: colcap.Run = colcap.run(manifest, folder, config=config)
    again: colcap.Run = colcap.caption(run.path, where="finish_reason = 'length'", max_output_tokens=1024)
    frames: pl.LazyFrame = colcap.captions(colcap.windows(colcap.manifest("clips/")), model_variant="tiny")
    try:
        return again.sql("@truncated").join(frames.collect(), on="window_id")
    except colcap.ColcapError as error:
        raise SystemExit(error.exit_code) from error
"""


MYPY = """
[mypy]
strict = true

[mypy-torch.*,torchvision.*,vllm.*,transformers.*,huggingface_hub.*,ray.*,openai.*,IPython.*,obstore.*]
follow_imports = skip
"""
"""Extras that a program need not have: 4,000 modules that colcap's public types do not show."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel; `build` makes the wheel from the sdist, as installers would."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, CHECKOUT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment's bin folder. It borrows what colcap depends on from this one, but not its colcap."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python"]
    wheel = _only(built, "*.whl")
    _run(*pip, "install", "-qq", "--disable-pip-version-check", "--no-deps", "--no-index", wheel, cwd=folder)
    site = next((folder / "lib").glob("python*/site-packages"))
    # a path in a .pth file is searched, but .pth files there are not read: an editable colcap stays unseen
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


def _only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def _run(*words: str | Path, cwd: Path, timeout: float = 240) -> str:
    """Run a command that knows nothing of this checkout; its output."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=plain, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_what_a_run_needs_and_nothing_else(built: Path) -> None:
    wheel = _only(built, "*.whl")
    names = zipfile.ZipFile(wheel).namelist()

    queries = {path.name for path in (CHECKOUT / "sql").glob("*.sql")}
    assert {name.removeprefix("colcap/sql/") for name in names if name.startswith("colcap/sql/")} == queries
    for needed in ["py.typed", "qa/gallery/gallery.html.jinja", "models/tiny/checkpoint/model.safetensors"]:
        assert f"colcap/{needed}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "/training/" in name or name.startswith("tests/")]
    assert wheel.stat().st_size < MAX_WHEEL_BYTES
    assert _only(built, "*.tar.gz").stat().st_size < MAX_SDIST_BYTES


def test_what_is_installed_is_the_wheel(installed: Path, tmp_path: Path) -> None:
    said = _run(installed / "python", "-c", "import colcap; print(colcap.__file__)", cwd=tmp_path)

    assert Path(said.strip()).is_relative_to(installed.parent)


@pytest.mark.slow
def test_the_installed_demo_captions_its_clips(installed: Path, tmp_path: Path) -> None:
    said = _run(installed / "colcap", "demo", cwd=tmp_path)

    assert "captions beside the truth" in said
    count = "select count(*) filter (status = 'ok') as ok from captions_latest"
    assert _run(installed / "colcap", "sql", "demo/run", count, "--format", "csv", cwd=tmp_path).split() == ["ok", "15"]


def test_strict_mypy_accepts_a_program_that_uses_the_public_api(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "consumer.py").write_text(CONSUMER)
    (tmp_path / "mypy.ini").write_text(MYPY)
    mypy = [sys.executable, "-m", "mypy", "--python-executable", installed / "python", "--no-incremental"]

    assert "Success" in _run(*mypy, "consumer.py", cwd=tmp_path)
