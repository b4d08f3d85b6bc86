"""The notebooks run from top to bottom on the demo's run, show previews and plots, and are kept without outputs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import nbformat
import pytest
from nbclient import NotebookClient

import colcap
from colcap.demo import make_clips
from colcap.engines.base import Engine

BOOKS: Final = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
PREVIEW: Final = re.compile(r"data:image/webp;base64,[\w+/=]+")
PLOTTED: Final = {
    "1_explore_captions": ["characters of a caption", "tokens of a caption", "error_kind", "seconds by the clock"],
    "2_find_and_fix_bad_captions": ["chosen by the condition"],
    "3_compare_two_prompts": ["tokens of a caption", "word for word"],
}


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
    plots = " ".join(output.get("data", {}).get("image/svg+xml", "") for output in outputs)
    assert any(PREVIEW.search(html) for html in tables)
    assert [title for title in PLOTTED[path.stem] if title not in plots] == []
    assert "RIFF" not in PREVIEW.sub("", str(outputs))  # no blob is printed, and base64 may say anything


def test_there_are_three_without_outputs() -> None:
    books = [nbformat.read(path, as_version=4) for path in BOOKS]

    assert [path.stem for path in BOOKS] == list(PLOTTED)
    assert not [cell for book in books for cell in book.cells if cell.get("outputs") or cell.get("execution_count")]
