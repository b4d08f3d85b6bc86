"""The notebooks run from top to bottom on the demo's run, show previews and plots, and are kept without outputs."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Final

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

import colcap
from colcap.demo import make_clips
from colcap.engines.base import Engine

BOOKS: Final = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
PREVIEW: Final = re.compile(r"data:image/webp;base64,[\w+/=]+")
PLOTS: Final = {"1_explore_captions": 3, "2_find_and_fix_bad_captions": 1, "3_compare_two_prompts": 2}


@pytest.fixture(scope="module")
def demo(tiny_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs that the notebooks would make themselves, which takes an engine's start for each."""
    folder = tmp_path_factory.mktemp("demo")
    make_clips(folder)
    for name, chosen in (("run", {}), ("hasty", {"max_output_tokens": 6})):
        captioning = {"model_variant": "tiny", **chosen}
        clips = folder / "clips.parquet"
        colcap.run(clips, folder / name, engine=tiny_engine, captioning=captioning, clips_per_part=4)
    return folder


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path: Path, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLCAP_DEMO", str(demo))
    book = nbformat.read(path, as_version=4)

    NotebookClient(book, timeout=300, resources={"metadata": {"path": path.parent}}).execute()

    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    tables = [data["text/html"] for output in outputs if "text/html" in (data := output.get("data", {}))]
    plots = [data["image/png"] for output in outputs if "image/png" in (data := output.get("data", {}))]
    assert any(PREVIEW.search(html) for html in tables)
    assert len(plots) == PLOTS[path.stem]
    assert all(_is_drawn(base64.b64decode(plot)) for plot in plots)
    assert "RIFF" not in PREVIEW.sub("", str(outputs))  # no blob is printed, and base64 may say anything


def _is_drawn(png: bytes) -> bool:
    """Axes and text alone have greys; bars have colours."""
    _, saturation, _ = Image.open(io.BytesIO(png)).convert("HSV").split()
    return bool((np.asarray(saturation) > 60).sum() > 1000)


def test_there_are_three_without_outputs() -> None:
    books = [nbformat.read(path, as_version=4) for path in BOOKS]

    assert [path.stem for path in BOOKS] == list(PLOTS)
    assert not [cell for book in books for cell in book.cells if cell.get("outputs") or cell.get("execution_count")]
