"""Models that a user names in the configuration, beside the built-in ones of registry.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from colcap.models.registry import NO_FRAMES, TINY, VARIANTS, Budget, Kind, Variant

BUDGET: Final = ("factor", "min_pixels", "max_pixels", "total_pixels")
Pixels = Annotated[int, Field(ge=1)]


class Model(BaseModel):
    """A model of your own, under the name of its table: `[models.NAME]`; `model_variant = "NAME"` then takes it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    id: Annotated[str, Field(min_length=1)]
    """Its id on the hub, or a folder with its weights."""
    revision: str | None = None
    """Commit, tag or branch on the hub; default: what `model_dir` holds, else the newest."""
    kind: Kind = "vision"
    """vision: captions frames; text: enhances captions."""
    family: Literal["qwen2_5_vl", "qwen3_vl"] | None = None
    """Architecture of a vision model; default: as its config.json says."""
    factor: Pixels | None = None
    """Frames' sides are multiples of it, in pixels; it and the three below go together, by default the model's own."""
    min_pixels: Pixels | None = None
    """Least height times width of a frame."""
    max_pixels: Pixels | None = None
    """Most height times width of a frame."""
    total_pixels: Pixels | None = None
    """Most pixels of all frames of a window, counted per pair of frames."""

    @model_validator(mode="after")
    def _whole_or_none(self) -> Model:
        given = {name: getattr(self, name) for name in BUDGET}
        missing = [name for name, value in given.items() if value is None]
        if missing and len(missing) < len(BUDGET):
            raise ValueError(f"{', '.join(BUDGET)} go together; missing: {', '.join(missing)}")
        if not missing and given["min_pixels"] > given["max_pixels"]:
            raise ValueError("min_pixels should be at most max_pixels")
        if self.kind == "text" and (self.family or not missing):
            raise ValueError("a text model has neither family nor pixels")
        return self

    def variant(self) -> Variant:
        """The same as the built-in ones are kept."""
        if self.kind == "text":
            return Variant(self.id, self.revision, "text", NO_FRAMES)
        pixels = [getattr(self, name) for name in BUDGET]
        return Variant(self.id, self.revision, self.family, None if None in pixels else Budget(*pixels))


def _not_built_in(given: dict[str, Model]) -> dict[str, Model]:
    taken = sorted(set(given) & {TINY, *(name for names in VARIANTS.values() for name in names)})
    if taken:
        raise ValueError(f"should have names of their own: {', '.join(taken)} is built in")
    return given


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Models = Annotated[dict[Name, Model], AfterValidator(_not_built_in)]
"""Models by name; a built-in name is refused."""


def variants(models: Mapping[str, Model], kind: Kind) -> dict[str, Variant]:
    """Those of one kind, by name."""
    return {name: model.variant() for name, model in models.items() if model.kind == kind}
