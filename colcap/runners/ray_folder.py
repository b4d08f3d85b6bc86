"""The run folder as the machines of a Ray cluster have it: mounted everywhere, or on an object store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from colcap import store
from colcap.errors import RunError
from colcap.objects import Url


@dataclass(frozen=True, slots=True)
class MountedFolder:
    """A folder that all machines see at the same path."""

    folder: Path
    """The run folder."""
    writer: Path
    """A file in it that is there as long as the driver is the run's writer."""

    @property
    def missing(self) -> str:
        """What is wrong where a machine does not see it."""
        return (
            "does not see this folder. On a cluster, the run folder and the clips must be on storage that all machines "
            "mount at the same path, or on an object store."
        )

    def is_seen(self) -> bool:
        """Whether this machine sees it."""
        return self.writer.exists()

    @contextmanager
    def part(self, part: int, caption_sets: Sequence[str], *, rewritten: bool) -> Iterator[Path]:
        """The folder to make a part in; see `store.Helper.part`."""
        if not self.writer.exists():
            raise RunError(f"{self.folder}: another colcap process has taken this run over")
        yield self.folder


@dataclass(frozen=True, slots=True)
class StoreFolder:
    """A folder on an object store, which every machine reaches with the credentials of its own environment."""

    folder: Url
    """The run folder."""
    writer: str
    """Of the driver's lease."""

    @property
    def missing(self) -> str:
        """What is wrong where a machine does not see it."""
        return "cannot read it. Every machine of the cluster needs the store's credentials in its own environment."

    def is_seen(self) -> bool:
        """Whether this machine sees it."""
        with suppress(OSError, RunError):
            store.helper(self.folder, self.writer)
            return True
        return False

    @contextmanager
    def part(self, part: int, caption_sets: Sequence[str], *, rewritten: bool) -> Iterator[Path]:
        """The folder to make a part in; see `store.Helper.part`."""
        with store.helper(self.folder, self.writer).part(part, caption_sets, rewritten=rewritten) as folder:
            yield folder


RunFolder: TypeAlias = MountedFolder | StoreFolder


@contextmanager
def shared(run: Path) -> Iterator[RunFolder]:
    """The driver's run folder as all machines have it.

    Afterwards, what machines that died have left is finished or swept away, and the driver has what was made.
    """
    if mirror := store.mirror_of(run):
        assert mirror.lease is not None
        yield StoreFolder(mirror.url, mirror.lease.ident)
        mirror.recover()
        mirror.sync()
        return
    folder = run.absolute()
    writer = folder / f"{store.WRITER_PREFIX}{store.own_suffix()}"
    writer.touch()
    try:
        yield MountedFolder(folder, writer)
    finally:
        with suppress(OSError):  # a disk that cannot be written has been told of
            store.recover(run)
