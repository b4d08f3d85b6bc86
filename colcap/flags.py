"""The command line's names for parameters: the reference's flags, each tied to one field of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import click
from pydantic import BaseModel

from colcap.config import Config, parse

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag of `colcap run`."""

    name: str
    """As typed, without the dashes."""
    path: str
    """Dotted name of the parameter it sets."""
    inverted: bool = False
    """The flag says yes where the parameter says no."""
    also: str | None = None
    """The reference's other spelling of it."""

    @property
    def variable(self) -> str:
        """The name click hands the value over by."""
        return self.name.replace("-", "_")


FLAGS: Final = (
    Flag("generate-previews", "generate_previews"),
    Flag("generate-captions", "generate_captions"),
    Flag("enhance-captions", "enhance_captions"),
    Flag("clips-per-part", "clips_per_part"),
    Flag("cut", "cut"),
    Flag("store-mp4", "store_mp4"),
    Flag("engine", "captioning.engine"),
    Flag("api-base", "captioning.server.api_base"),
    Flag("video-as", "captioning.server.video_as"),
    Flag("captioning-algorithm", "captioning.model_variant"),
    Flag("model-dir", "captioning.model_dir"),
    Flag("captioning-window-size", "captioning.window_size"),
    Flag("captioning-remainder-threshold", "captioning.remainder_threshold"),
    Flag("captioning-sampling-fps", "captioning.sampling_fps"),
    Flag("captioning-prompt-variant", "captioning.prompt_variant"),
    Flag("captioning-prompt-text", "captioning.prompt_text"),
    Flag("captioning-batch-size", "captioning.caption_batch_size"),
    Flag("captioning-max-output-tokens", "captioning.max_output_tokens"),
    Flag("captioning-temperature", "captioning.temperature"),
    Flag("captioning-top-p", "captioning.top_p"),
    Flag("captioning-repetition-penalty", "captioning.repetition_penalty"),
    Flag("captioning-stage2-caption", "captioning.generate_stage2_caption"),
    Flag("captioning-stage2-prompt-text", "captioning.stage2_prompt_text"),
    Flag("captioning-json-schema", "captioning.json_schema"),
    Flag("captioning-model-does-preprocess", "captioning.model_does_preprocess"),
    Flag("captioning-preprocess-dtype", "captioning.preprocess_dtype"),
    Flag("captioning-use-fp8-weights", "captioning.fp8"),
    Flag("captioning-use-vllm-mmcache", "captioning.disable_mmcache", inverted=True),
    Flag("preview-target-fps", "preview.target_fps"),
    Flag("preview-target-height", "preview.target_height"),
    Flag("preview-compression-level", "preview.compression_level"),
    Flag("preview-quality", "preview.quality"),
    Flag("preview-lossless", "preview.lossless"),
    Flag("preview-num-cpus-per-worker", "preview.num_cpus_per_worker"),
    Flag("enhance-captions-engine", "enhancement.engine"),
    Flag("enhance-captions-api-base", "enhancement.server.api_base"),
    Flag("enhance-captions-algorithm", "enhancement.model_variant"),
    Flag("enhance-captions-model-dir", "enhancement.model_dir"),
    Flag("enhance-captions-prompt-variant", "enhancement.prompt_variant", also="enhance-captioning-prompt-variant"),
    Flag("enhance-captions-prompt-text", "enhancement.prompt_text"),
    Flag("enhance-captions-batch-size", "enhancement.model_batch_size"),
    Flag("enhance-captions-max-output-tokens", "enhancement.max_output_tokens"),
    Flag("enhance-captions-temperature", "enhancement.temperature"),
    Flag("enhance-captions-top-p", "enhancement.top_p"),
    Flag("enhance-captions-repetition-penalty", "enhancement.repetition_penalty"),
    Flag("enhance-captions-use-fp8-weights", "enhancement.fp8"),
    Flag("media-workers", "runtime.media_workers"),
    Flag("engines", "runtime.engines"),
    Flag("tensor-parallel-size", "runtime.tensor_parallel_size"),
    Flag("clip-timeout-s", "limits.timeout_s"),
    Flag("clip-max-bytes", "limits.max_bytes"),
    Flag("clip-max-pixels", "limits.max_pixels"),
    Flag("clip-max-duration-s", "limits.max_duration_s"),
    Flag("allow-http", "limits.http"),
)


def named(path: str) -> str:
    """A parameter as TOML and as the command line call it.

    >>> named("captioning.fp8")
    'captioning.fp8 (--captioning-use-fp8-weights)'
    """
    typed = [flag.name for flag in FLAGS if flag.path == path]
    return f"{path} (--{typed[0]})" if typed else path


SECTIONS: Final = {
    "captioning-": "Windows and captions",
    "model-dir": "Windows and captions",
    "engines": "This machine",
    "engine": "Windows and captions",
    "api-base": "Windows and captions",
    "video-as": "Windows and captions",
    "preview-": "Previews",
    "enhance-captions-": "Enhancement",
    "media-workers": "This machine",
    "tensor-parallel-size": "This machine",
    "clip-": "This machine",
}
OTHER_SECTION: Final = "What to make"


class SectionedCommand(click.Command):
    """A command whose many options are listed under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one block of options per heading, the command's own first."""
        blocks: dict[str, list[tuple[str, str]]] = {"Options": []}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
                heading = _section(param) if isinstance(param, _ParameterOption) else "Options"
                blocks.setdefault(heading, []).append(record)
        for heading, records in blocks.items():
            with formatter.section(heading):
                formatter.write_dl(records)


class _ParameterOption(click.Option):
    """An option that sets a parameter of the configuration."""


def _section(param: click.Parameter) -> str:
    name = param.opts[-1].removeprefix("--")
    return next((heading for prefix, heading in SECTIONS.items() if name.startswith(prefix)), OTHER_SECTION)


def parameter_flags(command: F) -> F:
    """Give a command every flag of FLAGS; a flag that is not typed is not passed on."""
    for flag in reversed(FLAGS):
        command = _option(flag)(command)
    return command


def section_flags(section: str, *, without: Collection[str] = ()) -> Callable[[F], F]:
    """Give a command the flags of one section of the configuration, but for some of its parameters."""
    wanted = [flag for flag in FLAGS if flag.path.startswith(f"{section}.") and flag.path.split(".")[1] not in without]

    def decorate(command: F) -> F:
        for flag in reversed(wanted):
            command = _option(flag)(command)
        return command

    return decorate


def parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Take the typed flags out of a command's values, as nested parameters.

    Raises
    ------
    ConfigError : a value is out of range; it names the flag, which is not known any more once a TOML is below.

    Examples
    --------
    >>> parameters({"preview_quality": 80, "preview_lossless": None})
    {'preview': {'quality': 80}}
    """
    nested = _nested(values)
    parse(nested, source="command line", named=named)
    return nested


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for flag in FLAGS:
        value = values.get(flag.variable)
        if value is None:
            continue
        *sections, name = flag.path.split(".")
        table = nested
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = not value if flag.inverted else value
    return nested


def _option(flag: Flag) -> Callable[[F], F]:
    field, default = _field(flag.path)
    kind = _plain_type(field.annotation)
    shown = not default if flag.inverted else default
    help_text = (field.description or "").replace("Switch off", "Use") if flag.inverted else field.description
    names = f"--{flag.name}/--no-{flag.name}" if kind is bool else f"--{flag.name}"
    choices = get_args(kind) if get_origin(kind) is Literal else None
    return click.option(
        *([f"--{flag.also}"] if flag.also else ()),
        names,
        flag.variable,
        cls=_ParameterOption,
        type=click.Choice(choices) if choices else kind,
        default=None,
        help=help_text if shown is None else f"{help_text} [default: {_shown(shown)}]",
    )


def _field(path: str) -> tuple[Any, Any]:
    model: BaseModel = Config()
    *sections, name = path.split(".")
    for section in sections:
        model = getattr(model, section)
    return type(model).model_fields[name], getattr(model, name)


def _plain_type(annotation: Any) -> Any:
    return next(_leaves(annotation)) if get_origin(annotation) is not Literal else annotation


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types inside Annotated and Optional, the first one first."""
    if hasattr(annotation, "__metadata__"):
        yield from _leaves(annotation.__origin__)
    elif args := [arg for arg in get_args(annotation) if arg is not type(None)]:
        for arg in args:
            yield from _leaves(arg)
    else:
        yield annotation


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
