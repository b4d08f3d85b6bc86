"""Answers come in the order of their requests, whoever else is asking."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tiny_windows import windows

from colcap.engines.base import Engine, Request, Sampling
from colcap.models.tiny.scenes import caption, enhanced


def test_callers_at_once_each_get_their_own_answers(tiny_engine: Engine) -> None:
    videos, scenes = windows(32)
    captions = [Request("Describe the video.", video=video) for video in videos]
    rewrites = [Request(caption(scene), system="Enhance the caption with more color and details.") for scene in scenes]
    batches = [captions[:16], rewrites, captions[16:], list(reversed(captions)), []]
    expected = [
        [caption(scene) for scene in scenes[:16]],
        [enhanced(scene) for scene in scenes],
        [caption(scene) for scene in scenes[16:]],
        [caption(scene) for scene in reversed(scenes)],
        [],
    ]

    with ThreadPoolExecutor(len(batches)) as callers:
        result = list(callers.map(lambda batch: tiny_engine.generate(batch, Sampling()), batches))

    for answers, truths in zip(result, expected, strict=True):
        assert len(answers) == len(truths)
        right = sum(answer.text == truth for answer, truth in zip(answers, truths, strict=True))
        assert right >= 0.9 * len(truths)


def test_the_text_of_a_request_does_not_depend_on_its_batch(tiny_engine: Engine) -> None:
    videos, _ = windows(24)
    requests = [Request("Describe the video.", video=video) for video in videos]

    result = tiny_engine.generate(requests, Sampling())
    alone = [tiny_engine.generate([request], Sampling())[0] for request in requests[:6]]

    assert [answer.text for answer in alone] == [answer.text for answer in result[:6]]


def test_stats_count_requests_and_tokens(tiny_engine: Engine) -> None:
    videos, _ = windows(3)
    before = tiny_engine.stats.requests_done, tiny_engine.stats.output_tokens

    result = tiny_engine.generate([Request("Describe.", video=video) for video in videos], Sampling())

    assert tiny_engine.stats.requests_done - before[0] == 3
    assert tiny_engine.stats.output_tokens - before[1] == sum(answer.output_tokens or 0 for answer in result)
    assert 0 < tiny_engine.stats.idle_share < 1
