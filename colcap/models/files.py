"""A model's folder: is it complete, and how does it get there."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from colcap.errors import WeightsError, printable

SAMPLE_BYTES: Final = 4 << 20
"""Bytes at each end of a file that a content hash looks at."""

MAX_HEADER_BYTES: Final = 100 << 20
"""The format's own limit for a safetensors header."""

PATTERNS: Final = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "LICENSE*", "README.md")
"""What is downloaded: no second copy of the weights in another format."""


def problem(folder: Path) -> str | None:
    """Say what is wrong with a model's folder; None where nothing is.

    Every weight file must be there and as long as its own header says, so that a download that was cut off is
    noticed before an engine spends minutes on it.

    >>> problem(Path("/nowhere"))
    'there is no such folder'
    """
    if not folder.is_dir():
        return "there is no such folder"
    if not (folder / "config.json").is_file():
        return "config.json is missing"
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        return "the tokenizer is missing"
    try:
        shards = _shards(folder)
        return next((trouble for shard in shards if (trouble := _shard_problem(shard))), None)
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError, WeightsError) as error:
        return printable(f"the weights cannot be read: {error}")


def _shards(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [folder / "model.safetensors"]
    names = sorted(set(read_json(index)["weight_map"].values()))
    return [folder / Path(name).name for name in names]


def _shard_problem(shard: Path) -> str | None:
    if not shard.is_file():
        return f"{shard.name} is missing"
    with shard.open("rb") as file:
        length = file.read(8)
        if len(length) < 8 or (header_bytes := struct.unpack("<Q", length)[0]) > MAX_HEADER_BYTES:
            return f"{shard.name} is not a safetensors file"
        header = json.loads(file.read(header_bytes))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    wanted, there = 8 + header_bytes + max(ends, default=0), shard.stat().st_size
    return None if there == wanted else f"{shard.name} is incomplete: {there} of {wanted} bytes"


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object; an absent file is an empty one.

    Raises
    ------
    WeightsError : the file is not JSON, or not an object.
    """
    if not file.is_file():
        return {}
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{file}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise WeightsError(f"{file}: not a JSON object")
    return value


def download(model: str, revision: str | None, folder: Path, *, allowed: bool) -> None:
    """Download a model into a folder; processes that want the same one wait for each other.

    A connection that breaks is taken up where it was, and a later try keeps the files that are whole.

    Raises
    ------
    WeightsError : not allowed or not possible; says where it looked and what to do.
    """
    if not allowed:
        raise WeightsError(_advice(model, revision, folder, "downloading is switched off"))
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise WeightsError(_advice(model, revision, folder, "huggingface_hub is not installed")) from None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock"):
            if problem(folder):
                snapshot_download(model, revision=revision, local_dir=folder, allow_patterns=list(PATTERNS))
    except Exception as error:  # the hub, the network and the disk each have their own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise WeightsError(_advice(model, revision, folder, f"{type(error).__name__}: {printable(reason)}")) from None


def _advice(model: str, revision: str | None, folder: Path, reason: str) -> str:
    at = f" --revision {revision}" if revision else ""
    free = shutil.disk_usage(next(p for p in (folder, *folder.absolute().parents) if p.exists())).free
    return (
        f"no weights for {model}{f' at revision {revision}' if revision else ''}\n"
        f"  in {folder}: {problem(folder)}\n"
        f"  and they could not be downloaded: {reason} ({free / 1e9:.0f} GB free there)\n"
        f"Where there is a network: hf download {model}{at} --local-dir {folder}\n"
        "Then copy that folder here, or give its path as the model. `tiny` needs no download."
    )


def downloaded_revision(folder: Path) -> str | None:
    """The commit the hub's client wrote down for a folder; None for one that was copied without its notes."""
    note = folder / ".cache" / "huggingface" / "download" / "config.json.metadata"
    if not note.is_file():
        return None
    lines = note.read_text(encoding="utf-8").splitlines()
    return lines[0].strip() if lines else None
