"""DuckDB views over a run's parts, locked so that nothing outside the run can be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from duckdb import DuckDBPyConnection

from colcap.qa.locked import open_locked
from colcap.qa.views import view_statements

MEMORY_LIMIT: Final = "2GB"
"""What DuckDB may hold of tables, sorts and joins."""


def connect(
    run: Path, *, blobs: bool = False, part: int | None = None, memory_limit: str = MEMORY_LIMIT
) -> DuckDBPyConnection:
    """Open a run's tables as DuckDB views.

    Parameters
    ----------
    run : the run folder.
    blobs : make views of `windows_mp4` and `previews_webp` as well.
    part : see the rows of this part alone; they join among themselves.
    memory_limit : what DuckDB may hold; a query that needs more fails, nothing is written to disk.

    Returns
    -------
    A connection with `clips` (with the manifest's own further columns), `windows`, `previews`, `captions`, `enhanced`,
    `timings`, and `captions_latest` and `enhanced_latest`, which have one row per window and caption set: the newest
    attempt that is ok, else the newest. A step that has not run is an empty view. The parts are those that
    are there now. Settings are locked and only files of the run can be read; use `queries.ask` for SQL of others, since
    a connection by itself does not refuse COPY into the run.

    Raises
    ------
    RunError : `run` is not a run folder.
    """
    root = Path(os.path.realpath(run))
    return open_locked(root, view_statements(root, blobs=blobs, part=part), memory_limit=memory_limit)
