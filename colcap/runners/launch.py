"""From a manifest and a configuration to a running plan: checks, steps, workers, engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from colcap import media, prompts
from colcap.config import Config, fingerprint
from colcap.engines.base import Engine, Sampling
from colcap.engines.cores import CorePlan, plan_cores
from colcap.manifests import ClipReader
from colcap.media.workers import MediaPool
from colcap.models.weights import ResolvedModel, resolve
from colcap.runners import preflight
from colcap.runners.local import WINDOWS_IN_FLIGHT, LocalRunner, Steps
from colcap.runners.plan import PartTodo, Plan, make_plan, prepare, writing
from colcap.runners.progress import Progress, shown
from colcap.steps.captions import CaptionStep
from colcap.steps.media import MediaStep, WindowStep


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one start of a run did."""

    plan: Plan
    progress: Progress


def run(
    source: Path,
    folder: Path,
    config: Config,
    *,
    root: Path | None = None,
    limit: int | None = None,
    console: Console | None = None,
    engine: Engine | None = None,
) -> Outcome:
    """Run a manifest on this machine, or go on with a run that was stopped.

    Parameters
    ----------
    source : the manifest.
    folder : the run folder.
    root : clips outside this folder become error rows.
    limit : take only the first clips of the manifest.
    console : where progress is shown; nowhere by default.
    engine : a running engine to use instead of starting one; it is left running.

    Raises
    ------
    ColcapError : what is wrong and what to do; see errors.py.
    """
    preflight.check_encoders(config)
    model = resolve_model(config) if config.generate_captions else None
    if model and engine is None:
        check_engine(config)
    with writing(folder):
        config = prepare(source, folder, config, limit=limit)
        wanted = caption_fingerprint(config, model) if model else None
        plan = make_plan(folder, config, caption_fingerprint=wanted)
        progress = _progress(plan)
        if plan.todo:
            preflight.check_disk(plan)
            _run_here(plan, model, root, progress, console or Console(quiet=True), engine)
    return Outcome(plan, progress)


def resolve_model(config: Config) -> ResolvedModel:
    """The caption model's weights; raises WeightsError where they are missing."""
    c = config.captioning
    return resolve(c.model_variant, model_dir=Path(c.model_dir))


def check_engine(config: Config) -> None:
    """Refuse, before any work, what no engine here could do."""
    from colcap.engines.vllm import check_available  # imports vllm's package metadata, not vllm

    check_available(fp8=config.captioning.fp8)


def caption_prompt(config: Config) -> tuple[str, str]:
    """The prompt and the name it is recorded under."""
    c = config.captioning
    return (
        (c.prompt_text, "custom") if c.prompt_text is not None else (prompts.load(c.prompt_variant), c.prompt_variant)
    )


def stage2_prompt(config: Config) -> str | None:
    """What the second pass says before the first caption; None where there is none."""
    c = config.captioning
    if not c.generate_stage2_caption:
        return None
    return prompts.load("default", "stage2") if c.stage2_prompt_text is None else c.stage2_prompt_text


def sampling(config: Config) -> Sampling:
    """How text is generated."""
    return Sampling(max_output_tokens=config.captioning.max_output_tokens)


def caption_fingerprint(config: Config, model: ResolvedModel) -> str:
    """Hash of everything a user chooses that can change a caption."""
    prompt, _ = caption_prompt(config)
    return fingerprint(
        {
            "model": [model.id, model.revision],
            "prompt": prompt,
            "stage2": stage2_prompt(config),
            "sampling": asdict(sampling(config)),
            "frames": asdict(sample_spec(config, model)),
            "windows": [config.captioning.window_size, config.captioning.remainder_threshold],
            "fp8": config.captioning.fp8,
        }
    )


def sample_spec(config: Config, model: ResolvedModel) -> media.SampleSpec:
    """Which frames the model sees, and their size."""
    return media.SampleSpec(
        sampling_fps=config.captioning.sampling_fps,
        factor=model.factor,
        min_pixels=model.min_pixels,
        max_pixels=model.max_pixels,
        total_pixels=model.total_pixels,
        resize=not config.captioning.model_does_preprocess,
    )


def preview_spec(config: Config) -> media.PreviewSpec:
    """How previews look."""
    p = config.preview
    return media.PreviewSpec(p.target_fps, p.target_height, p.compression_level, p.quality, p.lossless)


def media_limits(config: Config) -> media.Limits:
    """What one clip may cost."""
    c = config.limits
    return media.Limits(max_bytes=c.max_bytes, max_pixels=c.max_pixels, max_duration_s=c.max_duration_s)


def wanted(
    config: Config, model: ResolvedModel | None, *, cut: bool, preview: bool, sample: bool, num_threads: int = 1
) -> media.Wanted:
    """The products to make of each clip or window."""
    return media.Wanted(
        window_size=config.captioning.window_size,
        remainder_threshold=config.captioning.remainder_threshold,
        cut=config.cut if cut else None,
        preview=preview_spec(config) if preview else None,
        sample=sample_spec(config, model) if sample and model else None,
        num_threads=num_threads,
    )


def _run_here(
    plan: Plan,
    model: ResolvedModel | None,
    root: Path | None,
    progress: Progress,
    console: Console,
    engine: Engine | None,
) -> None:
    config = plan.config
    needs_engine = any(todo.captions for todo in plan.todo)
    cores = plan_cores(num_engine_cores=config.runtime.engine_cores) if needs_engine else plan_cores(num_engine_cores=0)
    num_workers = config.runtime.media_workers or len(cores.media)
    num_threads = _threads(config, len(cores.media), num_workers)

    def products(todo: PartTodo) -> media.Wanted:
        return wanted(
            config, model, cut=todo.media, preview=todo.previews, sample=bool(todo.captions), num_threads=num_threads
        )

    limits, reader = media_limits(config), ClipReader(root=root, max_bytes=config.limits.max_bytes)
    handle = EngineHandle(engine or (lambda: start_engine(config, _known(model), cores)))
    progress.idle_share = handle.idle_share
    steps = Steps(
        media=lambda todo: MediaStep(products(todo), limits, reader),
        windows=lambda todo: WindowStep(products(todo), limits),
        caption=lambda: caption_step(config, _known(model), handle.get()),
        cancel=handle.close,
    )
    pool = MediaPool(
        num_workers,
        cores=cores.media,
        timeout_s=config.limits.timeout_s,
        max_memory_bytes=config.limits.max_worker_bytes,
    )
    captioners = num_captioners(config)
    try:
        with pool, shown(progress, console):
            LocalRunner(plan, steps, pool, progress, num_workers=num_workers, captioners=captioners).run()
    finally:
        handle.close()


def num_captioners(config: Config) -> int:
    """How many batches are in flight at once: at least two, so that the tail of one overlaps the head of the next."""
    return max(2, min(8, -(-WINDOWS_IN_FLIGHT // config.captioning.caption_batch_size)))


def _known(model: ResolvedModel | None) -> ResolvedModel:
    assert model is not None  # captions are wanted, so weights were resolved
    return model


def _threads(config: Config, num_cores: int, num_workers: int) -> int:
    return max(1, min(int(config.preview.num_cpus_per_worker), num_cores // num_workers))


def caption_step(config: Config, model: ResolvedModel, engine: Engine) -> CaptionStep:
    """The caption step of a configuration, on a running engine."""
    prompt, variant = caption_prompt(config)
    return CaptionStep(
        engine,
        sampling(config),
        prompt,
        variant,
        caption_fingerprint(config, model),
        config.caption_set,
        stage2_prompt(config),
    )


def start_engine(config: Config, model: ResolvedModel, cores: CorePlan) -> Engine:
    """Start vLLM with the configuration's options; takes tens of seconds."""
    from colcap.engines.vllm import VllmEngine  # heavy: only where captions are made

    c = config.captioning
    return VllmEngine(
        model,
        fp8=c.fp8,
        disable_mmcache=c.disable_mmcache,
        model_does_preprocess=c.model_does_preprocess,
        cores=cores.engine,
        engine_kwargs=config.runtime.engine_kwargs,
        verbose=c.verbose,
    )


class EngineHandle:
    """An engine that is started when first asked for, and closed if it was started here."""

    def __init__(self, engine: Engine | Callable[[], Engine]) -> None:
        self._start = engine if callable(engine) else None
        self._engine = None if callable(engine) else engine
        self._lock = threading.Lock()
        self._closed = False

    def get(self) -> Engine:
        """The running engine; the first call starts it."""
        with self._lock:
            if self._engine is None:
                assert self._start is not None
                self._engine = self._start()
                if self._closed:  # the run was stopped while the engine came up
                    self._engine.close()
            return self._engine

    def idle_share(self) -> float | None:
        """Share of the time since it was ready in which it had nothing to do; None before it is ready."""
        engine = self._engine
        return None if engine is None else engine.stats.idle_share

    def close(self) -> None:
        """Stop the engine if it was started here."""
        self._closed = True
        engine = self._engine
        if self._start is not None and engine is not None:
            engine.close()


def _progress(plan: Plan) -> Progress:
    parts, size = len(plan.todo), plan.config.clips_per_part
    last_is_short = (
        plan.num_parts * size - plan.num_clips if any(t.part == plan.num_parts - 1 for t in plan.todo) else 0
    )
    return Progress(parts, parts * size - last_is_short, captioning=any(todo.captions for todo in plan.todo))
