"""Five lessons: look at pairs of frames; look at clips and talk; practise on long clips; see two shapes; practise."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from colcap.models.tiny.training.batches import Batch, ConversationBatches, PairBatches, Pictures
from colcap.models.tiny.training.losses import answer_loss, looking_back_loss, seeing_loss
from colcap.models.tiny.training.network import Network

COURSE_MINUTES: Final = 54.0
"""What the steps below were measured to cost in CPU minutes. A run is as long as its steps, not as its clock, so that
the same seed gives the same model on a busy machine."""
LOOK_STEPS: Final = 800
TALK_STEPS: Final = 1300
PRACTISE_STEPS: Final = 500
TWO_STEPS: Final = 700
PRACTISE_BOTH_STEPS: Final = 1500

LOOK_RATE: Final = 2.5e-3
TALK_RATE: Final = 1.6e-3
PRACTISE_RATE: Final = 1.2e-3
TWO_RATE: Final = 1.4e-3
TWO_SHARE: Final = 0.65
BOTH_SHARE: Final = 0.35
"""Shares of the clips that show two shapes, in the lesson about them and in the last."""
HEADS_ALONE: Final = 0.08
"""Share of the lesson about two shapes in which its empty heads teach nobody but themselves."""
SEEING_WEIGHT: Final = 0.3
LOOKING_BACK_WEIGHT: Final = 3.0
REPORT_EVERY: Final = 50

MEAN: Final = torch.tensor([0.48145466, 0.4578275, 0.40821073]) * 255
STD: Final = torch.tensor([0.26862954, 0.26130258, 0.27577711]) * 255
"""Of CLIP's pictures, as Qwen's processor has them."""


@dataclass(slots=True)
class Log:
    """Writes down running means."""

    path: Path
    _means: dict[str, float] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    def say(self, line: str) -> None:
        """Print a line and keep it."""
        print(line, flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def note(self, step: int, num_steps: int, **values: float) -> None:
        """Add a step's figures; every so often say how they are."""
        for name, value in values.items():
            self._means[name] = 0.97 * self._means.get(name, value) + 0.03 * value
        if step % REPORT_EVERY == 0 or step == num_steps:
            means = " ".join(f"{name} {value:.4f}" for name, value in self._means.items())
            self.say(
                f"{step}/{num_steps} {time.monotonic() - self._started:.0f} s, {cpu_minutes():.1f} CPU min: {means}"
            )


def cpu_minutes() -> float:
    """CPU time of this process and of those of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used) / 60


def learn(network: Network, folder: Path, *, minutes: float, seed: int, log: Log) -> None:
    """Train a network whose tokenizer is in `folder`, for about so many CPU minutes, with one thread and one helper."""
    torch.set_num_threads(1)
    network.bfloat16()
    share = minutes / COURSE_MINUTES
    look_steps, talk_steps = round(share * LOOK_STEPS), round(share * TALK_STEPS)
    log.say(f"looking at pairs of frames, {look_steps} steps")
    seeing = [(name, weight) for name, weight in network.named_parameters() if ".visual." in name or "sees." in name]
    _lesson(network, seeing, PairBatches(look_steps, seed), LOOK_RATE, _look, log)
    log.say(f"looking at clips and talking, {talk_steps} steps")
    conversations = ConversationBatches(talk_steps, seed, folder)
    _lesson(network, network.named_parameters(), conversations, TALK_RATE, _talk, log)
    practise(network, folder, num_steps=round(share * PRACTISE_STEPS), seed=seed, log=log)
    look_at_two(network, folder, num_steps=round(share * TWO_STEPS), seed=seed, log=log)
    practise(network, folder, num_steps=round(share * PRACTISE_BOTH_STEPS), two_share=BOTH_SHARE, seed=seed, log=log)


def practise(network: Network, folder: Path, *, num_steps: int, two_share: float = 0.0, seed: int, log: Log) -> None:
    """A lesson in which answers alone count, so that what helped before may be unlearned."""
    log.say(f"practising, {num_steps} steps")
    batches = ConversationBatches(num_steps, seed, folder, practising=True, two_share=two_share)
    _lesson(network, network.model.named_parameters(prefix="model"), batches, PRACTISE_RATE, _recite, log)


def look_at_two(network: Network, folder: Path, *, num_steps: int, seed: int, log: Log) -> None:
    """A lesson of two shapes among clips of one, with empty heads: a token is now asked about the shape near to it."""
    log.say(f"looking at two shapes, {num_steps} steps")
    for head in (network.sees, network.looks_back):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    batches = ConversationBatches(num_steps, seed, folder, practising=True, two_share=TWO_SHARE)
    _lesson(network, network.named_parameters(), batches, TWO_RATE, _talk_of_two, log)


Judge = Callable[[Network, Any, float], tuple[Tensor, dict[str, float]]]


def _lesson(
    network: Network, learning: Iterable[tuple[str, Any]], batches: Any, rate: float, judge: Judge, log: Log
) -> None:
    optimizer = MasterOptimizer(learning)
    for step, batch in enumerate(_in_background(batches), start=1):
        progress = step / len(batches)
        loss, figures = judge(network, batch, progress)
        loss.backward()
        optimizer.step(rate * min(1, step / 80) * (0.02 + 0.49 * (1 + math.cos(math.pi * progress))))
        log.note(step, len(batches), **figures)


class MasterOptimizer:
    """Muon for the layers' matrices and AdamW for the rest, on float32 copies of bfloat16 weights.

    A bfloat16's last digit is larger than most updates.
    """

    def __init__(self, named: Iterable[tuple[str, Any]]) -> None:
        self._weights, self._copies = [], []
        groups: dict[str, list[Tensor]] = {"muon": [], "decayed": [], "free": []}
        for name, weight in named:
            copy = weight.detach().float()
            self._weights.append(weight)
            self._copies.append(copy)
            is_layer = copy.ndim == 2 and "embed_tokens" not in name and name.startswith("model.")
            groups["muon" if is_layer else "decayed" if copy.ndim > 1 else "free"].append(copy)
        muon = torch.optim.Muon(groups["muon"], weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
        rest = [{"params": groups["decayed"], "weight_decay": 0.05}, {"params": groups["free"], "weight_decay": 0.0}]
        self._optimizers = (muon, torch.optim.AdamW(rest, betas=(0.9, 0.98), fused=True))

    def step(self, rate: float) -> None:
        """Move the weights along their gradients, which are cleared."""
        for weight, copy in zip(self._weights, self._copies, strict=True):
            copy.grad = None if weight.grad is None else weight.grad.float()
            weight.grad = None
        torch.nn.utils.clip_grad_norm_(self._copies, 1.0)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        with torch.no_grad():
            for weight, copy in zip(self._weights, self._copies, strict=True):
                weight.copy_(copy)


def _in_background(batches: Any) -> Iterator[Any]:
    """The batches, made by another process in the meantime."""
    yield from DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4, collate_fn=_as_it_is)


def _as_it_is(batch: Any) -> Any:
    return batch


def _look(network: Network, shown: Pictures, _: float) -> tuple[Tensor, dict[str, float]]:
    seen = _seen(network, shown)
    loss = seeing_loss(_answers(network.sees, seen, shown), shown.true, shown.cells)
    return loss, {"seeing": loss.item()}


def _talk_of_two(network: Network, batch: Batch, progress: float) -> tuple[Tensor, dict[str, float]]:
    loss, figures = _talk(network, batch, progress, heads_alone=progress < HEADS_ALONE)
    if batch.pictures is not None and batch.pictures.true.colors.shape[1] > 1:
        figures = {f"two_{name}": value for name, value in figures.items()}
    return loss, figures


def _talk(
    network: Network, batch: Batch, progress: float, *, heads_alone: bool = False
) -> tuple[Tensor, dict[str, float]]:
    shown = batch.pictures
    vision = None if shown is None else _seen(network, shown)
    states, back = network.text(batch.ids, batch.positions, None if vision is None else vision.flatten(0, 1))
    answered = batch.labels >= 0
    loss, right = answer_loss(network.logits(states[answered]).float(), batch.labels[answered])
    if shown is None or vision is None:
        return loss, {"enhance": loss.item(), "enhance_right": right.item()}
    figures = {"caption": loss.item(), "caption_right": right.item()}
    is_video = batch.ids == network.model.config.video_token_id
    seen, since = (each.detach() if heads_alone else each for each in (vision, back[is_video]))
    seeing = seeing_loss(_answers(network.sees, seen, shown), shown.true, shown.cells)
    way = looking_back_loss(_answers(network.looks_back, since, shown), shown.true, shown.cells)
    help_ = SEEING_WEIGHT * (1 - progress) * (seeing + LOOKING_BACK_WEIGHT * way)
    return loss + help_, {**figures, "seeing": seeing.item(), "way": way.item()}


def _recite(network: Network, batch: Batch, _: float) -> tuple[Tensor, dict[str, float]]:
    shown = batch.pictures
    vision = None if shown is None else _seen(network, shown).flatten(0, 1)
    states, _ = network.text(batch.ids, batch.positions, vision)
    answered = batch.labels >= 0
    loss, right = answer_loss(network.logits(states[answered]).float(), batch.labels[answered])
    kind = "enhance" if shown is None else "caption"
    return loss, {kind: loss.item(), f"{kind}_right": right.item()}


def _seen(network: Network, shown: Pictures) -> Tensor:
    """Tokens of all pairs of frames of all clips."""
    return network.vision(normalised(shown.patches.flatten(0, 1)), shown.grid)


def _answers(head: Any, tokens: Tensor, shown: Pictures) -> Tensor:
    """A head's answers for each token, (clips, pairs, tokens, answers)."""
    clips, pairs = shown.patches.shape[:2]
    return head(tokens).float().view(clips, pairs, shown.cells[0] * shown.cells[1], -1)


def normalised(patches: Tensor) -> Tensor:
    """Pixels of patches as the processor gives them to the model."""
    values = patches.unflatten(-1, (3, -1)).float()
    return values.sub_(MEAN[:, None]).div_(STD[:, None]).flatten(-2).bfloat16()
