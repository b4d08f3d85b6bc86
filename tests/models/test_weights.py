"""Weights are found where the order says, and are complete, or the message says what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from colcap.errors import WeightsError
from colcap.models import files
from colcap.models.registry import VARIANTS
from colcap.models.weights import resolve

TINY = resolve("tiny", model_dir=Path("models"))


def copy(to: Path) -> Path:
    """The embedded model's files, in another folder."""
    shutil.copytree(TINY.path, to)
    return to


def sharded(folder: Path) -> Path:
    """The same with its weights under an index, as large models have them."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_the_embedded_model() -> None:
    budget = (TINY.factor, TINY.min_pixels, TINY.max_pixels, TINY.total_pixels)

    assert (TINY.id, TINY.family, TINY.is_tiny) == ("colcap/tiny", "qwen2_5_vl", True)
    assert budget == (28, 7840, 15680, 15680 * 384)


@pytest.mark.parametrize("name", list(VARIANTS["vision"]))
def test_a_variant_is_taken_from_model_dir(tmp_path: Path, name: str) -> None:
    variant = VARIANTS["vision"][name]
    folder = copy(tmp_path / variant.id)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": variant.family}))

    result = resolve(name, model_dir=tmp_path, allow_download=False)

    assert (result.id, result.revision, result.path) == (variant.id, variant.revision, tmp_path / variant.id)
    assert variant.budget is not None
    assert (result.factor, result.max_pixels) == (variant.budget.factor, variant.budget.max_pixels)


def test_a_local_folder_is_named_by_its_content(tmp_path: Path) -> None:
    one, same, other = copy(tmp_path / "one"), copy(tmp_path / "two"), copy(tmp_path / "three")
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)

    result = [resolve(str(folder), model_dir=tmp_path) for folder in (one, same, other)]

    assert [model.id for model in result] == ["one", "two", "three"]
    assert result[0].revision == result[1].revision == TINY.revision
    assert result[2].revision != result[0].revision


def test_a_text_model_sees_no_frames(tmp_path: Path) -> None:
    folder = copy(tmp_path / "text")
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))

    result = resolve(str(folder), model_dir=tmp_path, kind="text")

    assert (result.family, result.max_pixels) == ("text", 0)
    with pytest.raises(WeightsError, match=r"model_type 'qwen2'; captions need one of qwen2_5_vl, qwen3_vl"):
        resolve(str(folder), model_dir=tmp_path)


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_sharded_weights_are_complete(tmp_path: Path) -> None:
    assert files.problem(sharded(copy(tmp_path / "m"))) is None


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (
            lambda f: [(f / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")],
            "tokenizer is missing",
        ),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "model.safetensors").write_bytes(b"PK"), "not a safetensors file"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 99), "not a safetensors file"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"[]"), "cannot be read"),
        (
            lambda f: (f / "model.safetensors").write_bytes((TINY.path / "model.safetensors").read_bytes()[:-5]),
            "is incomplete: 3139675 of 3139680 bytes",
        ),
        (lambda f: next(sharded(f).glob("model-*")).unlink(), "model-00001-of-00001.safetensors is missing"),
        (lambda f: (sharded(f) / "model.safetensors.index.json").write_text("{"), "cannot be read"),
        (lambda f: (sharded(f) / "model.safetensors.index.json").write_text('{"weight_map": 1}'), "cannot be read"),
        (lambda f: (sharded(f) / "model.safetensors.index.json").write_text('{"weight_map": {"a": []}}'), "be read"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x09" + bytes(7) + b'{"a":[1]}'), "cannot be read"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "not JSON"),
        (lambda f: change(f / "config.json", vision_config=[]), "sizes of frames cannot be read"),
        (lambda f: change(f / "config.json", vision_config={"patch_size": "x"}), "sizes of frames cannot be read"),
        (lambda f: change(f / "config.json", vision_config={"patch_size": 0}), "make no sense"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, break_it: object, words: str) -> None:
    folder = copy(tmp_path / "m")
    assert callable(break_it)
    break_it(folder)

    with pytest.raises(WeightsError, match=words):
        resolve(str(folder), model_dir=tmp_path)


def test_missing_weights_say_where_they_were_looked_for_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        resolve("qwen", model_dir=tmp_path, allow_download=False)

    for words in (str(tmp_path / "Qwen/Qwen2.5-VL-7B-Instruct"), "cc59489", "hf download", "switched off"):
        assert words in str(caught.value)


def test_another_revision_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    folder = copy(tmp_path / VARIANTS["vision"]["qwen"].id)
    note = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    note.parent.mkdir(parents=True)

    note.write_text("cc594898137f460bfe9f0759e9844b3ce807cfb5\netag\n0\n")
    assert resolve("qwen", model_dir=tmp_path).revision == "cc59489"

    note.write_text("0" * 40 + "\netag\n0\n")
    with pytest.raises(WeightsError, match="at revision 0000"):
        resolve("qwen", model_dir=tmp_path)


@pytest.mark.parametrize("variant", ["nothing", "../../etc", "a/../b", "a/b@", "a/b@../c", "/nowhere", "", "a/b/c"])
def test_names_that_are_no_model_are_refused(tmp_path: Path, variant: str) -> None:
    with pytest.raises(WeightsError):
        resolve(variant, model_dir=tmp_path, allow_download=False)

    assert list(tmp_path.iterdir()) == []


def test_a_branch_is_known_by_the_commit_that_it_stood_for(tmp_path: Path) -> None:
    folder = copy(tmp_path / "org" / "m")
    note = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    note.parent.mkdir(parents=True)
    found = []
    for commit in ("a" * 40, "b" * 40):
        note.write_text(f"{commit}\netag\n0\n")
        found.append(resolve("org/m@main", model_dir=tmp_path).revision)

    assert found == ["a" * 40, "b" * 40]
