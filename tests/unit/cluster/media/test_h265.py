"""A key frame of H.265 can be decoded by itself."""

from __future__ import annotations

from cluster.media.h265 import with_hevc_parameter_sets

START = b"\x00\x00\x00\x01"


def nal(kind: int, content: bytes = b"\x55") -> bytes:
    return START + bytes([kind << 1, 1]) + content


VPS, SPS, PPS, AUD, IDR, SEI = nal(32), nal(33), nal(34), nal(35), nal(19), nal(39)


def test_parameter_sets_of_the_sdp_are_inserted_if_missing() -> None:
    assert with_hevc_parameter_sets(IDR, VPS + SPS + PPS) == VPS + SPS + PPS + IDR
    assert with_hevc_parameter_sets(AUD + IDR, VPS + SEI + SPS + PPS) == AUD + VPS + SPS + PPS + IDR


def test_sets_of_the_frame_itself_are_newer() -> None:
    own = nal(32, b"\x01") + nal(33, b"\x02") + nal(34, b"\x03") + IDR
    assert with_hevc_parameter_sets(own, VPS + SPS + PPS) == own


def test_nothing_is_inserted_without_parameter_sets() -> None:
    assert with_hevc_parameter_sets(IDR, b"") == IDR
