"""A clip's bytes in, its windows with all their products out: one demux, at most one decode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, TypeVar

from colcap.errors import RowError
from colcap.media.cut import NotExact, copy_window, is_window_already, why_not_copy
from colcap.media.demux import Source, read_clip
from colcap.media.encode import EncodedWindow
from colcap.media.facts import Picture, probe
from colcap.media.frames import FrameSource, PacketFrames, Trust, Undecodable, frames_of
from colcap.media.libav import Log, complaints, libav_log, media_error, unforeseen
from colcap.media.limits import Limits
from colcap.media.preview import PreviewProduct, preview_format
from colcap.media.products import Attempt, Budget
from colcap.media.sample import SAMPLE_FORMAT, SampleProduct
from colcap.media.scale import Scaler
from colcap.media.timeline import Timeline, frame_rate
from colcap.media.values import Clip, Cut, Preview, Sample, Wanted, Window
from colcap.media.windowing import MIN_FRAMES, windows

T = TypeVar("T")

DEFAULT_LIMITS = Limits()


def process_clip(data: bytes, wanted: Wanted, limits: Limits = DEFAULT_LIMITS) -> Clip:
    """Split a clip into windows and make the wanted products of each.

    Parameters
    ----------
    data : the clip's file; trusted in nothing.
    wanted : windows, cut, preview, sample.
    limits : what the clip may cost.

    Returns
    -------
    The clip's facts and its windows; a product that failed is a RowError in its place.

    Raises
    ------
    RowError
        The clip as a whole gives nothing: unreadable, unsupported, no_video (skipped), no_frames (skipped
        where the clip is sound), too_short (skipped), corrupt, too_large; unknown for what nobody foresaw.

    Notes
    -----
    `copy` windows decode to exactly the source's displayed frames. Where packets cannot be copied exactly (a codec
    that mp4 does not hold, frames without times of their own, damage), the window is encoded again and says why.
    A window holds video only; `whole` means that the clip was such a file already.
    """
    with _listening(wanted.num_threads) as log:
        return _trusting_less(lambda trust: _clip(data, wanted, limits, log, trust), log)


def process_window(
    mp4: bytes, wanted: Wanted, *, fps: float, duration_s: float, limits: Limits = DEFAULT_LIMITS
) -> Window:
    """Make products of a stored window; the same bytes as `process_clip` made, or would have made.

    Parameters
    ----------
    mp4 : a window's file; all of its frames are one window, however many.
    wanted : preview, sample; `cut` and the window sizes are ignored.
    fps : displayed frames per second of the clip it was cut from.
    duration_s : its `end_s` - `start_s`, since a file does not say how long its last frame is shown.
    limits : what the window may cost.

    Raises
    ------
    RowError
        The file cannot be read or decoded.
    """
    with _listening(wanted.num_threads) as log:
        stored = replace(wanted, cut=None)
        return _trusting_less(lambda trust: _stored(mp4, stored, fps, duration_s, limits, log, trust), log)


def _trusting_less(make: Callable[[Trust], T], log: Log) -> T:
    """Make something of a clip's packets; if that fails or shows damage, of what decoding every frame tells."""
    for trust in (Trust.PACKETS, Trust.CHECKED):
        try:
            return make(trust)
        except Undecodable:
            log.clear()
    try:
        return make(Trust.FRAMES)
    except Undecodable as error:
        raise media_error("corrupt", str(error), log) from error


@contextmanager
def _listening(num_threads: int) -> Iterator[Log]:
    """Collect libav's lines; what nobody foresaw becomes the clip's error and does not stop the run."""
    with libav_log(num_threads) as log:
        try:
            yield log
        except (RowError, MemoryError):
            raise
        except Exception as error:
            raise unforeseen(error, log) from error


def _clip(data: bytes, wanted: Wanted, limits: Limits, log: Log, trust: Trust) -> Clip:
    with _opened(data, wanted, limits, log, trust) as (source, frames):
        timeline = frames.timeline
        spans = windows(len(timeline), size=wanted.window_size, remainder_threshold=wanted.remainder_threshold)
        if not spans:
            raise _too_short(len(timeline), source)
        fps = frame_rate(source.stream.average_rate, timeline)
        workshop = _Workshop(source, frames, timeline, fps, wanted, limits, log)
        making = [workshop.start(span) for span in spans]
        picture = _decode(frames, making)
        said = complaints(log, source.stream.codec_context.codec.name, source.container.format.name)
        if said and isinstance(frames, PacketFrames) and not frames.checked:
            raise Undecodable(said)
        return Clip(probe(source, frames, fps, picture, said), [_window(each, timeline) for each in making])


def _stored(
    mp4: bytes, wanted: Wanted, fps: float, duration_s: float, limits: Limits, log: Log, trust: Trust
) -> Window:
    with _opened(mp4, wanted, limits, log, trust) as (source, frames):
        timeline = frames.timeline.lasting(duration_s)
        workshop = _Workshop(source, frames, timeline, fps, wanted, limits, log)
        making = workshop.start(range(len(timeline)))
        _decode(frames, [making])
        return _window(making, timeline)


@contextmanager
def _opened(
    data: bytes, wanted: Wanted, limits: Limits, log: Log, trust: Trust
) -> Iterator[tuple[Source, FrameSource]]:
    with read_clip(data, limits, log, num_threads=wanted.num_threads) as source:
        if source.shown:
            _check_duration(source.timeline(), limits)
        frames = frames_of(source, trust, limits, log, wanted.num_threads)
        _check_duration(frames.timeline, limits)
        yield source, frames


def _check_duration(timeline: Timeline, limits: Limits) -> None:
    seconds = timeline.seconds(len(timeline))
    if seconds > limits.max_duration_s:
        raise RowError(
            "too_large", f"{seconds:.0f} s, at most {limits.max_duration_s:g} s are allowed (max_duration_s)"
        )


def _too_short(num_frames: int, source: Source) -> RowError:
    text = f"{num_frames} frames, at least {MIN_FRAMES} are needed"
    if source.damage is not None:
        return RowError("corrupt", f"{text}; {source.damage}")
    return RowError("too_short", text, skipped=True)


@dataclass(slots=True)
class _Making:
    """A window while its products are made."""

    frames: range
    cut: Cut | None = None
    mp4: bytes | None = None
    warning: str | None = None
    encoded: Attempt[bytes] | None = None
    preview: Attempt[Preview] | None = None
    sample: Attempt[Sample] | None = None
    others: dict[str, Attempt[Any]] = field(default_factory=dict)

    def attempts(self) -> list[Attempt[Any]]:
        named = (self.encoded, self.preview, self.sample)
        return [*(attempt for attempt in named if attempt is not None), *self.others.values()]


class _Workshop:
    """Starts the products of windows; holds what they share."""

    def __init__(
        self,
        source: Source,
        frames: FrameSource,
        timeline: Timeline,
        fps: float,
        wanted: Wanted,
        limits: Limits,
        log: Log,
    ) -> None:
        self._source, self._timeline, self._fps = source, timeline, fps
        self._wanted, self._limits, self._log = wanted, limits, log
        self._budget = Budget(limits.max_output_bytes)
        self._why_not_copy = why_not_copy(source, frames)
        self._is_whole = is_window_already(source, frames)
        self._file = sha256(source.data).hexdigest() if wanted.sample else ""
        self._to_rgb = Scaler(SAMPLE_FORMAT)
        self._to_preview = Scaler(preview_format(wanted.preview)) if wanted.preview else None

    def start(self, span: range) -> _Making:
        """Cut a window if that needs no decoding, and start what does."""
        making = _Making(span)
        if self._wanted.cut == "copy":
            self._copy(making)
        if self._wanted.cut is not None and making.mp4 is None:
            making.cut, making.encoded = "encode", self._encode(span)
        part = self._timeline.part(span)
        if self._wanted.preview is not None and self._to_preview is not None:
            preview = PreviewProduct(self._wanted.preview, part, self._fps, self._to_preview, self._budget)
            making.preview = Attempt(preview, span.start, self._log)
        if self._wanted.sample is not None:
            origin = f"{self._file} {span}"
            sample = SampleProduct(self._wanted.sample, len(span), self._fps, self._to_rgb, self._budget, origin)
            making.sample = Attempt(sample, span.start, self._log)
        for recipe in self._wanted.others:
            product = recipe.start(part, self._fps, self._budget)
            making.others[recipe.name] = Attempt(product, span.start, self._log)
        return making

    def _copy(self, making: _Making) -> None:
        if self._is_whole and len(making.frames) == len(self._timeline):
            making.cut, making.mp4 = "whole", self._source.data
            return
        try:
            if self._why_not_copy is not None:
                raise NotExact(self._why_not_copy)
            making.mp4 = copy_window(self._source, self._timeline, making.frames, self._limits, self._log)
            making.cut = "copy"
            self._budget.spend(len(making.mp4))
        except NotExact as error:
            making.warning = f"encoded again, not copied: {error}"

    def _encode(self, span: range) -> Attempt[bytes]:
        window = EncodedWindow(
            self._source,
            self._timeline.part(span),
            self._fps,
            self._wanted.num_threads,
            self._budget,
            self._limits,
            self._log,
        )
        return Attempt(window, span.start, self._log)


def _decode(frames: FrameSource, making: Sequence[_Making]) -> Picture:
    """Decode each wanted frame once and hand it to all who want it; the first one is decoded in any case."""
    takers: dict[int, list[Attempt[Any]]] = {0: []}
    for attempt in (attempt for each in making for attempt in each.attempts()):
        for number in attempt.wanted:
            takers.setdefault(number, []).append(attempt)
    picture = None
    for number, frame in frames.decode(set(takers)):
        picture = picture or Picture.of(frame)
        for attempt in takers[number]:
            attempt.add(number, frame)
    assert picture is not None  # decode() gives frame 0 or raises
    return picture


def _window(making: _Making, timeline: Timeline) -> Window:
    first, stop = making.frames.start, making.frames.stop
    mp4 = making.mp4 if making.encoded is None else making.encoded.result
    error = mp4 if isinstance(mp4, RowError) else None
    return Window(
        start_frame=first,
        end_frame=stop - 1,
        start_s=timeline.seconds(first),
        end_s=timeline.seconds(stop),
        num_frames=stop - first,
        cut=making.cut if error is None else None,
        mp4=None if isinstance(mp4, RowError) else mp4,
        warning=making.warning,
        error=error,
        preview=making.preview.result if making.preview else None,
        sample=making.sample.result if making.sample else None,
        others={name: attempt.result for name, attempt in making.others.items()},
    )
