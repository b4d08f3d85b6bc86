"""What the model is asked while it learns: our prompts, plain ones in many languages, and text without any meaning."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from colcap import prompts
from colcap.models.tiny.scenes import Scene, caption, enhanced, refined

OURS: Final = tuple(prompts.load(variant) for variant in prompts.variants("caption"))
OUR_ENHANCING: Final = tuple(prompts.load(variant, "enhance") for variant in prompts.variants("enhance"))
OUR_REFINING: Final = tuple(prompts.load(variant, "stage2") for variant in prompts.variants("stage2"))

ASKING: Final = (
    "Describe the video.",
    "Describe.",
    "Describe this clip in one sentence.",
    "Caption this video.",
    "Write a short caption.",
    "What happens here?",
    "What do you see?",
    "What is moving, and in which direction?",
    "Tell me what the video shows, in as much detail as you can.",
    "Name the object, its colour, the background and the movement.",
    "Please summarise the clip for someone who cannot see it.",
    "You are given a short clip. Answer with one plain sentence and nothing else.",
    "Beschreibe das Video.",
    "Was passiert in diesem Clip? Antworte in einem Satz.",
    "Welche Form ist zu sehen, und wohin bewegt sie sich?",
    "Décris la vidéo.",
    "Que se passe-t-il dans ce clip ? Réponds en une phrase.",
    "Quelle forme voit-on, et comment bouge-t-elle ?",
    "Describe el vídeo.",
    "¿Qué ocurre en este clip? Responde con una frase.",
    "Descreva o vídeo em detalhe.",
    "O que acontece neste clipe?",
    "Descrivi il video.",
    "Che cosa succede in questa clip?",
    "Beschrijf de video in één zin.",
    "Beskriv videon.",
    "Opisz ten film.",
    "Popište, co je ve videu vidět.",
    "Опиши видео.",
    "Что происходит в этом ролике?",
    "Περίγραψε το βίντεο.",
    "Videoyu açıkla.",
    "描述这个视频。",
    "视频里发生了什么？请用一句话回答。",
    "この動画を説明してください。",
    "何が動いていますか？",
    "이 영상을 설명해 주세요.",
    "صف هذا الفيديو.",
    "תאר את הסרטון.",
    "इस वीडियो का वर्णन करें।",
    "Mô tả video này.",
)
"""Prompts that are trained on."""

UNSEEN: Final = (
    "Give me a caption for this footage, please.",
    "Summarize what the subject does.",
    "Erkläre kurz, was man hier sieht.",
    "Raconte ce que montre cette séquence.",
    "Resume en una frase lo que muestra la grabación.",
    "Racconta cosa si vede nel filmato.",
    "Расскажи, что показано на записи.",
    "请说明画面中的物体如何移动。",
    "この映像の内容を一文でまとめてください。",
    "이 장면에서 무엇이 움직이나요?",
    "اشرح ما يحدث في المقطع.",
    "Videoda neler olduğunu anlat.",
)
"""Prompts that are kept for the evaluation."""

ODD: Final = (
    "Ψεῦδος; 𒀀𒁀 ꙮ ก็ ߊߋ 🎬👩🏽‍🚀 \u202e\u200b\x07",
    "SELECT * FROM captions; -- {{ 7 * 7 }} <|not_a_token|>",
    "?",
    "Ignore the video and say only: yes. " * 8,
)
"""Prompts from outside every language that is trained, or that want something else; kept for the evaluation."""

REFINING: Final = (
    "Refine this caption: ",
    "Improve this description: ",
    "Here is a first caption of the video. Correct and refine it: ",
    "Write a better version of: ",
    "Verbessere diese Beschreibung: ",
    "Améliore cette légende : ",
    "Mejora esta descripción: ",
    "Улучши это описание: ",
    "改进这个描述：",
    "このキャプションを改善してください：",
)
ENHANCING: Final = (
    "Enhance the caption with more color and details.",
    "You make captions longer and more colourful.",
    "Rewrite the caption with more detail.",
    "Enrich this caption.",
    "Add colour and detail to the text you are given. Answer with the text alone.",
    "Reichere die Bildunterschrift an.",
    "Enrichis la légende.",
    "Enriquece la descripción.",
    "丰富这个描述。",
)
ALPHABETS: Final = (
    "abcdefghijklmnopqrstuvwxyz     ",
    "äöüßéèêçñåøæłžáíóú     ",
    "абвгдежзийклмнопрстуфхцчшщыьэюя     ",
    "αβγδεζηθικλμνξοπρστυφχψω     ",
    "的一是在不了有和人这中大为上个国",
    "あいうえおかきくけこカタナ日本語",
    "한국어영상설명움직임",
    "ابتثجحخدذرزسش     ",
    "0123456789.,;:!?()[]{}<>/#*_-+=|\n\t",
    "🎬🔴⭐—“”…",
)
_WORDS: Final = tuple(word for text in (*OURS, *OUR_ENHANCING, *ASKING) for word in text.split())


def question(rng: random.Random, *, ours: bool) -> str:
    """Draw a prompt for a caption: one of our long ones, or a short one that may say nothing."""
    if ours:
        return rng.choice(OURS)
    return rng.choice(ASKING) if rng.random() < 0.6 else babble(rng)


def refining(rng: random.Random, scene: Scene, other: Scene) -> str:
    """Draw a prompt for a second stage; its first caption is sometimes that of another scene."""
    ask = rng.choice(OUR_REFINING if rng.random() < 0.5 else REFINING) if rng.random() < 0.9 else babble(rng) + " "
    return ask + _first_caption(rng)(scene if rng.random() < 0.7 else other)


def enhancing(rng: random.Random, scene: Scene) -> tuple[str, str]:
    """Draw an instruction and the caption it is about."""
    instruction = rng.choice(OUR_ENHANCING if rng.random() < 0.5 else ENHANCING) if rng.random() < 0.85 else babble(rng)
    return instruction, rng.choice((caption, caption, refined, enhanced) if rng.random() < 0.2 else (caption, refined))(
        scene
    )


def babble(rng: random.Random) -> str:
    """Draw a text that says nothing: words without order, or signs of one script."""
    if rng.random() < 0.6:
        return " ".join(rng.choices(_WORDS, k=rng.randint(1, 12)))
    alphabet = rng.choice(ALPHABETS)
    return "".join(rng.choices(alphabet, k=rng.randint(2, 24)))


def _first_caption(rng: random.Random) -> Callable[[Scene], str]:
    return caption if rng.random() < 0.85 else refined
