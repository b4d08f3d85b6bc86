"""How many tokens a prompt will be, counted without transformers, torch or an engine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from colcap.engines.chat import SLOT, template_file, without_control_tokens

TEMPLATE_TOKENS: Final = 64
"""More than a chat template of the Qwen family adds; for a model whose template or tokenizer is not here."""

MAX_SECOND_DIGITS: Final = 5
"""Seconds of a window have no more digits than that: it is a day."""


class PromptCounter:
    """Counts the tokens of texts as `ChatEncoder` makes them, in milliseconds.

    `ChatEncoder` has the template rendered by transformers, which brings torch: a GB, and 5 s or more, that only an
    engine needs.

    Parameters
    ----------
    folder : the model's; None where it is not here. Without its `tokenizer.json` and its chat template, counts are an
        upper bound.

    Examples
    --------
    >>> PromptCounter(None).count("Describe the video.")
    83
    """

    def __init__(self, folder: Path | None) -> None:
        text = _text(folder, "tokenizer.json")
        template = _template(folder)
        self.is_exact = bool(text and template)
        """Counts are those of the model's tokenizer."""
        if text and template:
            from tokenizers import Tokenizer

            self._data = Tokenizer.from_str(without_control_tokens(text))
            control = Tokenizer.from_str(text)
            pieces = _rendered(*template).split(SLOT)
            self._around = sum(len(control.encode(piece, add_special_tokens=False).ids) for piece in pieces) - 1

    def count(self, text: str) -> int:
        """Tokens of a request with this text and a video whose frames count as nothing."""
        if not self.is_exact:
            return TEMPLATE_TOKENS + len(text.encode(errors="replace"))
        return self._around + self.count_text(text)

    def count_text(self, text: str) -> int:
        """Tokens of a text by itself."""
        if not self.is_exact:
            return len(text.encode(errors="replace"))
        # What is not Unicode is refused by the engine; here it must only not stop the others
        return len(self._data.encode(text.encode(errors="replace").decode(), add_special_tokens=False).ids)

    def timestamp_tokens(self) -> tuple[int, ...]:
        """Tokens that Qwen3-VL writes around each pair of frames, by the number of digits of its second.

        >>> PromptCounter(None).timestamp_tokens()
        (15, 16, 17, 18, 19)
        """
        times = [f"<{'9' * digits}.9 seconds>" for digits in range(1, 1 + MAX_SECOND_DIGITS)]
        return tuple(self.count_text(time) + 2 for time in times)  # <|vision_start|> and <|vision_end|>


def _text(folder: Path | None, name: str) -> str | None:
    file = None if folder is None else folder / name
    return file.read_text(encoding="utf-8") if file is not None and file.is_file() else None


def _template(folder: Path | None) -> tuple[str, Mapping[str, Any]] | None:
    """The chat template and the names of special tokens that it may use."""
    if folder is None:
        return None
    settings = json.loads(_text(folder, "tokenizer_config.json") or "{}")
    inside = settings.get("chat_template")
    template = _text(folder, "chat_template.jinja") or (inside if isinstance(inside, str) else template_file(folder))
    return None if template is None else (template, {k: v for k, v in settings.items() if k.endswith("_token")})


def _rendered(template: str, names: Mapping[str, Any]) -> str:
    """The template around one text and one video, as transformers renders it."""
    from jinja2 import TemplateError
    from jinja2.ext import loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise TemplateError(message)

    rules = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    rules.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    rules.globals["raise_exception"] = refuse
    shown = [{"type": "video"}, {"type": "text", "text": SLOT}]
    message = {"role": "user", "content": shown}
    return rules.from_string(template).render(
        messages=[message], add_generation_prompt=True, enable_thinking=False, **names
    )
