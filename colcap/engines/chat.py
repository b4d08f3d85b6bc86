"""Requests as token ids, by the model's own chat template; what a user typed can never become a control token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from colcap.engines.base import Request
from colcap.errors import RowError, WeightsError

SLOT: Final = "\ue000text\ue001"
"""Stands for a text while the template is rendered; private-use characters, so no template contains it."""


class ChatEncoder:
    """Encodes requests for one model.

    The template is rendered with a placeholder for each text, and then its pieces and the texts are tokenized
    apart: the pieces with the tokenizer's control tokens, the texts by a copy of it that has none. So `<|im_end|>`
    in a caption is eleven ordinary characters, whether the tokenizer calls it special or only added.

    Parameters
    ----------
    folder : the model's; it must hold a fast tokenizer and a chat template.

    Raises
    ------
    WeightsError : there is no fast tokenizer or no chat template.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer
        from transformers import AutoTokenizer

        self._chat = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        if not self._chat.is_fast:
            raise WeightsError(f"{folder}: the tokenizer has no tokenizer.json; colcap needs a fast tokenizer")
        self._chat.chat_template = self._chat.chat_template or template_file(folder)
        if not self._chat.chat_template:
            raise WeightsError(f"{folder}: the model has no chat template; take its Instruct variant")
        self._template = self._chat.backend_tokenizer
        self._data = Tokenizer.from_str(without_control_tokens(self._template.to_str()))
        self._control = {i for i, token in self._template.get_added_tokens_decoder().items() if token.special}
        self._frames: dict[tuple[bool, bool], list[list[int]]] = {}

    def encode(self, request: Request) -> list[int]:
        """Token ids of a request; a video is still one placeholder token.

        Raises
        ------
        RowError : rejected, where a text cannot be told from a control token or is not valid Unicode.
        """
        texts = [text for text in (request.system, request.text) if text is not None]
        first, *others = self._frame(request.system is not None, request.video is not None)
        ids = list(first)
        for text, piece in zip(texts, others, strict=True):
            ids += self._encode_text(text)
            ids += piece
        return ids

    def spelled_out(self, text: str) -> list[str]:
        """Control tokens whose names a text contains, in order of the alphabet."""
        return sorted(name for name in map(self._chat.convert_ids_to_tokens, self._control) if name in text)

    def _frame(self, has_system: bool, has_video: bool) -> list[list[int]]:
        """The template's own tokens: before, between and after the texts."""
        kind = (has_system, has_video)
        if kind not in self._frames:
            pieces = self._render(*kind).split(SLOT)
            if len(pieces) != 2 + has_system:
                raise WeightsError("the model's chat template does not show each message it is given, once")
            self._frames[kind] = [self._encode_template(piece) for piece in pieces]
        return self._frames[kind]

    def _render(self, has_system: bool, has_video: bool) -> str:
        shown = [{"type": "video"}, {"type": "text", "text": SLOT}] if has_video else SLOT
        messages = [{"role": "system", "content": SLOT}] * has_system + [{"role": "user", "content": shown}]
        # A model that thinks aloud first would spend the answer's tokens on it.
        rendered: str = self._chat.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return rendered

    def _encode_template(self, piece: str) -> list[int]:
        ids: list[int] = self._template.encode(piece, add_special_tokens=False).ids
        return ids

    def _encode_text(self, text: str) -> list[int]:
        try:
            ids: list[int] = self._data.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeError):
            raise RowError("rejected", "the text is not valid Unicode") from None
        if not self._control.isdisjoint(ids):  # a vocabulary that lists its control tokens among its words
            token = self._chat.convert_ids_to_tokens(next(i for i in ids if i in self._control))
            raise RowError("rejected", f"the text contains the model's control token {token}")
        return ids


def template_file(folder: Path) -> str | None:
    """The chat template of models that keep it apart from the tokenizer."""
    file = folder / "chat_template.json"
    return json.loads(file.read_text(encoding="utf-8")).get("chat_template") if file.is_file() else None


def without_control_tokens(tokenizer: str) -> str:
    """A `tokenizer.json` that knows no added token, and adds nothing to a text."""
    parts = json.loads(tokenizer)
    return json.dumps({**parts, "added_tokens": [], "post_processor": None, "padding": None, "truncation": None})
