"""Verbs that make something: a demo, a manifest, a run, captions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final, Literal

import click
from rich.markup import escape

from colcap.cli.shared import EXISTING_RUN, PLACE, ctrl_c, err, out, print_summary
from colcap.config import WINDOW_PARAMETERS
from colcap.errors import ManifestError, counted
from colcap.flags import SectionedCommand, parameter_flags, parameters, section_flags
from colcap.objects.url import Url

if TYPE_CHECKING:
    from colcap.runners.selecting import Selection

Command = Callable[..., None]

VERBOSE = click.option("--verbose", is_flag=True, help="Tell of every window, and what the engine's processes say.")


def where_it_runs(command: Command) -> Command:
    """Give a verb `--runner` and `--ray-address`."""
    runner = click.option(
        "--runner", type=click.Choice(["local", "ray"]), default="local", help="This machine, or a Ray cluster."
    )
    address = click.option(
        "--ray-address", metavar="HOST:PORT", help="The cluster's head, or auto; else a Ray on this machine."
    )
    return runner(address(command))


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo"))
def demo(folder: Path) -> None:
    """Make clips, caption them with the embedded model, and look.

    It takes half a minute or two, and needs no network. FOLDER is `demo` by default.
    """
    from colcap.demo import run_demo

    with ctrl_c():
        run_demo(folder, out)


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("-o", "--output", type=PLACE, required=True, help="The Parquet file to write.")
def manifest(sources: tuple[str, ...], output: Path | Url) -> None:
    """List clips in a Parquet manifest.

    SOURCES are files, folders (searched for video), globs, and trees of the reference. They and the manifest may be on
    an object store: s3://bucket/clips, s3://bucket/clips/*.mp4.

    The manifest has `clip_id` (the file's name), `uri` (its absolute path or URL) and `num_bytes`. Columns of your own,
    added with any tool, are carried along to the clips table, and `prompt_text` is the row's own prompt.
    """
    from colcap.manifests import from_sources, write_manifest

    if PurePath(str(output)).suffix.lower() not in ("", ".parquet", ".pq"):
        raise ManifestError(f"{output}: a manifest is Parquet; let its name end in .parquet")
    clips = from_sources(sources)
    try:
        write_manifest(clips, output)
    except OSError as error:
        raise ManifestError(f"{output}: cannot write: {error}") from None
    out.print(f"{clips.height} clips in {escape(str(output))}")


@click.command(cls=SectionedCommand)
@click.argument("manifest", type=PLACE)
@EXISTING_RUN
@click.option("--config", type=click.Path(path_type=Path), help="TOML with the same parameters; flags win over it.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Take only the first N clips of the manifest.")
@click.option("--root", type=PLACE, help="Refuse clips outside this folder.")
@click.option("--retry-errors", is_flag=True, help="Make rows again that failed in an earlier start; no others.")
@click.option("--where", metavar="SQL", help="Only failures for which this holds: \"error_kind = 'timeout'\".")
@click.option("--verify", is_flag=True, help="Compare all that is there with its checksums; redo what is damaged.")
@where_it_runs
@click.option("--fail-on-error", is_flag=True, help="Exit with 1 where a row ended in an error.")
@VERBOSE
@parameter_flags
def run(
    manifest: Path | Url,
    run: Path | Url,
    config: Path | None,
    limit: int | None,
    root: Path | Url | None,
    retry_errors: bool,
    where: str | None,
    verify: bool,
    runner: Literal["local", "ray"],
    ray_address: str | None,
    fail_on_error: bool,
    verbose: bool,
    **flags: Any,
) -> None:
    """Make windows, previews and captions of every clip of MANIFEST.

    They are tables in the folder RUN. MANIFEST is a Parquet file, a folder of them, or a quoted glob pattern; several
    files are read in the order of their names.

    A run that was stopped goes on when the same command is given again. A clip that fails is a row that says why.

    \b
    Columns for --where: table_name, clip_id, window_id, caption_set, uri, error_kind, error.

    \b
    Exit codes: 0 done, 1 stopped (or a row failed, with --fail-on-error), 2 refused, 130 Ctrl-C.
    """
    from colcap import api

    given = parameters(flags)
    if verbose:
        for section in ("captioning", "preview", "enhancement"):
            given.setdefault(section, {})["verbose"] = True
    with ctrl_c():
        outcome = api.run(
            manifest,
            run,
            config=config,
            limit=limit,
            root=root,
            console=err,
            retry_errors=retry_errors,
            where=where,
            verify=verify,
            runner=runner,
            ray_address=ray_address,
            **given,
        )
    failed = print_summary(outcome)
    if failed and fail_on_error:
        sys.exit(1)


WHERE = click.option("--where", metavar="SQL", help="Only windows for which this condition holds.")
SET = click.option("--set", "caption_set", default="default", show_default=True, help="Whose captions.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say how many windows that would be.")


@click.command(cls=SectionedCommand)
@EXISTING_RUN
@WHERE
@SET
@DRY_RUN
@click.option("--root", type=PLACE, help="Refuse clips outside this folder.")
@where_it_runs
@VERBOSE
@section_flags("captioning", without=WINDOW_PARAMETERS)
def caption(
    run: Path | Url,
    where: str | None,
    caption_set: str,
    dry_run: bool,
    root: Path | Url | None,
    runner: Literal["local", "ray"],
    ray_address: str | None,
    verbose: bool,
    **flags: Any,
) -> None:
    """Caption windows of RUN again, from the windows that are stored.

    The new captions are a further attempt beside the old ones (captions_latest shows the newest), or with a new --set
    a set of their own. What is not said otherwise is as in the run. Windows that have this very caption are left alone.

    \b
      colcap caption out --where "finish_reason = 'length'" --captioning-max-output-tokens 1024
      colcap caption out --set short --captioning-prompt-text "Describe it in one sentence."

    \b
    Columns for --where: as for `colcap gallery`. It sees the captions of --set, or of all sets if that is a new one.
    """
    from colcap import api
    from colcap.runners.again import choose_captions

    given = parameters(flags).get("captioning", {}) | ({"verbose": True} if verbose else {})
    if dry_run:
        tell(choose_captions(api.open(run).path, where, caption_set, given), "captioned")
        return
    with ctrl_c():
        outcome = api.caption(
            run,
            where=where,
            caption_set=caption_set,
            root=root,
            console=err,
            runner=runner,
            ray_address=ray_address,
            **given,
        )
    print_summary(outcome)


@click.command(cls=SectionedCommand)
@EXISTING_RUN
@WHERE
@DRY_RUN
@click.option("--root", type=PLACE, help="Refuse clips outside this folder.")
@where_it_runs
@VERBOSE
@section_flags("preview")
def preview(
    run: Path | Url,
    where: str | None,
    dry_run: bool,
    root: Path | Url | None,
    runner: Literal["local", "ray"],
    ray_address: str | None,
    verbose: bool,
    **flags: Any,
) -> None:
    """Make previews of RUN again, from the windows that are stored.

    They take the place of the old ones.

    \b
      colcap preview out --where "preview_status = 'error'"
      colcap preview out --where "clip_id like 'street%'" --preview-target-height 480
    """
    from colcap import api
    from colcap.runners.again import choose_previews

    given = parameters(flags).get("preview", {}) | ({"verbose": True} if verbose else {})
    if dry_run:
        tell(choose_previews(api.open(run).path, where, given), "previewed")
        return
    with ctrl_c():
        outcome = api.preview(run, where=where, root=root, console=err, runner=runner, ray_address=ray_address, **given)
    print_summary(outcome)


@click.command(cls=SectionedCommand)
@EXISTING_RUN
@WHERE
@SET
@DRY_RUN
@where_it_runs
@VERBOSE
@section_flags("enhancement")
def enhance(
    run: Path | Url,
    where: str | None,
    caption_set: str,
    dry_run: bool,
    runner: Literal["local", "ray"],
    ray_address: str | None,
    verbose: bool,
    **flags: Any,
) -> None:
    """Let a text model rewrite the captions of RUN.

    The new ones are kept beside the captions, in the table `enhanced`.

    What is enhanced already is left alone, unless its caption, the model or the instruction has changed, or --where
    chooses it.
    """
    from colcap import api
    from colcap.runners.again import choose_enhancements

    given = parameters(flags).get("enhancement", {}) | ({"verbose": True} if verbose else {})
    if dry_run:
        tell(choose_enhancements(api.open(run).path, where, caption_set, given), "enhanced")
        return
    with ctrl_c():
        outcome = api.enhance(
            run,
            where=where,
            caption_set=caption_set,
            console=err,
            runner=runner,
            ray_address=ray_address,
            **given,
        )
    print_summary(outcome)


def tell(chosen: Selection, done: str) -> None:
    """Say what would be done again."""
    out.print(f"{counted(chosen.count, 'window')} in {counted(len(chosen.windows), 'part')} would be {done}")
    if chosen.unchanged:
        out.print(f"{chosen.unchanged:,} more have this very caption already and would be left alone")


LISTING: Final = (demo, manifest)
VERBS: Final = (run, caption, preview, enhance)
