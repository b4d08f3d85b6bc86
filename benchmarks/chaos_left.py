"""What `chaos.py` looks at after each life and each end: files as an undisturbed run has them, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import polars as pl

import colcap
from colcap.footers import INDEX
from colcap.qa.check import check


@dataclass(frozen=True, slots=True)
class Job:
    """The run that is killed again and again."""

    manifest: Path
    flags: tuple[str, ...]
    calm: Mapping[str, bytes]
    """Files of an undisturbed run."""
    calm_s: float
    """How long that took."""


class Broken(Exception):
    """A promise that did not hold."""


def parts_of(run: Path) -> dict[str, tuple[int, int]]:
    """Every data file that is there: inode and time."""
    found = {}
    for path in run.glob("*/**/part-*.parquet"):
        with suppress(FileNotFoundError):
            stat = path.stat()
            found[str(path.relative_to(run))] = (stat.st_ino, stat.st_mtime_ns)
    return {name: seen for name, seen in found.items() if not name.startswith("timings/")}


def compare(job: Job, run: Path, before: Mapping[str, tuple[int, int]]) -> None:
    """What is there is right, and what was there was not touched."""
    now = parts_of(run)
    require([name for name in before if now.get(name) != before[name]], "were rewritten")
    require([name for name in now if name not in job.calm], "are in no undisturbed run")
    fresh = [name for name in now if name not in before]
    other = [name for name in fresh if (run / name).read_bytes() != job.calm[name]]
    require([*other, *errors_of(run, other)], "differ from an undisturbed run")


def errors_of(run: Path, names: list[str]) -> list[str]:
    """What the rows of these parts say went wrong."""
    tables = [pl.read_parquet(run / name) for name in names]
    return [str(error) for table in tables if "error" in table.columns for error in table["error"].drop_nulls()]


def finish(job: Job, run: Path) -> None:
    """A run that came to its end has everything once, and nothing else."""
    require([name for name in job.calm if name not in parts_of(run)], "are missing at the end")
    require([str(path) for path in run.rglob(".*") if path.name not in (".lock", INDEX)], "are left behind")
    require([str(problem) for problem in check(run, verify=True)], "is what check --verify found")
    ids = colcap.open(run).clips.select("clip_id").collect()["clip_id"].sort()
    if not ids.equals(pl.read_parquet(job.manifest)["clip_id"].sort()):
        raise Broken("the clips are not the manifest's")


def require(wrong: list[str], what: str) -> None:
    """Raise Broken where the list is not empty."""
    if wrong:
        raise Broken(f"{len(wrong)} {what}: {', '.join(wrong[:12])}")
