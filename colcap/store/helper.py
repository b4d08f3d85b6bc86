"""A machine that makes parts of a run on an object store for the process that is the run's writer.

It lists nothing of the run but the files of a part in hand, keeps them only as long, and asks before each commit
whether the writer still is. Two attempts at a part may be under way, where one is taken for dead and is not: whichever
commits first is kept, the other's rows are the same.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from colcap import objects
from colcap.objects import Meta, Url
from colcap.schema import SET_TABLES, SIDE_TABLES, TABLES
from colcap.store.lease import BorrowedLease
from colcap.store.mirror import REQUESTS_AT_ONCE, Mirror, Taken
from colcap.store.names import JOURNAL_PREFIX, part_name, table_dir

MANIFEST: Final = "manifest.parquet"


class Helper(Mirror):
    """The parts in hand of a remote run folder; see `Mirror`.

    Parameters
    ----------
    url : the run folder.
    home : a local folder of its own.
    lease : that of the writer it works for.
    """

    stubs = Mirror.stubs | {MANIFEST}  # of a long one, a part's row group is read from the store

    def __init__(self, url: Url, home: Path, lease: BorrowedLease) -> None:
        super().__init__(url, home, lease)
        self._users: Counter[int] = Counter()
        self._users_lock = threading.Lock()
        self._fetch_all([MANIFEST])

    @contextmanager
    def part(self, part: int, caption_sets: Sequence[str], *, rewritten: bool) -> Iterator[Path]:
        """The folder, with the files of a part, of its captions those of some sets.

        Parameters
        ----------
        part, caption_sets : which files.
        rewritten : some of its files are to be replaced, which a machine may have begun and not finished.

        Raises
        ------
        RunError : the writer has lost the run.
        OSError : the store cannot be asked.
        """
        self._check_lease()
        with self._users_lock:
            self._users[part] += 1
        try:
            if rewritten:
                self._finish_cut_off(part)
            self._fetch_part(part, caption_sets)
            yield self.folder
        finally:
            with self._users_lock:
                self._users[part] -= 1
                if not self._users[part]:
                    self._drop(part)

    def publish(self, files: Sequence[tuple[Path, Path]]) -> bool:
        """Commit local temp files; False where an earlier attempt at the same has."""
        try:
            return super().publish(files)
        except Taken:
            for temp, _ in files:
                temp.unlink(missing_ok=True)
            return False

    def _upload(self, files: Sequence[tuple[Path, str]]) -> dict[str, str]:
        """What decides is refused at the end where another attempt was first; by then its other files would be ours."""
        decides = files[-1][1]
        if self._known.etag(decides) is None and objects.head(self.url / decides) is not None:
            raise Taken(f"{self.url / decides}: another attempt has written it")
        return super()._upload(files)

    def _fetch_part(self, part: int, caption_sets: Sequence[str]) -> None:
        self._fetch_all([f"{table}/{part_name(part)}" for table in TABLES if table not in SET_TABLES])
        for table in SIDE_TABLES:
            attempt = 1
            while self._fetch_all([f"{table}/{part_name(part, attempt)}"]):
                attempt += 1
        for caption_set in caption_sets:
            for table in SET_TABLES:
                folder = table_dir(Path(), table, caption_set).as_posix()
                for meta in objects.list_named(self.url / folder, f"{part_name(part).removesuffix('parquet')}"):
                    self._fetch_one(meta)

    def _fetch_all(self, names: Sequence[str]) -> int:
        """Fetch those of some files that are there; returns how many."""
        asked = objects.together(REQUESTS_AT_ONCE, lambda name: objects.head(self.url / name), names)
        there = [meta for meta in asked if meta is not None]
        objects.together(REQUESTS_AT_ONCE, self._fetch_one, there)
        return len(there)

    def _fetch_one(self, meta: Meta) -> None:
        if name := self._name(meta.url):
            self._fetch(name, meta)

    def _finish_cut_off(self, part: int) -> None:
        """Finish what another machine has begun to put in this part's place."""
        for meta in objects.list_named(self.url, JOURNAL_PREFIX):
            moves = [pair for pair in json.loads(objects.read(meta.url)) if self._name(self.url / pair[1])]
            if any(name.endswith(f"/{part_name(part)}") for _, name in moves):
                self._finish(meta.url, moves)

    def _drop(self, part: int) -> None:
        """A long run would fill the disk otherwise."""
        for path in self.folder.glob(f"*/**/{part_name(part).removesuffix('parquet')}*"):
            path.unlink(missing_ok=True)
            self._known.forget(self._named(path))
