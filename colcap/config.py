"""What a user can choose: frozen, typed, validated once, with the reference's names and defaults.

A `Config` comes from TOML, from flags or from Python; all three pass the same validation here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from colcap import json_schema
from colcap.errors import ConfigError, printable
from colcap.machine import Limits, Runtime
from colcap.models.own import Models
from colcap.sections import SECRET, Escalation, Generating, PositiveFloat, Section
from colcap.server import Server

PreprocessDtype = Literal["auto", "uint8", "float32", "float16", "bfloat16"]


def _set_name(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", name) is None:
        raise ValueError("should be 1 to 64 letters, digits, _ . or -, the first a letter or a digit")
    return name


SetName = Annotated[str, AfterValidator(_set_name)]


class Captioning(Generating):
    """How clips become windows, frames and captions: the reference's preparation and generation stages."""

    engine: Literal["vllm", "openai"] = "vllm"
    """vllm on this machine, or openai: any server with OpenAI's API, whose name for the model is model_variant."""
    server: Server = Server()
    model_variant: str = "qwen"
    """qwen (= qwen2.5), qwen3, tiny (the embedded model), one of `models`, a local folder, or a hub id."""
    model_dir: str = "models/qwen"
    """Folder that holds the weights, downloaded into it if missing."""
    window_size: Annotated[int, Field(ge=4)] = 256
    """Source frames per window."""
    remainder_threshold: Annotated[int, Field(ge=0)] = 128
    """A leftover of at least this many frames is its own window; a shorter one joins the window before it."""
    sampling_fps: Annotated[PositiveFloat, Field(le=240)] = 2.0
    """Frames per second shown to the model."""
    prompt_variant: Literal["default", "av", "av-surveillance"] = "default"
    """Built-in prompt: default, av (a moving car's camera) or av-surveillance (a fixed traffic camera)."""
    prompt_text: str | None = None
    """Your own prompt instead of a built-in one; a manifest's `prompt_text` column wins over both."""
    caption_batch_size: Annotated[int, Field(ge=1)] = 16
    """Windows handed to the engine in one batch; several batches are in flight."""
    model_does_preprocess: bool = False
    """Give the model's own processor the frames as they are; otherwise they are resized to its budget at decode."""
    preprocess_dtype: PreprocessDtype = "auto"
    """How pixels travel: uint8 lets the engine normalise them, a float does that before; auto: uint8 if it can."""
    escalation: Annotated[tuple[Escalation, ...], Field(strict=False)] = ()
    """`[[captioning.escalation]]`: ask again, sampled otherwise, where a caption is bad; each try is a row."""
    generate_stage2_caption: bool = False
    """Caption a second time with the first caption in the prompt; both are kept."""
    stage2_prompt_text: str | None = None
    """What the second prompt says before the first caption; default: `Please refine this caption: `."""
    json_schema: str | None = None
    """JSON schema that captions obey: inline, or a file; the answer is then also kept as JSON, in `caption_json`."""
    fp8: bool = False
    """Quantize the weights to fp8 (GPU only)."""
    disable_mmcache: bool = False
    """Switch off the engine's multimodal cache."""
    verbose: bool = False
    """Log a line for each window, on the terminal and in run.log, and what the engine's processes say."""

    @field_validator("json_schema")
    @classmethod
    def _read_schema(cls, given: str | None) -> str | None:
        """The file is read here, once: what is recorded and hashed is its content."""
        return None if given is None else json_schema.resolve(given)


WINDOW_PARAMETERS: Final = ("window_size", "remainder_threshold")
"""Of captioning, those that decide the windows, which are stored once for all captions."""


class CaptionSet(Captioning):
    """One of several caption sets of a run: a name, and what differs from `[captioning]`."""

    name: SetName
    """Name under which these captions are kept."""

    @model_validator(mode="after")
    def _shares_the_decode(self) -> CaptionSet:
        shared = sorted(self.model_fields_set & {*WINDOW_PARAMETERS, "sampling_fps"})
        if shared:
            raise ValueError(f"{', '.join(shared)} is the same for all caption sets: set it in [captioning]")
        return self

    @model_serializer(mode="wrap")
    def _what_was_set(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if name in self.model_fields_set}

    def over(self, captioning: Captioning) -> Captioning:
        """The captioning of this set: its own choices over those of all."""
        own = {name: getattr(self, name) for name in self.model_fields_set - {"name"}}
        return captioning.model_copy(update=own)


class Preview(Section):
    """How an animated WebP is made of each window."""

    target_fps: Annotated[PositiveFloat, Field(le=240)] = 1.0
    """Frames per second of the preview."""
    target_height: Annotated[int, Field(ge=16, le=4320)] = 240
    """Height in pixels; the width keeps the clip's shape."""
    compression_level: Annotated[int, Field(ge=0, le=6)] = 6
    """Effort: 0 is fastest, 6 makes the smallest file. It is not quality."""
    quality: Annotated[int, Field(ge=0, le=100)] = 50
    """Picture quality, 0 to 100."""
    lossless: bool = False
    """Keep every pixel; `quality` is then effort too."""
    num_cpus_per_worker: Annotated[PositiveFloat, Field(le=1024)] = 4.0
    """Decoder and encoder threads per media worker, rounded down, at least 1, at most the cores it has."""
    verbose: bool = False
    """Log a line for each preview, on the terminal and in run.log."""


class Enhancement(Generating):
    """How a text model rewrites captions; the result is kept beside the caption."""

    engine: Literal["vllm", "openai"] = "vllm"
    """vllm on this machine, or openai: any server with OpenAI's API, whose name for the model is model_variant."""
    server: Server = Server()
    model_variant: str = "qwen"
    """qwen (= qwen2.5), qwen3, tiny (the embedded model), one of `models`, a local folder, or a text model's hub id."""
    model_dir: str = "models/qwen"
    """Folder that holds the weights, downloaded into it if missing."""
    prompt_variant: Literal["default", "av-surveillance"] = "default"
    """Built-in instruction: default, or av-surveillance (traffic cameras)."""
    prompt_text: str | None = None
    """Your own instruction instead of a built-in one."""
    model_batch_size: Annotated[int, Field(ge=1)] = 128
    """Captions handed to the engine in one batch."""
    fp8: bool = False
    """Quantize the weights to fp8 (GPU only)."""
    verbose: bool = False
    """Log a line for each enhanced caption, and what the text model's engine says, as in captioning."""


class Config(Section):
    """Everything a run is told.

    Examples
    --------
    >>> Config.model_validate({"captioning": {"model_variant": "tiny"}}).captioning.window_size
    256
    """

    generate_previews: bool = True
    """Make an animated WebP of each window."""
    generate_captions: bool = True
    """Caption each window."""
    enhance_captions: bool = False
    """Let a text model rewrite each caption."""
    cut: Literal["copy", "encode"] = "copy"
    """How windows are cut: without re-encoding where possible, or always encoded anew."""
    clips_per_part: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    """Clips in one part: the unit of commit and of resume. Fixed by a run's first start."""
    store_mp4: bool = True
    """Keep each window's bytes: about another copy of the sources. Without them, later captions read the sources."""
    caption_set: SetName = "default"
    """Name under which captions are kept."""
    captions: tuple[CaptionSet, ...] = Field(default=(), strict=False)
    """Several caption sets over one decode, each a `[[captions]]` table; `caption_set` is then unused."""
    models: Models = Field(default_factory=dict)
    """Models of your own, each a `[models.NAME]` table."""
    captioning: Captioning = Captioning()
    preview: Preview = Preview()
    enhancement: Enhancement = Enhancement()
    limits: Limits = Limits()
    runtime: Runtime = Runtime()

    @model_validator(mode="after")
    def _sets_have_names_of_their_own(self) -> Config:
        if len(set(self.caption_sets)) < len(self.caption_sets):
            raise ValueError(f"each caption set needs a name of its own, got {', '.join(self.caption_sets)}")
        return self

    @property
    def caption_sets(self) -> list[str]:
        """Names of the caption sets that are wanted."""
        return [own.name for own in self.captions] or [self.caption_set]

    def each_set(self) -> list[Config]:
        """This configuration as each of its caption sets sees it.

        >>> sets = [{"name": "plain"}, {"name": "av", "prompt_variant": "av"}]
        >>> [c.captioning.prompt_variant for c in Config.model_validate({"captions": sets}).each_set()]
        ['default', 'av']
        """
        if not self.captions:
            return [self]
        return [
            self.model_copy(update={"caption_set": own.name, "captioning": own.over(self.captioning), "captions": ()})
            for own in self.captions
        ]


def parse(values: Mapping[str, Any], *, source: str = "config", named: Callable[[str], str] = str) -> Config:
    """Validate nested parameters into a `Config`.

    Parameters
    ----------
    values : nested like the TOML.
    source : where they come from, for errors.
    named : what errors call a parameter, given its dotted path.

    Raises
    ------
    ConfigError : one line per wrong parameter: its name, the value got, and what is allowed.

    Examples
    --------
    >>> parse({"captioning": {"window_size": 2}})
    Traceback (most recent call last):
    colcap.errors.ConfigError: config: captioning.window_size: got 2; should be greater than or equal to 4
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(source, detail, named) for detail in error.errors())) from None


def _explain(source: str, detail: Any, named: Callable[[str], str]) -> str:
    name = named(".".join(str(part) for part in detail["loc"]))
    if detail["type"] == "extra_forbidden":
        return f"{source}: {printable(name)}: unknown parameter; {_meant(detail['loc'])}"
    if detail["type"] == SECRET:
        return f"{source}: {printable(name)}: {detail['msg']}"
    said = detail["msg"].removeprefix("Input ").removeprefix("Value error, ")
    about = f"{source}: {printable(name)}" if name else source
    return f"{about}: got {printable(repr(detail['input']))[:200]}; {said}"


def _meant(path: tuple[str | int, ...]) -> str:
    known = _known(path[:-1])
    close = get_close_matches(str(path[-1]), known, n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(known)}"


def _known(path: tuple[str | int, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for step in path:
        if step in model.model_fields:  # else a place in a list or a name in a table: their entries are all of one kind
            annotation = model.model_fields[str(step)].annotation
            kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
            model = next((kind for kind in kinds if issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def load(path: Path) -> dict[str, Any]:
    """Read a TOML file of parameters, not yet validated, so that flags can be laid over it.

    Raises
    ------
    ConfigError : the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one nested mapping over another.

    >>> merge({"preview": {"quality": 50}}, {"preview": {"lossless": True}})
    {'preview': {'quality': 50, 'lossless': True}}
    """
    merged = dict(base)
    for name, value in over.items():
        below = merged.get(name)
        both_tables = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[name] = merge(below, value) if both_tables else value  # type: ignore[arg-type]
    return merged
