"""The command line: verbs, flags and printing. Every verb is a function of api.py too."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.markup import escape

from colcap.cli import asking, explaining, making
from colcap.cli.shared import err
from colcap.errors import ColcapError, printable

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class _InOrder(click.Group):
    """Lists its commands as a clip meets them: a manifest, a run, what is asked of it, where it goes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """click would say "Aborted!" and exit with 1, as after a failure."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print("stopped")
            ctx.exit(130)


@click.group(cls=_InOrder, context_settings=CONTEXT)
@click.version_option(package_name="colcap")
def cli() -> None:
    """Video clips to captions you can query: windows, previews and captions as Parquet tables.

    Start with `colcap demo`. On your own clips:

    \b
      colcap manifest clips/ -o clips.parquet
      colcap run clips.parquet out --captioning-algorithm qwen
      colcap sql out @captions

    `colcap COMMAND --help` says more of each.
    """


for _verb in (*making.LISTING, *explaining.VERBS, *making.VERBS, *asking.VERBS):
    cli.add_command(_verb)


def main() -> None:
    """Entry point: a known failure is printed in one message and gives its exit code."""
    try:
        cli(standalone_mode=True)
    except ColcapError as error:
        from colcap.store import as_given

        err.print(f"[bold red]colcap:[/] {escape(printable(as_given(str(error))))}")
        sys.exit(error.exit_code)
