"""What training minimises besides the captions: each token should know what is in its picture, where, and how it moves.

Mean-pooled targets stayed flat; one target a token, with places counted from that token, is learned in minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from colcap.models.tiny.scenes import BACKGROUNDS, COLORS, SHAPES, Scene

PARTS: Final = {"color": len(COLORS), "shape": len(SHAPES), "background": len(BACKGROUNDS), "place": 6}
"""What a token of a pair of frames is asked of the shape nearest to it: three choices, and x, y and radius in both
frames."""
NUM_SEEN: Final = sum(PARTS.values())
NUM_AHEAD: Final = 3
"""How far x, y and radius have come since the first pair of frames."""
TRAVEL: Final = 0.25
"""The scale of those, as a share of the frame, so that the target's variance is near 1."""


@dataclass(frozen=True, slots=True)
class Truths:
    """What is true of each clip of a batch."""

    colors: Tensor
    """(clips, shapes)"""
    shapes: Tensor
    """(clips, shapes)"""
    backgrounds: Tensor
    """(clips,)"""
    places: Tensor
    """x, y, radius as shares of the frame's sides (the radius: of its shorter one): (clips, shapes, pairs, 2, 3)."""


def truths(clips: Sequence[Sequence[Scene]], places: Tensor) -> Truths:
    """Each clip's scenes as numbers."""
    return Truths(
        torch.tensor([[list(COLORS).index(scene.color) for scene in scenes] for scenes in clips]),
        torch.tensor([[SHAPES.index(scene.shape) for scene in scenes] for scenes in clips]),
        torch.tensor([list(BACKGROUNDS).index(scenes[0].background) for scenes in clips]),
        places,
    )


def seeing_loss(answers: Tensor, true: Truths, grid: tuple[int, int]) -> Tensor:
    """How wrong the tokens are about their own pair of frames.

    Parameters
    ----------
    answers : (clips, pairs, tokens, NUM_SEEN), float32.
    grid : tokens of a frame, down and across.
    """
    color, shape, background, place = answers.split(list(PARTS.values()), dim=-1)
    nearest = _nearest(true, grid)
    ahead = _of(true.places.flatten(3), nearest) - _cells(grid)
    near = _nearness(ahead, grid)
    return (
        _choice(color, _of(true.colors[:, :, None], nearest)).mean()
        + _choice(background, true.backgrounds[:, None, None].expand(near.shape)).mean()
        + 2 * (_choice(shape, _of(true.shapes[:, :, None], nearest)) * near).sum() / near.sum()
        + 20 * mse_loss(place, ahead)
        + 40 * mse_loss(place[..., 3:] - place[..., :3], ahead[..., 3:] - ahead[..., :3])
    )


def _nearest(true: Truths, grid: tuple[int, int]) -> Tensor:
    """Which shape each token is nearest to, (clips, pairs, tokens)."""
    return _nearness(true.places.flatten(3)[:, :, :, None] - _cells(grid), grid).argmax(1)


def _of(values: Tensor, nearest: Tensor) -> Tensor:
    """Each token's own of values of (clips, shapes, pairs or 1, ...): (clips, pairs, tokens, ...)."""
    clips, pairs, _ = nearest.shape
    values = values.expand(-1, -1, pairs, *values.shape[3:])
    return values[torch.arange(clips)[:, None, None], nearest, torch.arange(pairs)[:, None]]


def _cells(grid: tuple[int, int]) -> Tensor:
    """The centres of a frame's tokens, as places: (tokens, 6)."""
    down, across = grid
    y, x = torch.meshgrid((torch.arange(down) + 0.5) / down, (torch.arange(across) + 0.5) / across, indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)] * 2, -1).flatten(0, 1)


def _nearness(ahead: Tensor, grid: tuple[int, int]) -> Tensor:
    """How much each token can know about the shape: a token far from it sees none of its outline."""
    cells = ahead[..., :2] * torch.tensor([grid[1], grid[0]])
    return torch.exp(-cells.square().sum(-1) / 1.5) + 0.03


def _choice(answers: Tensor, right: Tensor) -> Tensor:
    """Cross entropy of each token, (clips, pairs, tokens)."""
    return cross_entropy(answers.flatten(0, 2), right.flatten(), reduction="none").view(right.shape)


def looking_back_loss(answers: Tensor, true: Truths, grid: tuple[int, int]) -> Tensor:
    """How wrong the text layers are about the way since the first pair; answers: (clips, pairs, tokens, NUM_AHEAD)."""
    centre = true.places.mean(3)
    way = (centre - centre[:, :, :1]) / TRAVEL
    return mse_loss(answers, _of(way, _nearest(true, grid)))


def answer_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Any]:
    """Mean cross entropy of the answers' tokens, and the share of them that would be said."""
    return cross_entropy(logits, labels), (logits.argmax(-1) == labels).float().mean()
