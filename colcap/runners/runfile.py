"""A run folder's own file: the choices it was started with, and whether it can go on with others."""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import tomli_w
from filelock import FileLock, Timeout

from colcap import manifests, store
from colcap.config import Config, parse
from colcap.errors import RunError
from colcap.fingerprints import media_facts, preview_facts
from colcap.manifests import open_manifest
from colcap.media.workers import refuse_while_imported
from colcap.objects import Url
from colcap.runners.runlog import LOG_NAME

RUN_FILE: Final = "run.toml"


@contextmanager
def writing(run: Path) -> Iterator[None]:
    """Hold a run folder as its only writer. The lock dies with its process.

    Raises
    ------
    RunError : another process writes this run, or the folder cannot be made or written.
    ColcapError : the disk is full, or cannot be written, while the run is held.
    """
    refuse_while_imported()
    if store.mirror_of(run):  # it has the run's lease, and its own lock
        try:
            yield
        except OSError as error:
            raise store.disk_error(run, error) from error
        return
    is_new = not run.exists()
    try:
        run.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run / store.LOCK_NAME, timeout=0)
        lock.acquire()
    except Timeout:
        raise RunError(f"{run}: another colcap process is writing this run; wait for it, or stop it first") from None
    except OSError as error:
        raise RunError(f"{run}: cannot write there: {error.strerror or error}") from None
    try:
        yield
    except OSError as error:
        raise store.disk_error(run, error) from error
    finally:
        lock.release()
        if is_new:
            _remove_if_unused(run)


def _remove_if_unused(run: Path) -> None:
    """Take away a folder that was made for a run that was then refused."""
    if all(entry.name in (store.LOCK_NAME, LOG_NAME) for entry in run.iterdir()):
        shutil.rmtree(run)


def prepare(source: Path | Url, run: Path, config: Config, *, limit: int | None = None) -> Config:
    """Start a run folder, or check that an existing one can go on with this manifest and configuration.

    Returns
    -------
    The configuration to go on with: the one given, with the run's own `clips_per_part`.

    Raises
    ------
    ManifestError, RunError : see `manifests.freeze`; another manifest; a change that would mix results.
    """
    store.recover(run)
    if (run / RUN_FILE).exists():
        return _continue(source, run, config, limit)
    if foreign := _foreign(run):
        raise RunError(
            f"{run}: is not empty and no run of colcap's, it has {foreign} but no {RUN_FILE}; name a new folder"
        )
    frozen, size = run / manifests.FROZEN, config.clips_per_part
    num_clips = manifests.freeze(source, frozen, clips_per_part=size, limit=limit, http=config.limits.http)
    if mirror := store.mirror_of(run):
        mirror.share(frozen)
    identity = {"manifest": _identity(source, limit), "clips": num_clips, "clips_per_part": config.clips_per_part}
    _write_run_file(run, config, {"created": datetime.now(UTC).isoformat(timespec="seconds"), **identity})
    return config


def _foreign(run: Path) -> str | None:
    """A file or folder that the start of a run does not leave behind: tables would be mixed with what is not ours."""
    own = (manifests.FROZEN, LOG_NAME)
    found = (entry.name for entry in run.iterdir() if entry.name not in own and not entry.name.startswith("."))
    return min(found, default=None)


def _continue(source: Path | Url, run: Path, config: Config, limit: int | None) -> Config:
    said = read_run_file(run)
    if said["run"]["manifest"] != _identity(source, limit):
        raise RunError(
            f"{run}: was started from another manifest (or another --limit) than {source}. "
            "Use a new run folder, or the manifest of the first start."
        )
    clips_per_part = said["run"]["clips_per_part"]
    if "clips_per_part" in config.model_fields_set and config.clips_per_part != clips_per_part:
        raise RunError(
            f"{run}: clips_per_part is {clips_per_part} since its first start, got {config.clips_per_part}. "
            "Leave it out, or use a new run folder."
        )
    _refuse_mixing(run, said["facts"], config)
    config = config.model_copy(update={"clips_per_part": clips_per_part})
    _write_run_file(run, config, said["run"], said["facts"])
    return config


def _refuse_mixing(run: Path, facts: Mapping[str, Any], config: Config) -> None:
    now = _facts(config)
    changes = [
        f"{group}.{name}: {before} then, {now[group].get(name, 'as usual')} now"
        for group in facts
        for name in {**facts[group], **now.get(group, {})}
        if group in now and (before := facts[group].get(name, "as usual")) != now[group].get(name, "as usual")
    ]
    if changes:
        raise RunError(
            f"{run}: its windows and previews were made with other parameters:\n  "
            + "\n  ".join(changes)
            + "\nUse a new run folder for these, or the old values to go on here."
        )


def _facts(config: Config) -> dict[str, dict[str, Any]]:
    previews = {"preview": preview_facts(config)} if config.generate_previews else {}
    return {"captioning": media_facts(config), **previews}


def _identity(source: Path | Url, limit: int | None) -> str:
    """Hash of a manifest's ids, uris and prompts, so that a resumed run is the same run."""
    manifest = open_manifest(source)
    columns = [name for name in ("clip_id", "uri", "prompt_text") if name in manifest.schema.names]
    digest = hashlib.sha256(f"{manifest.num_rows} {limit} {columns}".encode())
    for _, batch in manifest.batches(columns=columns) if columns else ():
        for column in batch.columns:
            digest.update("\n".join(text or "" for text in column.to_pylist()).encode(errors="surrogatepass"))
    return digest.hexdigest()[:16]


def read_run_file(run: Path) -> dict[str, Any]:
    """What run.toml says.

    Raises
    ------
    RunError : there is no run here.
    """
    try:
        return tomllib.loads((run / RUN_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        lacks = f"it has no {RUN_FILE}" if run.is_dir() else "there is no such folder"
        said = f"{run}: is not a run folder, {lacks}; `colcap run MANIFEST {run}` makes one"
        raise RunError(store.as_given(said)) from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(store.as_given(f"{run}: {RUN_FILE} cannot be read: {error}")) from None


def saved_config(run: Path) -> Config:
    """The configuration of a run's last start."""
    return parse(read_run_file(run)["config"], source=str(run / RUN_FILE))


def _write_run_file(run: Path, config: Config, identity: Mapping[str, Any], facts: Mapping[str, Any] = {}) -> None:
    content = {
        "run": dict(identity),
        "versions": store.versions(),
        "facts": {**facts, **_facts(config)},
        "config": config.model_dump(exclude_none=True),
    }
    data = tomli_w.dumps(content).encode()
    if mirror := store.mirror_of(run):
        mirror.put(RUN_FILE, data)
    else:
        store.write_atomically(run / RUN_FILE, data)
