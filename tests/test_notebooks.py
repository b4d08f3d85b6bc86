"""The notebooks run from top to bottom on the demo's run, show previews and plots, and are kept without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import colcap
from colcap.demo import make_clips
from colcap.engines.base import Engine

BOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
PLOT = "application/vnd.vegalite"


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

    shown = [output.get("data", {}) for cell in book.cells for output in cell.get("outputs", [])]
    assert any("data:image/webp;base64," in data.get("text/html", "") for data in shown)
    assert any(kind.startswith(PLOT) for data in shown for kind in data)
    assert not any("RIFF" in str(data) for data in shown)


def test_there_are_three_without_outputs() -> None:
    books = [nbformat.read(path, as_version=4) for path in BOOKS]

    assert len(books) == 3
    assert not [cell for book in books for cell in book.cells if cell.get("outputs") or cell.get("execution_count")]
