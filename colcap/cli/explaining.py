"""The verb that looks ahead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import click

from colcap.cli.shared import PLACE, ctrl_c, err, out
from colcap.errors import printable
from colcap.flags import SectionedCommand, parameter_flags, parameters
from colcap.objects.url import Url


@click.command(cls=SectionedCommand)
@click.argument("manifest", type=PLACE)
@click.option("--config", type=click.Path(path_type=Path), help="TOML with the same parameters; flags win over it.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Take only the first N clips of the manifest.")
@click.option("--root", type=PLACE, help="Refuse clips outside this folder.")
@click.option(
    "--sample",
    metavar="N",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Look at N clips at most, evenly spread, and extrapolate.",
)
@click.option("--calibrate/--no-calibrate", default=True, help="Time media work and the engine on a few clips.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
@parameter_flags
def explain(
    manifest: Path | Url,
    config: Path | None,
    limit: int | None,
    root: Path | Url | None,
    sample: int,
    calibrate: bool,
    form: str,
    **flags: Any,
) -> None:
    """Say what `colcap run` would make of MANIFEST, write and take.

    Give it the flags of that run. It tells windows, frames, tokens, windows to be shrunk or over the context, clips
    that cannot be read, bytes, and hours, which are estimated from a few clips that are tried here. It writes nothing.
    """
    from colcap import api

    given = parameters(flags)
    with ctrl_c():
        found = api.explain(
            manifest,
            config=config,
            limit=limit,
            root=root,
            sample=sample,
            calibrate=calibrate,
            console=err if err.is_terminal else None,
            **given,
        )
    out.print(json.dumps(found.to_dict(), indent=2) if form == "json" else printable(str(found)), markup=False)


VERBS: Final = (explain,)
