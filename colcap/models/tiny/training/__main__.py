"""`python -m colcap.models.tiny.training --out DIR --minutes N`: the embedded model, from nothing."""

from __future__ import annotations

from pathlib import Path

import click
import torch

from colcap.models.tiny.training import evaluate
from colcap.models.tiny.training.export import save_model, save_processor
from colcap.models.tiny.training.learning import COURSE_MINUTES, Log, cpu_minutes, learn
from colcap.models.tiny.training.network import Network, make_config
from colcap.models.tiny.training.tokens import make_tokenizer


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the checkpoint and train.log.")
@click.option("--minutes", default=COURSE_MINUTES, show_default=True, help="CPU minutes, roughly: they set the steps.")
@click.option("--seed", default=0, show_default=True, help="Of the weights and of everything that is drawn.")
@click.option("--score/--no-score", default=True, show_default=True, help="Score it through vLLM afterwards.")
def main(out: Path, minutes: float, seed: int, score: bool) -> None:
    """Train the embedded model and score it on clips and combinations it never saw."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    save_processor(tokenizer, out)
    network, log = Network(make_config(tokenizer)), Log(out / "train.log")
    log.say(f"seed {seed}, {sum(p.numel() for p in network.model.parameters()):,} parameters")
    learn(network, out, minutes=minutes, seed=seed, log=log)
    save_model(network.model, tokenizer, out)
    log.say(f"trained with {cpu_minutes():.1f} CPU minutes in all")
    if score:
        for line in evaluate.report(out):
            log.say(line)


if __name__ == "__main__":
    main()
