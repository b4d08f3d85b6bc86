"""Results that are written to an object store: made here first, then uploaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from colcap import objects
from colcap.errors import ColcapError, ConfigError
from colcap.objects import Place, Url, place


@contextmanager
def outgoing(output: Place, *, fresh: bool = False) -> Iterator[Path]:
    """A local path to write a file or folder to; where a URL was given, it is uploaded when the block is done.

    Parameters
    ----------
    output : a path, which is given back as it is, or a URL.
    fresh : refuse a prefix that has objects already.

    Raises
    ------
    ConfigError : the prefix is not empty.
    ColcapError : it cannot be uploaded.
    """
    where = place(output)
    if isinstance(where, Path):
        yield where
        return
    objects.require_library(where)
    if fresh and _any(where):
        raise ConfigError(f"{where}: is not empty; name a new prefix")
    with TemporaryDirectory(prefix="colcap-") as folder:
        yield Path(folder) / where.name
        try:
            _upload(Path(folder), where.parent)
        except OSError as error:
            raise ColcapError(f"{where}: cannot be written: {error}") from None


def _any(where: Url) -> bool:
    try:
        return bool(objects.list_under(where))
    except OSError as error:
        raise ColcapError(f"{where}: cannot be read: {error}") from None


def _upload(folder: Path, where: Url) -> None:
    """All but the notes that an export keeps for itself."""
    for path in sorted(folder.rglob("*")):
        names = path.relative_to(folder).parts
        if path.is_file() and not any(name.startswith(".") for name in names):
            objects.put(where / "/".join(names), path)
