"""What a user chooses is what happens: for each option, something that is made otherwise with it than without.

Options that need a running engine or server are tested where those are; `ELSEWHERE` says where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from one_clip import Told, captioned, enhanced, is_lossless, made, preview, sampled, shown, texts, video, windows

import colcap
from colcap import media
from colcap.config import Captioning, Config, Enhancement, Preview, parse
from colcap.engines.cores import CorePlan
from colcap.errors import WeightsError
from colcap.media import demux, process
from colcap.media.demux import Source
from colcap.runners import choices, launch, make
from colcap.runners.local import Steps
from colcap.runners.tasks import Products
from colcap.steps.media import MediaStep, table_rows

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {"model_variant": "tiny"}


def _asked(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda config: sampled(config, name)


def _system(config: dict[str, Any]) -> str | None:
    return enhanced(config)[0].requests[0].system


PROMPT, AV = choices.caption_prompt(Config())[0], "A camera on a moving car"
SCHEMA = '{"type":"object"}'

SEEN: Final[dict[str, tuple[object, Callable[[dict[str, Any]], Any], object, object]]] = {
    "captioning.window_size": (32, windows, [100], [32, 32, 36]),
    "captioning.sampling_fps": (4.0, shown, (10, 84, 140, 3), (20, 84, 140, 3)),
    "captioning.model_does_preprocess": (True, shown, (10, 84, 140, 3), (10, 360, 480, 3)),
    "captioning.prompt_text": ("What moves?", texts, [PROMPT], ["What moves?"]),
    "captioning.prompt_variant": ("av", lambda c: texts(c)[0].startswith(AV), False, True),
    "captioning.generate_stage2_caption": (
        True, texts, [PROMPT], [PROMPT, 'Please refine this caption: {"a":1}']
    ),
    "captioning.escalation": ([{"on": ["length"], "temperature": 0.5}], _asked("temperature"), 0.1, 0.5),
    "captioning.json_schema": (SCHEMA, _asked("json_schema"), None, SCHEMA),
    "captioning.temperature": (0.7, _asked("temperature"), 0.1, 0.7),
    "captioning.top_p": (0.9, _asked("top_p"), 0.001, 0.9),
    "captioning.repetition_penalty": (1.2, _asked("repetition_penalty"), 1.05, 1.2),
    "captioning.max_output_tokens": (99, _asked("max_output_tokens"), 512, 99),
    "preview.target_fps": (2.0, lambda c: preview(c).n_frames, 5, 10),  # type: ignore[attr-defined]
    "preview.target_height": (120, lambda c: preview(c).size, (320, 240), (160, 120)),
    "preview.lossless": (True, is_lossless, False, True),
    "enhancement.prompt_text": ("Shorten it.", lambda c: _system(c) == "Shorten it.", False, True),
    "enhancement.prompt_variant": (
        "av-surveillance", lambda c: "surveillance" in str(_system(c)), False, True
    ),
    "enhancement.temperature": (0.6, lambda c: enhanced(c)[0].samplings[0].temperature, 0.1, 0.6),
    "enhancement.top_p": (0.8, lambda c: enhanced(c)[0].samplings[0].top_p, 0.001, 0.8),
    "enhancement.repetition_penalty": (1.3, lambda c: enhanced(c)[0].samplings[0].repetition_penalty, 1.05, 1.3),
    "enhancement.max_output_tokens": (88, lambda c: enhanced(c)[0].samplings[0].max_output_tokens, 512, 88),
}  # fmt: skip
"""Option -> another value, what to look at, and what is there without the option and with it."""

ELSEWHERE: Final = {
    "captioning.remainder_threshold": "tests/runs/test_every_option.py::test_a_short_leftover",
    "captioning.stage2_prompt_text": "tests/runs/test_every_option.py::test_the_second_prompt_is_as_configured",
    "captioning.caption_batch_size": "tests/runs/test_every_option.py::test_windows_are_handed_over_in_batches",
    "captioning.engine": "tests/engines/test_openai.py::test_a_run_on_a_server",
    "captioning.server": "tests/engines/test_openai_failures.py::test_what_no_request_survives_stops_the_run",
    "captioning.model_variant": "tests/models/test_weights.py::test_a_variant_is_taken_from_model_dir",
    "captioning.model_dir": "tests/models/test_weights.py::test_a_variant_is_taken_from_model_dir",
    "captioning.preprocess_dtype": "tests/engines/test_pixels.py::test_what_reaches_the_engine",
    "captioning.fp8": "tests/engines/test_options.py::test_every_choice_reaches_the_caption_engine",
    "captioning.disable_mmcache": "tests/engines/test_options.py::test_every_choice_reaches_the_caption_engine",
    "captioning.verbose": "tests/runs/test_verbose.py::test_each_section_tells_its_own",
    "preview.compression_level": "tests/runs/test_every_option.py::test_effort_and_quality_change_the_bytes",
    "preview.quality": "tests/runs/test_every_option.py::test_effort_and_quality_change_the_bytes",
    "preview.num_cpus_per_worker": "tests/runs/test_every_option.py::test_threads_of_a_media_worker",
    "preview.verbose": "tests/runs/test_verbose.py::test_each_section_tells_its_own",
    "enhancement.engine": "tests/runs/test_feeding.py::test_batches_follow_what_the_server_answers_at_once",
    "enhancement.server": "tests/runs/test_feeding.py::test_batches_follow_what_the_server_answers_at_once",
    "enhancement.model_variant": "tests/engines/test_smollm2.py::test_it_rewrites_the_captions_of_a_run",
    "enhancement.model_dir": "tests/runs/test_every_option.py::test_the_text_model_has_a_folder_of_its_own",
    "enhancement.model_batch_size": "tests/runs/test_every_option.py::test_captions_are_handed_over_in_batches",
    "enhancement.fp8": "tests/engines/test_options.py::test_every_choice_reaches_the_text_engine",
    "enhancement.verbose": "tests/runs/test_verbose.py::test_each_section_tells_its_own",
}


def test_every_option_has_a_test() -> None:
    sections = {"captioning": Captioning, "preview": Preview, "enhancement": Enhancement}
    options = {f"{name}.{option}" for name, section in sections.items() for option in section.model_fields}

    assert SEEN.keys() | ELSEWHERE.keys() == options
    for path, _, test in (place.partition("::") for place in ELSEWHERE.values()):
        assert f"def {test}(" in (ROOT / path).read_text("utf-8"), test


@pytest.mark.parametrize("option", SEEN)
def test_it_makes_a_difference(option: str) -> None:
    value, look, without, with_ = SEEN[option]
    section, name = option.split(".")

    result = look({section: {name: value}})

    assert (look({}), result) == (without, with_)


def test_a_short_leftover() -> None:
    chosen = {"window_size": 32, "remainder_threshold": 4}

    assert windows({"captioning": chosen}) == [32, 32, 32, 4]


def test_the_second_prompt_is_as_configured() -> None:
    chosen = {"generate_stage2_caption": True, "stage2_prompt_text": "Say it better: "}

    engine, rows = captioned({"captioning": chosen})

    assert [request.text for request in engine.requests] == [PROMPT, 'Say it better: {"a":1}']
    assert rows.select("stage1_caption", "caption").row(0) == ('{"a":1}', '{"a":1}')


INDENTED = """
        Say in two parts:
          - what moves

          - where to
    """
STRAIGHT = "Say in two parts:\n  - what moves\n\n  - where to"


def test_texts_are_not_indented_as_the_file_is_that_they_were_written_in() -> None:
    chosen = {"prompt_text": INDENTED, "generate_stage2_caption": True, "stage2_prompt_text": "    Better:\n    "}

    engine, _ = captioned({"captioning": chosen})
    text_engine, _ = enhanced({"enhancement": {"prompt_text": INDENTED}})

    assert [request.text for request in engine.requests] == [STRAIGHT, 'Better:\n{"a":1}']
    assert [request.system for request in text_engine.requests] == [STRAIGHT]


def test_nor_are_those_of_a_row(tmp_path: Path) -> None:
    rows = {"clip_id": list("abc"), "mp4": [video()] * 3, "prompt_text": [INDENTED, "  \n", None]}
    pl.DataFrame(rows).write_parquet(tmp_path / "m.parquet")
    engine = Told()

    colcap.run(tmp_path / "m.parquet", tmp_path / "run", engine=engine, captioning=TINY, generate_previews=False)

    assert sorted(request.text for request in engine.requests) == sorted([STRAIGHT, PROMPT, PROMPT])


def test_caption_sets_share_one_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted where frames are decoded, with media work in this process; another model's pass decodes for itself."""
    pl.DataFrame({"clip_id": list("ab"), "mp4": [video()] * 2}).write_parquet(tmp_path / "m.parquet")
    sets = [{"name": "a"}, {"name": "b", "prompt_text": "What moves?"}, {"name": "c", "temperature": 0.5}]
    decoded: list[int] = []

    @contextmanager
    def read_clip(*given: Any, **options: Any) -> Iterator[Source]:
        decoded.append(len(given[0]))
        with demux.read_clip(*given, **options) as source:
            yield source

    monkeypatch.setattr(process, "read_clip", read_clip)
    engine, chosen = Told(), {"captioning": TINY, "runtime": {"media_threads": True}}

    colcap.run(tmp_path / "m.parquet", tmp_path / "run", engine=engine, captions=sets, **chosen)

    assert decoded == [len(video())] * 2
    assert sorted(request.text for request in engine.requests) == sorted([PROMPT, PROMPT, "What moves?"] * 2)


@pytest.mark.parametrize("change", [{"compression_level": 0}, {"quality": 95}])
def test_effort_and_quality_change_the_bytes(change: dict[str, int]) -> None:
    usual, other = (table_rows(made({"preview": given}), "previews")["webp_bytes"][0] for given in ({}, change))

    assert other > usual


def test_windows_are_handed_over_in_batches(tmp_path: Path) -> None:
    """The first ones take their time, so that the others wait and are taken together."""
    pl.DataFrame({"clip_id": list("abc"), "mp4": [video()] * 3}).write_parquet(tmp_path / "m.parquet")
    chosen: dict[str, Any] = {"window_size": 4, "remainder_threshold": 2, "model_variant": "tiny"}
    engines = {size: Told(seconds=0.5) for size in (5, 16)}

    for size, engine in engines.items():
        captioning = {**chosen, "caption_batch_size": size}
        folder = tmp_path / str(size)
        colcap.run(tmp_path / "m.parquet", folder, engine=engine, captioning=captioning, generate_previews=False)

    assert {size: max(engine.batches) for size, engine in engines.items()} == {5: 5, 16: 16}


def test_captions_are_handed_over_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pl.DataFrame({"clip_id": list("abc"), "mp4": [video()] * 3}).write_parquet(tmp_path / "m.parquet")
    chosen: dict[str, Any] = {"window_size": 4, "remainder_threshold": 2, "model_variant": "tiny"}
    colcap.run(tmp_path / "m.parquet", tmp_path / "run", engine=Told(), captioning=chosen, generate_previews=False)
    engine = Told()
    monkeypatch.setattr(launch, "start_text_engine", lambda *_: engine)

    colcap.enhance(tmp_path / "run", model_variant="tiny", model_batch_size=4)

    assert (max(engine.batches), sum(engine.batches)) == (4, 75)


def test_the_text_model_has_a_folder_of_its_own(tmp_path: Path) -> None:
    config = parse({"enhancement": {"model_dir": str(tmp_path / "mine"), "model_variant": "qwen3"}})

    with pytest.raises(WeightsError, match="mine/Qwen/Qwen3-14B"):
        choices.resolve_text_model(config)


@pytest.mark.parametrize(
    ("chosen", "workers", "expected"), [(4.0, 2, 4), (2.9, 2, 2), (0.5, 2, 1), (64.0, 2, 8), (4.0, 16, 1)]
)
def test_threads_of_a_media_worker(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: float, workers: int, expected: int
) -> None:
    given: list[int] = []

    def runner(plan: object, steps: Steps, *_: object, **__: object) -> None:
        step = steps.media.clips(Products(cut=True, preview=True, sample=False))
        assert isinstance(step, MediaStep)
        given.append(step.wanted.num_threads)
        raise KeyboardInterrupt

    monkeypatch.setattr(make, "engine_cores", lambda *_, **__: CorePlan((), tuple(range(16))))
    monkeypatch.setattr(make, "_pool", lambda *_: nullcontext())
    monkeypatch.setattr(make, "LocalRunner", runner)
    parameters = {"preview": {"num_cpus_per_worker": chosen}, "runtime": {"media_workers": workers}}
    with pytest.raises(KeyboardInterrupt):
        colcap.run(manifest, tmp_path / "out", generate_captions=False, **parameters)

    assert given == [expected]


@pytest.mark.parametrize("num_threads", [1, 3])
def test_decoders_have_the_threads_of_their_worker(monkeypatch: pytest.MonkeyPatch, num_threads: int) -> None:
    used: list[int] = []

    @contextmanager
    def read_clip(*given: Any, **options: Any) -> Iterator[Source]:
        with demux.read_clip(*given, **options) as source:
            used.append(source.stream.codec_context.thread_count)
            yield source

    monkeypatch.setattr(process, "read_clip", read_clip)
    process.process_clip(video(), media.Wanted(preview=media.PreviewSpec(), num_threads=num_threads))

    assert set(used) == {num_threads}
