"""What is said of a stream that comes and cannot be shown."""

from __future__ import annotations

import pytest

from cluster.bridge.waiting import (
    NO_KEY_FRAME,
    NO_PARAMETER_SETS,
    PATIENCE_S,
    UNDECODABLE,
    UNDECODABLE_AFTER_S,
    FirstPicture,
)

SLICE, IDR = b"\x00\x00\x00\x01\x41\x9a", b"\x00\x00\x00\x01\x65\x88"


@pytest.mark.parametrize(
    ("codec", "packets", "expected"),
    [
        ("h264", [(SLICE, 0.0), (SLICE, PATIENCE_S - 0.1)], ""),
        ("h264", [(SLICE, 0.0), (SLICE, PATIENCE_S)], NO_KEY_FRAME),
        ("h264", [(IDR, 0.0), (SLICE, PATIENCE_S)], NO_PARAMETER_SETS),
        ("h264", [(SLICE, 100.0), (IDR, 100 + PATIENCE_S)], NO_PARAMETER_SETS),
        ("hevc", [(SLICE, 0.0), (SLICE, UNDECODABLE_AFTER_S - 1)], ""),
        ("hevc", [(SLICE, 0.0), (SLICE, 60.0)], UNDECODABLE.format(codec="hevc")),
    ],
)
def test_what_is_missing(codec: str, packets: list[tuple[bytes, float]], expected: str) -> None:
    first = FirstPicture(codec)
    assert [first.missing(data, at_s) for data, at_s in packets][-1] == expected
