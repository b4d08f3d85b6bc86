"""The door to libav: clips are opened from memory only, as real containers only, and its log lines are kept."""

from __future__ import annotations

import io
import threading
import traceback
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import av
import av.logging
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from colcap.errors import RowError
from colcap.media.limits import Limits

FORMATS: Final = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "rm")
"""Containers that hold their own video. Playlists, concat scripts and images are not among them."""

DECODERS: Final = (
    "h264 hevc vp8 vp9 libdav1d av1 mpeg1video mpeg2video mpeg4 mjpeg theora h263 flv "
    "msmpeg4 msmpeg4v1 msmpeg4v2 wmv1 wmv2 wmv3 vc1 vp6 vp6f svq1 svq3 cinepak indeo3 rv10 rv20 rv30 rv40 "
    "prores dnxhd dvvideo ffv1 huffyuv ffvhuff utvideo rawvideo png qtrle jpeg2000"
).split()
"""Video decoders a clip may use: what cameras, sites and editors write. Others are code for strangers."""

LIBAV_ERRORS: Final = (FFmpegError, OSError, ValueError, MemoryError, OverflowError)
"""What PyAV raises for bad media, full memory and values that do not fit."""

BUFFER_BYTES: Final = 1 << 20
MAX_LOG_LINES: Final = 6
MAX_COMPLAINTS: Final = 2
NOT_LISTED: Final = "not on whitelist"
"""libav says so of each sound track, whose decoder is never wanted, with the whole list."""
HARMLESS: Final = (NOT_LISTED, "mmco: unref short failure")
"""Lines of no consequence: packets read without a decoder, and H.264's leading pictures of open GOPs."""

Log = list[tuple[int, str, str]]
"""libav's lines: level, name of the part that speaks, text."""


class _Level:
    """Turns libav's log on while someone listens and no decoder thread could speak.

    A line needs Python's lock. Closing a threaded decoder holds that lock while it waits for threads that may
    want to log: a damaged clip would hang the worker, so threaded decoding is silent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listening = 0
        self._threaded = 0

    def change(self, by: int, *, threaded: bool) -> None:
        with self._lock:
            self._threaded += by if threaded else 0
            self._listening += 0 if threaded else by
            loud = self._listening > 0 and self._threaded == 0
            av.logging.set_level(av.logging.ERROR if loud else None)
            av.logging.set_skip_repeated(False)  # else a line that was repeated turns up in the next clip's log


_LEVEL: Final = _Level()


@contextmanager
def libav_log(num_threads: int = 1) -> Iterator[Log]:
    """Collect what libav says in this thread; empty where decoding uses threads of its own.

    libav is silent outside: nothing reaches stderr.
    """
    threaded = num_threads > 1
    _LEVEL.change(1, threaded=threaded)
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        _LEVEL.change(-1, threaded=threaded)


def complaints(log: Log, *readers: str) -> str | None:
    """What demuxers or decoders said of their input, without the lines that intact clips give too; None: nothing.

    >>> complaints([(16, "h264", "mmco: unref short failure\\n"), (16, "h264", "concealing 9 errors\\n")], "h264")
    'libav: [h264] concealing 9 errors'
    """
    lines = [line for line in log if line[1] in readers and not any(word in line[2] for word in HARMLESS)]
    return _quoted(lines, MAX_COMPLAINTS)


def media_error(kind: str, text: str, log: Sequence[tuple[int, str, str]] = (), error: object = None) -> RowError:
    """A RowError that ends with what libav said.

    >>> media_error("corrupt", "no frame decodes", [(16, "h264", "no frame!\\n")]).text
    'no frame decodes; libav: [h264] no frame!'
    >>> media_error("corrupt", "no frame decodes", [(16, "aac", "Codec (aac) not on whitelist 'h264'")]).text
    'no frame decodes'
    """
    reason = getattr(error, "strerror", None) or (str(error) if error is not None else None)
    said = _quoted([line for line in log if NOT_LISTED not in line[2]], MAX_LOG_LINES)
    return RowError(kind, "; ".join(part for part in (text, reason, said) if part))


def unforeseen(error: Exception, log: Sequence[tuple[int, str, str]] = ()) -> RowError:
    """The row error of a defect of ours, or a product's: it costs the clip that met it, and tells where it is."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return media_error("unknown", f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}", log, error)


def _quoted(log: Sequence[tuple[int, str, str]], most: int) -> str | None:
    lines = list(dict.fromkeys(f"[{name}] {line.strip()}" for _, name, line in log))
    return "libav: " + " | ".join(lines[-most:]) if lines else None


def close_with(owner: object, output: OutputContainer) -> None:
    """Close a file that is written when its owner goes, finished or given up.

    PyAV's files and streams refer to each other until the file is closed: an encoder that was given up would keep its
    memory until the garbage collector comes by.
    """
    weakref.finalize(owner, _close, output)


def _close(output: OutputContainer) -> None:
    with suppress(*LIBAV_ERRORS):
        output.close()


def open_clip(data: bytes, limits: Limits, log: Log, *, probe: bool = True) -> InputContainer:
    """Open a clip's bytes as a container.

    Parameters
    ----------
    data : the whole file.
    limits : bounds on bytes, pixels and streams.
    log : lines collected so far; quoted in errors.
    probe : let libav decode a few frames to learn what the headers leave out; without, packets can be read only.

    Raises
    ------
    RowError
        `too_large`, `unreadable`, or `unsupported` for a format that is not one of FORMATS.
    """
    if len(data) > limits.max_bytes:
        raise RowError("too_large", f"{len(data)} bytes, at most {limits.max_bytes} are allowed (max_bytes)")
    if not data:
        raise RowError("unreadable", "the file is empty")
    options = {
        "format_whitelist": ",".join(FORMATS),
        "protocol_whitelist": "",
        "codec_whitelist": ",".join(DECODERS) if probe else "none",
        "max_streams": str(limits.max_streams),
        "max_pixels": str(limits.max_pixels),
    }
    try:
        return av.open(
            io.BytesIO(data), "r", options=options, buffer_size=BUFFER_BYTES, metadata_errors="replace", io_open=_refuse
        )
    except LIBAV_ERRORS as error:
        raise _open_error(error, log, limits) from error


def _refuse(*_: Any) -> Any:
    raise PermissionError("a clip may not open other files or addresses")


def _open_error(error: BaseException, log: Log, limits: Limits) -> RowError:
    said = " ".join(line for _, _, line in log)
    if isinstance(error, MemoryError):
        return media_error("too_large", "not enough memory to open the clip", log)
    if "max_streams" in said or "Number of streams" in said:
        return media_error("too_large", f"more than {limits.max_streams} streams (max_streams)", log)
    if NOT_LISTED in said:
        return media_error("unsupported", "the file is not one of the containers that are read", log)
    return media_error("unreadable", "not a readable video file", log, error)
