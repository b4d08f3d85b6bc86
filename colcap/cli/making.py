"""Verbs that make something: a demo, a manifest, a run, captions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click
from rich.markup import escape

from colcap.cli.shared import EXISTING_RUN, ctrl_c, err, out, print_summary
from colcap.errors import ManifestError
from colcap.flags import SectionedCommand, enhancement_flags, parameter_flags, parameters


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo"))
def demo(folder: Path) -> None:
    """Make clips, caption them with the embedded model, and show the result by SQL. FOLDER is `demo` by default."""
    from colcap.demo import run_demo

    with ctrl_c():
        run_demo(folder, out)


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The Parquet file to write.")
def manifest(sources: tuple[str, ...], output: Path) -> None:
    """List clips in a Parquet manifest: files as named, folders searched for video, globs expanded.

    The manifest has `clip_id` (the file's name) and `uri` (its absolute path). Add columns of your own with any tool:
    they are carried along to the clips table, and `prompt_text` is the row's own prompt.
    """
    from colcap.manifests import from_sources

    clips = from_sources(sources)
    try:
        clips.write_parquet(output, mkdir=True)
    except OSError as error:
        raise ManifestError(f"{output}: cannot write: {error}") from None
    out.print(f"{clips.height} clips in {escape(str(output))}")


@click.command(cls=SectionedCommand)
@click.argument("manifest", type=click.Path(path_type=Path))
@EXISTING_RUN
@click.option("--config", type=click.Path(path_type=Path), help="TOML with the same parameters; flags win over it.")
@click.option("--limit", type=click.IntRange(min=1), help="Take only the first N clips of the manifest.")
@click.option("--root", type=click.Path(path_type=Path), help="Refuse clips outside this folder.")
@click.option("--fail-on-error", is_flag=True, help="Exit with 1 where a row ended in an error.")
@click.option("--verbose", is_flag=True, help="Let the engine and the workers talk.")
@parameter_flags
def run(
    manifest: Path,
    run: Path,
    config: Path | None,
    limit: int | None,
    root: Path | None,
    fail_on_error: bool,
    verbose: bool,
    **flags: Any,
) -> None:
    """Make windows, previews and captions of every clip of MANIFEST, as tables in the folder RUN.

    A run that was stopped goes on when the same command is given again. A clip that fails is a row that says why.

    \b
    Exit codes: 0 done, 1 stopped (or a row failed, with --fail-on-error), 2 refused, 130 Ctrl-C.
    """
    from colcap import api

    given = parameters(flags)
    if verbose:
        given.setdefault("captioning", {})["verbose"] = True
    with ctrl_c():
        outcome = api.run(manifest, run, config=config, limit=limit, root=root, console=err, **given)
    failed = print_summary(outcome)
    if failed and fail_on_error:
        sys.exit(1)


@click.command(cls=SectionedCommand)
@EXISTING_RUN
@click.option("--set", "caption_set", default="default", show_default=True, help="Whose captions.")
@enhancement_flags
def enhance(run: Path, caption_set: str, **flags: Any) -> None:
    """Let a text model rewrite the captions of RUN. They are kept beside the captions, in the table `enhanced`.

    What is enhanced already is left alone, unless its caption, the model or the instruction has changed.
    """
    from colcap import api

    given = parameters(flags).get("enhancement", {})
    with ctrl_c():
        print_summary(api.enhance(run, console=err, caption_set=caption_set, **given))


VERBS: Final = (demo, manifest, run, enhance)
