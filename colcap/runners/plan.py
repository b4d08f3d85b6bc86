"""What a run has to do: its frozen manifest, its choices, and the parts that are not finished yet."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import tomli_w
from filelock import FileLock, Timeout

from colcap import manifests, store
from colcap.config import Config, fingerprint, media_facts, parse, preview_facts
from colcap.errors import RunError

RUN_FILE: Final = "run.toml"
MEDIA_TABLES: Final = ("clips", "windows", "windows_mp4")
PREVIEW_TABLES: Final = ("previews", "previews_webp")


@dataclass(frozen=True, slots=True)
class PartTodo:
    """What one part still needs."""

    part: int
    media: bool
    """Clips, windows and their bytes have to be made from the sources."""
    previews: bool
    captions: int | None
    """Number of the caption attempt to make; None where the captions there are the ones wanted."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run, what is wanted of it, and what is left to do."""

    run: Path
    config: Config
    num_clips: int
    num_parts: int
    caption_fingerprint: str | None
    """None where captions are not wanted."""
    todo: tuple[PartTodo, ...]

    @property
    def media_fingerprint(self) -> str:
        """Hash of what decides the windows."""
        return fingerprint(media_facts(self.config))

    @property
    def preview_fingerprint(self) -> str:
        """Hash of what decides the previews."""
        return fingerprint({**media_facts(self.config), **preview_facts(self.config)})


@contextmanager
def writing(run: Path) -> Iterator[None]:
    """Hold a run folder as its only writer. The lock dies with its process.

    Raises
    ------
    RunError : another process writes this run, or the folder cannot be made or written.
    """
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
    finally:
        lock.release()


def prepare(source: Path, run: Path, config: Config, *, limit: int | None = None) -> Config:
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
    if any(run.glob("*/part-*.parquet")):
        raise RunError(f"{run}: has tables but no {RUN_FILE}; it is no run of colcap's, or was changed by hand")
    num_clips = manifests.freeze(source, run / manifests.FROZEN, clips_per_part=config.clips_per_part, limit=limit)
    identity = {"manifest": _identity(source, limit), "clips": num_clips, "clips_per_part": config.clips_per_part}
    _write_run_file(run, config, {"created": datetime.now(UTC).isoformat(timespec="seconds"), **identity})
    return config


def _continue(source: Path, run: Path, config: Config, limit: int | None) -> Config:
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
        f"{group}.{name}: {before} then, {now[group].get(name)} now"
        for group in facts
        for name, before in facts[group].items()
        if group in now and now[group].get(name) != before
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


def _identity(source: Path, limit: int | None) -> str:
    """Hash of a manifest's ids and uris, so that a resumed run is the same run."""
    file = manifests.open_parquet(source)
    columns = [name for name in ("clip_id", "uri") if name in file.schema_arrow.names]
    digest = hashlib.sha256(f"{file.metadata.num_rows} {limit} {columns}".encode())
    for batch in file.iter_batches(columns=columns) if columns else ():
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
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{run}: is not a run folder ({RUN_FILE}: {error})") from None


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
    store.write_atomically(run / RUN_FILE, tomli_w.dumps(content).encode())


def make_plan(run: Path, config: Config, *, caption_fingerprint: str | None) -> Plan:
    """Compare every part with what is wanted; a damaged or missing file is work to do."""
    frozen = pq.ParquetFile(run / manifests.FROZEN).metadata.num_rows
    num_parts = -(-frozen // config.clips_per_part)
    plan = Plan(run, config, frozen, num_parts, caption_fingerprint, ())
    known = _Known(run, config.caption_set)
    todo = (_todo(part, plan, known) for part in range(num_parts))
    return replace(plan, todo=tuple(t for t in todo if t.media or t.previews or t.captions))


class _Known:
    """The files a run has, listed once."""

    def __init__(self, run: Path, caption_set: str) -> None:
        self._files = {
            table: {file.part: file for file in store.list_parts(store.table_dir(run, table))}
            for table in (*MEDIA_TABLES, *PREVIEW_TABLES)
        }
        self.captions = attempts(store.table_dir(run, "captions", caption_set))

    def has(self, part: int, tables: tuple[str, ...], wanted: str) -> bool:
        """Whether all these tables have a sound file of this part made with these choices."""
        files = [self._files[table].get(part) for table in tables]
        footers = [store.read_footer(file.path) if file else None for file in files]
        return all(footer and footer.part == part and footer.fingerprint == wanted for footer in footers)


Attempts = dict[int, list[tuple[int, store.Footer]]]
"""Of each part, its sound attempts, oldest first: number and footer."""


def attempts(folder: Path) -> Attempts:
    """The sound attempts in one caption set's folder."""
    found: Attempts = {}
    for file in store.list_parts(folder):
        if footer := store.read_footer(file.path):
            found.setdefault(file.part, []).append((file.attempt, footer))
    return found


def next_attempt(there: list[tuple[int, store.Footer]], wanted: str) -> int | None:
    """The number a new attempt would have; None where the newest whole one is what is wanted."""
    whole = [footer for _, footer in there if footer.scope == "part"]
    if whole and whole[-1].fingerprint == wanted:
        return None
    return 1 + max((attempt for attempt, _ in there), default=0)


def _todo(part: int, plan: Plan, known: _Known) -> PartTodo:
    wanted = plan.caption_fingerprint
    return PartTodo(
        part,
        media=not known.has(part, MEDIA_TABLES, plan.media_fingerprint),
        previews=plan.config.generate_previews and not known.has(part, PREVIEW_TABLES, plan.preview_fingerprint),
        captions=None if wanted is None else next_attempt(known.captions.get(part, []), wanted),
    )


def progress_of(run: Path) -> tuple[int, int]:
    """How many of a run's parts have a file in every table that its last start wanted, and how many there are."""
    said, config = read_run_file(run), saved_config(run)
    tables = [*MEDIA_TABLES, *(PREVIEW_TABLES if config.generate_previews else ())]
    folders = [store.table_dir(run, table) for table in tables]
    folders += [
        store.table_dir(run, table, config.caption_set)
        for table, wanted in (("captions", config.generate_captions), ("enhanced", config.enhance_captions))
        if wanted
    ]
    there = [{file.part for file in store.list_parts(folder)} for folder in folders]
    return len(set.intersection(*there)), -(-said["run"]["clips"] // said["run"]["clips_per_part"])
