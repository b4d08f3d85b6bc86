"""Make the README's pictures anew from a real run: `make pictures`. Needs chromium, and starts the embedded model."""

from __future__ import annotations

import io
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image
from rich.console import Console
from rich.text import Text

PICTURES: Final = Path(__file__).resolve().parent / "pictures"
COLUMNS: Final = 120
PAGE_SIZE: Final = (1100, 700)
COMMANDS: Final = (
    "colcap status out",
    'colcap sql out "select window_id, caption, finish_reason from captions_latest order by all limit 5"',
    "colcap search out '\"moves left\" square'",
    "colcap check out --verify",
)
_FONT_LINKS: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""rich's SVG asks a foreign server for its font."""


def colcap(command: str, folder: Path) -> str:
    """What a command prints to standard output."""
    words = [sys.executable, "-m", "colcap", *shlex.split(command)[1:]]
    return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout


def terminal(folder: Path) -> str:
    """Commands and what they print, as SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), highlight=False)
    for command in COMMANDS:
        console.print(Text.assemble(("$ ", "green"), (command, "bold")))
        console.print(Text(colcap(command, folder)))
    return _FONT_LINKS.sub("", console.export_svg(title="colcap", unique_id="colcap"))


def screenshot(page: Path, folder: Path) -> Image.Image:
    """A page as headless chromium shows it, in few colours."""
    browser, shot = shutil.which("chromium"), folder / "page.png"
    if browser is None:
        sys.exit("chromium is missing: apt-get install chromium")
    size = f"--window-size={PAGE_SIZE[0]},{PAGE_SIZE[1]}"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=4000", size]
    profile = f"--user-data-dir={folder / 'profile'}"
    subprocess.run([browser, *flags, profile, f"--screenshot={shot}", page.as_uri()], check=True, capture_output=True)
    with Image.open(shot) as image:
        return image.convert("RGB").quantize(256)


def main() -> None:
    """Write both pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        colcap("colcap demo .", folder)
        (folder / "run").rename(folder / "out")
        (PICTURES / "terminal.svg").write_text(terminal(folder), encoding="utf-8")
        colcap("colcap gallery out -o gallery.html --where \"status = 'ok'\"", folder)
        screenshot(folder / "gallery.html", folder).save(PICTURES / "gallery.png", optimize=True)


if __name__ == "__main__":
    main()
