"""Where a model's weights are: embedded, in a folder, or on the hub, and whether they are all there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from colcap.errors import WeightsError, printable
from colcap.models import files
from colcap.models.registry import NO_FRAMES, TINY, VARIANTS, Budget, Family, Kind, Variant, qwen_budget

HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
REVISION: Final = re.compile(r"[A-Za-z0-9][\w.-]*")

VISION_FAMILIES: Final[tuple[Family, ...]] = ("qwen2_5_vl", "qwen3_vl")


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model whose weights are here and complete."""

    id: str
    """What captions are signed with: the hub id, or the folder's name."""
    revision: str | None
    """The hub commit, or a hash of the local folder's content; None where the hub's is not known."""
    path: Path
    """The folder."""
    family: Family
    """The architecture."""
    factor: int
    """Frames' sides are multiples of it, in pixels."""
    min_pixels: int
    """Least height times width of a frame."""
    max_pixels: int
    """Most height times width of a frame."""
    total_pixels: int
    """Most pixels of all frames of a window, counted per pair of frames."""
    is_tiny: bool
    """The embedded model."""


NO_OTHERS: Final[Mapping[str, Variant]] = MappingProxyType({})


def resolve(
    variant: str,
    *,
    model_dir: Path,
    kind: Kind = "vision",
    allow_download: bool = True,
    own: Mapping[str, Variant] = NO_OTHERS,
) -> ResolvedModel:
    """Find a model's weights, downloading them once per machine where they are missing.

    Looked for in this order: `tiny`, the embedded model; a local folder; `model_dir/<id>`; the hub.

    Parameters
    ----------
    variant : a name of registry.VARIANTS or of `own`, `tiny`, a local folder, or a hub id as
        `organisation/name[@revision]`.
    model_dir : folder that holds downloaded weights.
    kind : `vision` for a model that captions frames, `text` for one that rewrites captions.
    allow_download : False never touches the network.
    own : models that the user has named.

    Raises
    ------
    WeightsError : says where it looked, which model and revision are wanted, and what to do.

    Examples
    --------
    >>> resolve("tiny", model_dir=Path("models")).id
    'colcap/tiny'
    """
    if variant == TINY:
        folder = Path(str(resources.files("colcap.models.tiny") / "checkpoint"))
        return _resolved(folder, id="colcap/tiny", revision=_content_hash(folder), kind=kind, is_tiny=True)
    wanted = find(variant, kind=kind, own=own)
    if variant not in VARIANTS[kind] and Path(wanted.id).is_dir():
        folder = Path(wanted.id).resolve()
        return _resolved(folder, id=folder.name, revision=_content_hash(folder), kind=kind, wanted=wanted)
    _check_hub_id(wanted, variant)
    folder = model_dir / wanted.id
    if files.problem(folder):
        files.download(wanted.id, wanted.revision, folder, allowed=allow_download)
    return _resolved(folder, id=wanted.id, revision=_known_revision(wanted, folder), kind=kind, wanted=wanted)


def served(variant: str, *, kind: Kind = "vision", own: Mapping[str, Variant] = NO_OTHERS) -> ResolvedModel:
    """A model whose weights are a server's business; only its name and how large it sees frames matter here.

    Parameters
    ----------
    variant : a name of registry.VARIANTS or of `own`, `tiny`, or the server's name for the model.
    own : models that the user has named.

    Examples
    --------
    >>> served("qwen").id, served("my-own-model").max_pixels
    ('Qwen/Qwen2.5-VL-7B-Instruct', 602112)
    """
    if variant == TINY:
        return resolve(variant, model_dir=Path(), kind=kind)
    by_id = {known.id: known for known in VARIANTS[kind].values()}
    known = VARIANTS[kind].get(variant) or own.get(variant) or by_id.get(variant)
    family = (known and known.family) or ("text" if kind == "text" else "qwen2_5_vl")
    b = (known and known.budget) or (NO_FRAMES if kind == "text" else qwen_budget(32 if family == "qwen3_vl" else 28))
    return ResolvedModel(
        known.id if known else variant,
        known.revision if known else None,
        Path(),
        family,
        b.factor,
        b.min_pixels,
        b.max_pixels,
        b.total_pixels,
        is_tiny=False,
    )


def find(variant: str, *, kind: Kind = "vision", own: Mapping[str, Variant] = NO_OTHERS) -> Variant:
    """What is known of a model by its name alone; of a folder or a hub id that is nothing but itself.

    Raises
    ------
    WeightsError : it is neither a name, nor a folder, nor a hub id.

    Examples
    --------
    >>> find("qwen3").id, find("some/model@main").revision
    ('Qwen/Qwen3-VL-8B-Instruct', 'main')
    """
    known = VARIANTS[kind].get(variant) or own.get(variant)
    if known:
        return known
    if Path(variant).is_dir():
        return Variant(variant, None, None, None)
    hub_id, _, revision = variant.partition("@")
    if not HUB_ID.fullmatch(hub_id) or (revision and not REVISION.fullmatch(revision)):
        raise WeightsError(
            f"no model {variant!r}: it is neither a folder that exists, nor a hub id (organisation/name[@revision]), "
            f"nor one of {', '.join([*VARIANTS[kind], *own, TINY])}"
        )
    return Variant(hub_id, revision or None, None, None)


def _check_hub_id(wanted: Variant, variant: str) -> None:
    if not HUB_ID.fullmatch(wanted.id):
        raise WeightsError(
            f"models.{variant}: id {wanted.id!r} is neither a folder that exists nor a hub id (organisation/name)"
        )


def _known_revision(wanted: Variant, folder: Path) -> str | None:
    """The commit a downloaded folder is of; a folder that was copied here by hand is taken at its word.

    A branch or a tag is only a name: what it stood for when it was fetched is what captions are of.
    """
    there = files.downloaded_revision(folder)
    if wanted.revision and there and re.fullmatch(r"[0-9a-f]{40}", there) and not _same(there, wanted.revision):
        raise WeightsError(
            f"{folder} holds {wanted.id} at revision {there}, but {wanted.revision} is wanted. "
            "Move that folder away, or name it as the model to use it as it is."
        )
    if wanted.revision and _is_commit(wanted.revision):
        return wanted.revision
    return there or wanted.revision


def _same(commit: str, revision: str) -> bool:
    """Whether a revision can be this commit; a branch or a tag can be any."""
    return commit.startswith(revision) or not _is_commit(revision)


def _is_commit(revision: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{7,40}", revision) is not None


def _resolved(
    folder: Path, *, id: str, revision: str | None, kind: Kind, wanted: Variant | None = None, is_tiny: bool = False
) -> ResolvedModel:
    trouble = files.problem(folder)
    if trouble:
        raise WeightsError(f"{folder}: {trouble}")
    config = files.read_json(folder / "config.json")
    family = _family(folder, config, kind)
    if wanted and wanted.family and kind == "vision" and wanted.family != family:
        raise WeightsError(
            f"{folder}: config.json says model_type {family!r}, but the model is named as {wanted.family!r}"
        )
    b = (wanted and wanted.budget) or (NO_FRAMES if family == "text" else _budget(folder, config))
    return ResolvedModel(id, revision, folder, family, b.factor, b.min_pixels, b.max_pixels, b.total_pixels, is_tiny)


def _family(folder: Path, config: dict[str, Any], kind: Kind) -> Family:
    model_type = config.get("model_type")
    for family in VISION_FAMILIES:
        if model_type == family:
            return family
    if kind == "text":
        return "text"
    raise WeightsError(
        f"{folder}: config.json says model_type {model_type!r}; captions need one of {', '.join(VISION_FAMILIES)}"
    )


def _budget(folder: Path, config: dict[str, Any]) -> Budget:
    """The budget of a model we do not know by name: its video processor's, else the family's public one."""
    try:
        found = _said_budget(config, files.read_json(folder / "processor_config.json"))
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder}: its sizes of frames cannot be read: {printable(str(error))}") from None
    if min(found.factor, found.min_pixels, found.max_pixels, found.total_pixels) < 1:
        raise WeightsError(f"{folder}: its sizes of frames make no sense: {found}")
    return found


def _said_budget(config: dict[str, Any], processor_config: dict[str, Any]) -> Budget:
    vision = config.get("vision_config", {})
    usual = qwen_budget(int(vision.get("patch_size", 14)) * int(vision.get("spatial_merge_size", 2)))
    processor = processor_config.get("video_processor", {})
    size = processor.get("size", {})
    if config["model_type"] != "qwen2_5_vl" or not {"shortest_edge", "longest_edge"} <= size.keys():
        return usual  # Qwen3-VL's `size` counts a whole video, not a frame
    low, high = int(size["shortest_edge"]), int(size["longest_edge"])
    pairs = int(processor.get("max_frames", 768)) // int(processor.get("temporal_patch_size", 2))
    return Budget(usual.factor, low, high, min(usual.total_pixels, high * pairs))


def _content_hash(folder: Path) -> str:
    """A name for a local folder's content: its settings, and both ends of each weight file."""
    digest = hashlib.sha256()
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.jinja"), *folder.glob("*.safetensors")]):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(files.SAMPLE_BYTES))
            opened.seek(max(0, file.stat().st_size - files.SAMPLE_BYTES))
            digest.update(opened.read(files.SAMPLE_BYTES))
    return digest.hexdigest()[:12]
