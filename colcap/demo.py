"""The two-minute tour: clips with a known truth, captioned by the embedded model, asked by SQL."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.markup import escape

from colcap import api, manifests
from colcap.models.tiny.synth import demo_clips
from colcap.printing import summary_lines, table
from colcap.steps.media_rows import window_id
from colcap.store import disk_error

CAPTIONS = (
    "select window_id, start_s, end_s, caption, finish_reason from captions_latest join windows using (window_id)"
)
ERRORS = "select clip_id, status, error_kind, error from clips where status = 'error'"


def run_demo(folder: Path, console: Console) -> api.Run:
    """Make the clips, run everything, and print what came of it.

    Parameters
    ----------
    folder : where `clips/`, `truth.parquet`, `clips.parquet`, `run/` and `gallery.html` go.
    console : where it is printed.

    Raises
    ------
    ColcapError : as `colcap.run`; the folder cannot be written.
    """
    started = time.monotonic()
    console.print(f"[bold]1.[/] making clips in {escape(str(folder / 'clips'))}")
    try:
        truth = make_clips(folder)
    except OSError as error:
        raise disk_error(folder, error) from error
    console.print("[bold]2.[/] windows, previews and captions, with the embedded model on this machine's CPU")
    tiny = {"model_variant": "tiny"}
    run = api.run(folder / "clips.parquet", folder / "run", console=console, captioning=tiny, clips_per_part=4)
    for line in summary_lines(run)[0]:
        console.print(escape(line))
    _show(run, truth, folder, console)
    console.print(f"\n{time.monotonic() - started:.0f} s in all. Next:")
    for command in _next_commands(folder):
        console.print(f"  {escape(command)}")
    return run


def make_clips(folder: Path) -> pl.DataFrame:
    """Write the demo's clips and their manifest; returns the true caption of each window."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    truth = []
    for clip in demo_clips():
        path = folder / "clips" / clip.name
        path.write_bytes(clip.data)
        truth += [(window_id(path.stem, index), text) for index, text in enumerate(clip.truths)]
    manifests.from_sources([str(folder / "clips")]).write_parquet(folder / "clips.parquet")
    true = pl.DataFrame(truth, schema={"window_id": pl.String, "truth": pl.String}, orient="row")
    true.write_parquet(folder / "truth.parquet")
    return true


def _show(run: api.Run, truth: pl.DataFrame, folder: Path, console: Console) -> None:
    said = run.sql(CAPTIONS).join(truth, on="window_id", how="left").sort("window_id")
    exact = (said["caption"] == said["truth"]).sum()
    console.print(f"\n[bold]3.[/] captions beside the truth: {exact} of {said.height} are word for word\n")
    console.print(table(said.select("window_id", "start_s", "end_s", "caption", "truth"), width=console.width))
    console.print("\n[bold]4.[/] a clip that cannot be read is a row too\n")
    console.print(table(run.sql(ERRORS), width=console.width))
    page = run.gallery(folder / "gallery.html")
    console.print(f"\n[bold]5.[/] previews beside captions, for a browser: {escape(str(page))}")


def _next_commands(folder: Path) -> list[str]:
    run = folder / "run"
    colcap = _own_name()
    return [
        f'{colcap} sql {run} "select caption, count(*) from captions_latest group by all order by 2 desc"',
        f"{colcap} search {run} circle moves",
        f"{colcap} qa {run}",
        f"{colcap} gallery {run} --where \"caption like '%star%'\" -o stars.html",
        f"{colcap} manifest YOUR_CLIPS/ -o clips.parquet",
        f"{colcap} run clips.parquet out --captioning-algorithm tiny",
    ]


def _own_name() -> str:
    """How to call colcap from here: in `make demo` it is not on the PATH, and as a module it has no script."""
    if shutil.which("colcap"):
        return "colcap"
    return sys.argv[0] if Path(sys.argv[0]).name == "colcap" else f"{sys.executable} -m colcap"
