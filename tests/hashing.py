"""What files hold, to be compared with what they held before."""

from __future__ import annotations

import hashlib
from pathlib import Path


def hashes(folder: Path, pattern: str = "*", *, without: str = "") -> dict[str, str]:
    """SHA-256 of each matching file, by its path in the folder; files in folders named `without` are left out."""
    files = [path for path in sorted(folder.rglob(pattern)) if path.is_file()]
    files = [path for path in files if without not in path.relative_to(folder).parts]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
