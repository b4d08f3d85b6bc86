"""What the embedded model learns from is what vLLM and transformers will show it, and never a held-out combination."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
import torch
from transformers import AutoProcessor

from colcap.engines.base import Request, Video
from colcap.models.tiny.scenes import UNSAID, as_seen, caption, enhanced, is_held_out, random_scene, refined
from colcap.models.tiny.training import questions
from colcap.models.tiny.training.batches import ConversationBatches, ConversationMaker, Example, PairBatches, pictures
from colcap.models.tiny.training.clips import Look, look
from colcap.models.tiny.training.export import save_processor
from colcap.models.tiny.training.learning import normalised
from colcap.models.tiny.training.network import Network, make_config
from colcap.models.tiny.training.tokens import CONTROL, make_tokenizer
from colcap.models.weights import resolve


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture(scope="module")
def folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("processor")
    save_processor(tokenizer, path)
    make_config(tokenizer).save_pretrained(path)
    return path


def shown(num_frames: int) -> Look:
    return look((4, 3), num_frames, random.Random(num_frames))


def processed(folder: Path, frames: np.ndarray) -> Any:
    """A clip and a question as transformers' own processor makes them of it."""
    processor = AutoProcessor.from_pretrained(folder)
    content = [{"type": "video"}, {"type": "text", "text": "Describe."}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    metadata = {"fps": 2.0, "total_num_frames": len(frames), "frames_indices": list(range(len(frames)))}
    videos = [torch.from_numpy(frames).permute(0, 3, 1, 2)]
    return processor(text=[text], videos=videos, video_metadata=[metadata], do_resize=False, return_tensors="pt")


def test_the_vocabulary_spells_every_text_as_it_is(tokenizer: Any) -> None:
    scene = random_scene(random.Random(0))
    any_signs = "".join(chr(number) for number in range(0x20, 0x2FFFF, 97) if chr(number).isprintable())
    texts = [f(scene) for f in (caption, refined, enhanced)]
    texts += [*questions.OURS, *questions.ASKING, *questions.UNSEEN, normalize("NFC", any_signs)]

    assert [tokenizer.decode(tokenizer(text).input_ids) for text in texts] == texts
    assert tokenizer.convert_tokens_to_ids(list(CONTROL)) == list(range(1016, 1024))
    assert make_tokenizer().get_vocab() == tokenizer.get_vocab()


def test_clips_reach_the_network_as_the_processor_makes_them(folder: Path) -> None:
    clip = shown(6)

    result = normalised(pictures([clip]).patches)[0]

    expected = processed(folder, clip.frames)
    assert expected["video_grid_thw"].tolist() == [[3, *pictures([clip]).grid]]
    assert torch.allclose(result.flatten(0, 1).float(), expected["pixel_values_videos"], atol=0.01)


def test_the_fast_network_computes_what_transformers_does(
    folder: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network, clip = Network(make_config(tokenizer)), shown(8)
    monkeypatch.setattr("colcap.models.tiny.training.batches.TRANSFORMERS_SHARE", 1.0)
    video = Video(clip.frames, list(range(8)), source_frames=8, source_fps=2.0, content_id="clip")
    example = Example(Request("Describe.", video=video), "")
    batch = ConversationMaker(folder).batch([example], pictures([clip]), random.Random(0))
    patches = normalised(pictures([clip]).patches.flatten(0, 1)).float()

    with torch.no_grad():
        vision = network.vision(patches, pictures([clip]).grid)
        states, _ = network.text(batch.ids, batch.positions, vision.flatten(0, 1))
        result = network.logits(states)[0]
        inputs = processed(folder, clip.frames)
        expected = network.model.eval()(**{k: v for k, v in inputs.items() if k != "video_metadata"}).logits[0]

    assert batch.ids[0, :-1].tolist() == inputs["input_ids"][0].tolist()  # the last one ends the empty answer
    assert torch.allclose(result[:-1], expected, atol=0.02)
    assert expected.std() > 0.05


def test_an_answer_is_what_follows_its_question(folder: Path, tokenizer: Any) -> None:
    batch = ConversationBatches(100, 0, folder)[60]

    for ids, labels in zip(batch.ids, batch.labels, strict=True):
        (where,) = torch.nonzero(labels >= 0, as_tuple=True)
        assert tokenizer.decode(ids[: where[0] + 1]).endswith("<|im_start|>assistant\n")
        assert labels[where].tolist() == ids[where + 1].tolist()
        assert tokenizer.decode(labels[where]).endswith(".<|im_end|>")


def test_a_batch_is_the_same_whenever_it_is_made(folder: Path) -> None:
    first, second = (ConversationBatches(50, 3, folder)[7] for _ in range(2))
    pairs, again, other = (PairBatches(50, seed)[7].patches for seed in (3, 3, 4))

    assert torch.equal(first.ids, second.ids)
    assert torch.equal(first.positions, second.positions)
    assert torch.equal(pairs, again)
    assert pairs.shape != other.shape or not torch.equal(pairs, other)


def test_held_out_combinations_are_never_shown() -> None:
    scenes = [look((1, 1), 4, random.Random(seed)).scene for seed in range(150)]

    assert not any(is_held_out(scene) for scene in scenes)
    rng = random.Random(0)
    assert 0.05 < sum(is_held_out(random_scene(rng)) for _ in range(1000)) / 1000 < 0.15


@pytest.mark.parametrize(("num_frames", "padded", "unsaid"), [(2, 2, True), (3, 4, False), (7, 8, False)])
def test_two_frames_do_not_tell_a_motion(num_frames: int, padded: int, unsaid: bool) -> None:
    result = shown(num_frames)

    assert len(result.frames) == result.places.shape[1] == padded
    assert (result.scene.motion == UNSAID) is unsaid
    assert as_seen(result.scene, num_frames) == result.scene


def test_one_command_makes_a_checkpoint_from_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "colcap.models.tiny.training", "--out", str(tmp_path)]

    subprocess.run([*command, "--minutes", "0.05", "--no-score"], check=True)

    model = resolve(str(tmp_path), model_dir=tmp_path)
    assert (model.family, model.factor, model.min_pixels, model.max_pixels) == ("qwen2_5_vl", 28, 7840, 15680)
    assert (tmp_path / "model.safetensors").stat().st_size < 6e6
    assert "trained with" in (tmp_path / "train.log").read_text()
