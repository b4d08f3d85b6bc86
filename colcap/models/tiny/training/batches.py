"""Examples as tensors: what is shown and asked, through the chat encoder of real requests, and the answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from colcap.engines.base import Request, Video
from colcap.engines.chat import ChatEncoder
from colcap.models.tiny.pairs import Pair, pair_caption
from colcap.models.tiny.scenes import as_seen, caption, enhanced, refined, scene_of
from colcap.models.tiny.training import questions
from colcap.models.tiny.training.clips import Look, frame_shape, look, look_at_two
from colcap.models.tiny.training.losses import Truths, truths
from colcap.models.tiny.training.network import MERGE, PATCH

IGNORED: Final = -100
"""The label of what is not an answer."""
CLIPS: Final = ((2, 40), (10, 20), (20, 12), (42, 8))
"""Sampled frames at the most, and clips in a batch of them: small batches, since steps teach more than examples."""
CAPTIONS: Final = 20
"""In a batch without clips."""
PAIRS: Final = 64
"""In a batch that is only looked at."""
TEXT_SHARE: Final = 0.28
"""Share of the batches that are captions to enhance."""
REFINING_SHARE: Final = 0.25
"""Share of the clips that are asked a second time."""
TRANSFORMERS_SHARE: Final = 0.3
"""Share of the clips whose text is placed as transformers 5 does; vLLM places it later. See `places_of`."""
ANY_RATE_SHARE: Final = 0.6
"""Share of the clips that are sampled at some rate of 0.9 to 4.4 frames a second; the others near 2."""

OURS_SHARE: Final = 0.4
"""Share of the batches that are asked with our prompts, whose length is what a batch costs most for."""
FEW_OURS_SHARE: Final = 0.15
"""The same, as long as few frames are shown."""

FEW: Final = {(4, 8): 0.9, (2, 3): 0.1}
MANY: Final = {(4, 8): 0.4, (9, 16): 0.27, (17, 24): 0.18, (25, 42): 0.1, (2, 3): 0.05}
"""Sampled frames, inclusive, and how often; a model that knows the short ones learns the long ones quickly."""
PRACTISED: Final = {(4, 8): 0.27, (9, 16): 0.24, (17, 24): 0.18, (25, 42): 0.13, (2, 2): 0.18}
PRACTISED_TEXT_SHARE: Final = 0.07
TWO: Final = {(3, 8): 0.45, (9, 16): 0.3, (17, 24): 0.15, (25, 42): 0.1}
FEW_UNTIL: Final = 0.35
"""Share of the training that sees few frames only."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The clips of a batch."""

    patches: Tensor
    """uint8, (clips, pairs, patches, values of a patch)."""
    grid: tuple[int, int]
    """A frame's height and width in patches."""
    true: Truths
    """What they show."""

    @property
    def cells(self) -> tuple[int, int]:
        """A frame's height and width in tokens."""
        return self.grid[0] // MERGE, self.grid[1] // MERGE


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of conversations."""

    ids: Tensor
    """(conversations, length), padded at the end."""
    labels: Tensor
    """What comes next, IGNORED where it is no part of an answer."""
    positions: Tensor
    """(3, conversations, length)."""
    pictures: Pictures | None
    """What is shown; None: captions to enhance."""


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation."""

    request: Request
    answer: str
    rate: float = 2.0
    """Sampled frames per second."""


class PairBatches:
    """Pairs of frames to look at; item `i` is always the same."""

    def __init__(self, num_batches: int, seed: int) -> None:
        self._num_batches, self._seed = num_batches, seed

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> Pictures:
        rng = random.Random(f"look {self._seed} {index}")
        shape = frame_shape(rng)
        return pictures([look(shape, rng.randint(4, 14), rng, only_pair=True) for _ in range(PAIRS)])


class ConversationBatches:
    """Conversations about clips and about captions; item `i` is always the same.

    Parameters
    ----------
    num_batches : from few frames to many, unless `practising`.
    seed : of everything that is drawn.
    folder : holds the tokenizer.
    practising : many long clips, and two neighbouring frames of one, from the start.
    two_share : share of the clips that show two shapes.
    """

    def __init__(
        self, num_batches: int, seed: int, folder: Path, *, practising: bool = False, two_share: float = 0.0
    ) -> None:
        self._num_batches, self._seed, self._folder, self._practising = num_batches, seed, folder, practising
        self._two_share = two_share
        self._maker: ConversationMaker | None = None

    def __len__(self) -> int:
        return self._num_batches

    def __getitem__(self, index: int) -> Batch:
        if self._maker is None:  # in the worker process: a tokenizer does not survive a fork well
            self._maker = ConversationMaker(self._folder)
        progress = index / self._num_batches
        if self._practising:
            rng, lengths = random.Random(f"practise {self._two_share or ''} {self._seed} {index}"), PRACTISED
            text_share, ours_share = PRACTISED_TEXT_SHARE, OURS_SHARE
        else:
            rng, lengths = random.Random(f"talk {self._seed} {index}"), FEW if progress < FEW_UNTIL else MANY
            text_share = TEXT_SHARE if progress > 0.03 else 0.0
            ours_share = FEW_OURS_SHARE if progress < FEW_UNTIL else OURS_SHARE
        if rng.random() < text_share:
            return self._maker.batch([_enhancing(rng) for _ in range(CAPTIONS)], None, rng)
        if self._two_share and rng.random() < self._two_share:
            looks = _looks_at_two(_draw_length(TWO, rng), rng)
        else:
            looks = self._looks(_draw_length(lengths, rng), rng)
        ours = rng.random() < ours_share
        return self._maker.batch([_asking(each, rng, ours=ours) for each in looks], pictures(looks), rng)

    def _looks(self, num_frames: int, rng: random.Random) -> list[Look]:
        shape, count = frame_shape(rng), _num_clips(num_frames)
        if self._practising and num_frames == 2:
            return [look(shape, rng.randint(4, 14), rng, only_pair=True) for _ in range(count)]
        return [look(shape, num_frames, rng) for _ in range(count)]


def _looks_at_two(num_frames: int, rng: random.Random) -> list[Look]:
    shape = frame_shape(rng)
    return [look_at_two(shape, num_frames, rng) for _ in range(_num_clips(num_frames))]


def _num_clips(num_frames: int) -> int:
    return next(clips for most, clips in CLIPS if num_frames <= most)


def _draw_length(lengths: dict[tuple[int, int], float], rng: random.Random) -> int:
    ((least, most),) = rng.choices(list(lengths), list(lengths.values()))
    return rng.randint(least, most)


def _asking(shown: Look, rng: random.Random, *, ours: bool) -> Example:
    rate = rng.uniform(0.9, 4.4) if rng.random() < ANY_RATE_SHARE else rng.uniform(1.9, 2.2)
    count = len(shown.frames)
    video = Video(shown.frames, list(range(count)), source_frames=count, source_fps=rate, content_id="training")
    if isinstance(shown.scene, Pair):
        return Example(Request(questions.question(rng, ours=ours), video=video), pair_caption(shown.scene), rate)
    if rng.random() < REFINING_SHARE:
        other = as_seen(scene_of(rng, held_out=False), count)
        return Example(Request(questions.refining(rng, shown.scene, other), video=video), refined(shown.scene), rate)
    return Example(Request(questions.question(rng, ours=ours), video=video), caption(shown.scene), rate)


def _enhancing(rng: random.Random) -> Example:
    scene = as_seen(scene_of(rng, held_out=False), 2 if rng.random() < 0.05 else 4)
    instruction, said = questions.enhancing(rng, scene)
    return Example(Request(said, system=instruction), enhanced(scene))


class ConversationMaker:
    """Makes batches with the tokenizer of a folder."""

    def __init__(self, folder: Path) -> None:
        self._encoder = ChatEncoder(folder)
        self._words = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._video, self._padding = (self._id_of(token) for token in ("<|video_pad|>", "<|endoftext|>"))

    def _id_of(self, token: str) -> int:
        number = self._words.token_to_id(token)
        assert number is not None, token
        return number

    def batch(self, examples: Sequence[Example], shown: Pictures | None, rng: random.Random) -> Batch:
        """Encode examples, whose clips are those that are shown, in order."""
        rows = [self._row(example, shown, rng) for example in examples]
        length = max(len(ids) for ids, _, _ in rows)
        batch_ids = torch.full((len(rows), length), self._padding)
        labels = torch.full((len(rows), length), IGNORED)
        positions = torch.zeros(3, len(rows), length, dtype=torch.long)
        for i, (ids, num_answer, places) in enumerate(rows):
            batch_ids[i, : len(ids)] = torch.tensor(ids)
            labels[i, len(ids) - num_answer - 1 : len(ids) - 1] = torch.tensor(ids[-num_answer:])
            positions[:, i, : len(ids)] = places
        return Batch(batch_ids, labels, positions, shown)

    def _row(self, example: Example, shown: Pictures | None, rng: random.Random) -> tuple[list[int], int, Tensor]:
        ids = self._encoder.encode(example.request)
        answer = self._words.encode(example.answer + "<|im_end|>", add_special_tokens=False).ids
        if shown is None:
            return ids + answer, len(answer), torch.arange(len(ids) + len(answer)).expand(3, -1)
        start, num_pairs = ids.index(self._video), shown.patches.shape[1]
        num_tokens = num_pairs * shown.cells[0] * shown.cells[1]
        ids = [*ids[:start], *[self._video] * num_tokens, *ids[start + 1 :], *answer]
        as_transformers = rng.random() < TRANSFORMERS_SHARE
        after = len(ids) - start - num_tokens
        places = places_of(start, num_pairs, shown.cells, after, rate=example.rate, as_transformers=as_transformers)
        return ids, len(answer), places


def places_of(
    before: int, num_pairs: int, cells: tuple[int, int], after: int, *, rate: float, as_transformers: bool
) -> Tensor:
    """Rotary places of text, a video and text again: (3, length).

    vLLM, like the original, goes on after the largest place of the video, its time included. transformers 5 goes on
    after the larger side of a frame.

    >>> places_of(1, 2, (1, 2), 2, rate=2.0, as_transformers=False)[0].tolist()
    [0, 1, 1, 3, 3, 4, 5]
    >>> places_of(1, 2, (1, 2), 2, rate=2.0, as_transformers=True)[0].tolist()
    [0, 1, 1, 3, 3, 3, 4]
    """
    time = (torch.arange(num_pairs) * (4 / rate)).long()  # two frames a pair, two places a second
    axes = torch.meshgrid(time, torch.arange(cells[0]), torch.arange(cells[1]), indexing="ij")
    video = torch.stack([axis.flatten() for axis in axes]) + before
    resume = before + max(cells) if as_transformers else int(video.max()) + 1
    text = [torch.arange(start, start + count).expand(3, -1) for start, count in ((0, before), (resume, after))]
    return torch.cat([text[0], video, text[1]], dim=1)


def pictures(looks: Sequence[Look]) -> Pictures:
    """Clips of one size and length as a batch."""
    frames = np.stack([each.frames for each in looks])
    places = np.stack([each.places for each in looks])
    height, width = frames.shape[2] // PATCH, frames.shape[3] // PATCH
    paired = torch.from_numpy(places).unflatten(2, (-1, 2))
    scenes = [each.scene.scenes if isinstance(each.scene, Pair) else (each.scene,) for each in looks]
    return Pictures(patches_of(torch.from_numpy(frames)), (height, width), truths(scenes, paired))


def patches_of(frames: Tensor) -> Tensor:
    """Frames (clips, frames, height, width, 3) as Qwen-VL's patches of two frames: (clips, pairs, patches, values)."""
    clips, count, height, width, _ = frames.shape
    down, across = height // PATCH // MERGE, width // PATCH // MERGE
    split = frames.view(clips, count // 2, 2, down, MERGE, PATCH, across, MERGE, PATCH, 3)
    blocks = split.permute(0, 1, 3, 6, 4, 7, 9, 2, 5, 8)
    return blocks.reshape(clips, count // 2, down * across * MERGE**2, 3 * 2 * PATCH**2)
