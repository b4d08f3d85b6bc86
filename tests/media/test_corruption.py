"""The short form of `python tests/media/corruption.py`: every damaged clip is accounted for by its rows."""

from __future__ import annotations

import clips
import corruption
import pytest
from damages import DAMAGES, FORMATS

from colcap.media import process_clip


def test_every_damaged_clip_has_its_rows() -> None:
    count = 2 * len(FORMATS) * len(DAMAGES)
    result = corruption.run(count, seed=1, workers=2, timeout_s=60)
    outcomes = {name for counter in result.outcomes.values() for name in counter}

    assert result.num_rows == count
    assert result.broken == []
    assert not outcomes & {"error crashed", "error timeout"}
    assert {"ok", "ok, warned", "error unreadable"} <= outcomes  # the damage is neither nothing nor everything


@pytest.mark.parametrize("name", ["h264 gop 12", "h264 mkv", "mpeg4 avi", "mpeg2 ts"])
def test_a_picture_that_is_damaged_but_shown_is_warned_of(name: str) -> None:
    data = bytearray(clips.clip(name))
    for at in range(len(data) // 3, 2 * len(data) // 3, 997):
        data[at : at + 6] = b"\x5a" * 6
    warning = process_clip(bytes(data), corruption.WANTED).probe.warning

    assert warning is not None
    assert "damaged: " in warning
