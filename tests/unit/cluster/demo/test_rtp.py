"""RTP packets of a clip can be reassembled."""

from __future__ import annotations

import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.demo.rtp import (
    MAX_PAYLOAD,
    AccessUnit,
    Clip,
    Packetizer,
    payloads,
    split_annexb,
)


def _clip(*units: AccessUnit, encoding: str = "H264", fps: Fraction = Fraction(25)) -> Clip:
    parameters = {"sps": b"\x67\x4d\x40\x1e", "pps": b"\x68\xee", "vps": b"\x40\x01"}
    return Clip(encoding, fps, 64, 48, units, parameters)


def _joined(encoding: str, parts: list[bytes]) -> bytes:
    """A NAL unit as a receiver reassembles it from payloads."""
    if len(parts) == 1:
        return parts[0]
    if encoding == "H264":
        assert {p[0] & 0x1F for p in parts} == {28}
        head = bytes([(parts[0][0] & 0xE0) | (parts[0][1] & 0x1F)])
        marks, body = [p[1] for p in parts], [p[2:] for p in parts]
    else:
        assert {(p[0] >> 1) & 0x3F for p in parts} == {49}
        head = bytes([(parts[0][0] & 0x81) | ((parts[0][2] & 0x3F) << 1), parts[0][1]])
        marks, body = [p[2] for p in parts], [p[3:] for p in parts]
    assert [bool(m & 0x80) for m in marks] == [True] + [False] * (len(parts) - 1)
    assert [bool(m & 0x40) for m in marks] == [False] * (len(parts) - 1) + [True]
    return head + b"".join(body)


@given(
    encoding=st.sampled_from(["H264", "H265"]),
    head=st.binary(min_size=2, max_size=2),
    size=st.integers(0, 3 * MAX_PAYLOAD + 10),
)
def test_nal_units_survive_fragmentation(encoding: str, head: bytes, size: int) -> None:
    nal = head + bytes(i % 251 for i in range(size))
    parts = list(payloads(encoding, nal))
    assert all(len(p) <= MAX_PAYLOAD for p in parts)
    assert _joined(encoding, parts) == nal


def test_packets_are_numbered_and_the_last_of_a_frame_is_marked() -> None:
    clip = _clip(AccessUnit((b"\x65" + bytes(2 * MAX_PAYLOAD), b"\x41\x01"), True))
    packetizer = Packetizer(clip, ssrc=7, sequence=65_534)
    heads = [struct.unpack(">BBHII", p[:12]) for n in (0, 1) for p in packetizer.packets(n)]
    assert [h[2] for h in heads] == [65_534, 65_535, 0, 1, 2, 3, 4, 5]
    assert [bool(h[1] & 0x80) for h in heads] == [False, False, False, True] * 2
    assert [h[3] for h in heads] == [0] * 4 + [3600] * 4
    assert {h[4] for h in heads} == {7}


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001)])
def test_timestamps_continue_over_the_seam_and_wrap_at_32_bits(fps: Fraction) -> None:
    clip = _clip(AccessUnit((b"\x65",), True), AccessUnit((b"\x41",), False), fps=fps)
    step = 90_000 / fps
    steps = [(clip.timestamp(n + 1) - clip.timestamp(n)) % 2**32 for n in range(5_000)]
    assert {abs(s - step) < 1 for s in steps} == {True}
    far = int(2**32 / step)
    assert (clip.timestamp(far + 1) - clip.timestamp(far)) % 2**32 == pytest.approx(step, abs=1)


def test_viewers_start_at_a_key_frame() -> None:
    key, other = AccessUnit((b"\x65",), True), AccessUnit((b"\x41",), False)
    clip = _clip(key, other, other, key, other)
    assert [clip.next_key(n) for n in (0, 1, 3, 4, 6)] == [0, 3, 3, 5, 8]


def test_sdp_parameters() -> None:
    assert _clip().format_parameters() == (
        "packetization-mode=1;profile-level-id=4d401e;sprop-parameter-sets=Z01AHg==,aO4="
    )
    assert _clip(encoding="H265").format_parameters() == (
        "sprop-vps=QAE=;sprop-sps=Z01AHg==;sprop-pps=aO4="
    )


def test_start_codes_of_both_lengths_are_split() -> None:
    data = b"\x00\x00\x00\x01\x67\x01\x00\x00\x01\x68\x02\x00\x00\x00\x01\x65\x03"
    assert split_annexb(data) == [b"\x67\x01", b"\x68\x02", b"\x65\x03"]
