"""What packets say of a camera."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.relay.rtp_watch import RtpWatch

TICKS = 3600
IDR, SLICE = b"\x65\x88\x80", b"\x41\x9a\x00"
NOW_US = 1_800_000_000_000_000


def packet(
    n: int, payload: bytes = SLICE, *, ticks: int | None = None, marker: bool = True
) -> bytes:
    time = (n * TICKS if ticks is None else ticks) & 0xFFFF_FFFF
    return struct.pack("!BBHII", 0x80, 96 | marker << 7, n & 0xFFFF, time, 7) + payload


def watched(*packets: bytes, step_s: float = 0.04, encoding: str = "h264") -> RtpWatch:
    watch = RtpWatch(encoding)
    for n, data in enumerate(packets):
        watch.rtp(data, 100 + n * step_s)
    return watch


def test_an_even_stream() -> None:
    report = watched(*(packet(n, IDR if n % 25 == 0 else SLICE) for n in range(101))).report()
    assert (report.packets, report.lost, report.frames, report.key_frames) == (101, 0, 101, 5)
    assert (report.jumps, report.repeated, report.fps) == (0, 0, 25.0)
    assert report.key_distance_s == pytest.approx(1.0)
    assert report.clock_offset_s is None


@pytest.mark.parametrize(
    ("encoding", "payload", "is_key"),
    [
        ("H264", b"\x7c\x85\x00", True),  # FU-A, first of an IDR
        ("H264", b"\x7c\x05\x00", False),  # a later one
        ("H264", b"\x78\x00\x02\x67\x4d\x00\x02\x65\x88", True),  # STAP-A: SPS, IDR
        ("H264", b"\x78\x00\x02\x67\x4d\x00\x02\x68\xee", False),
        ("H265", b"\x26\x01\xaf", True),  # IDR_W_RADL
        ("H265", b"\x02\x01\xd0", False),
        ("H265", b"\x62\x01\x93", True),  # FU, first of type 19
        ("H265", b"\x62\x01\x13", False),
        ("H265", b"\x60\x01\x00\x03\x26\x01\xaf", True),  # AP
        ("JPEG", b"\x65\x88\x80", False),
    ],
)
def test_key_frames_in_every_kind_of_packet(encoding: str, payload: bytes, is_key: bool) -> None:
    report = watched(packet(0, payload), packet(1), encoding=encoding).report()
    assert report.key_frames == is_key


def test_missing_packets_are_counted_over_the_wrap() -> None:
    numbers = [65_534, 65_535, 1, 2, 6]
    watch = RtpWatch("H264")
    for at, n in enumerate(numbers):
        watch.rtp(packet(n, ticks=at * TICKS), at * 0.04)
    assert watch.report().lost == 1 + 3


def test_a_frame_of_several_packets_is_one_frame_and_one_key() -> None:
    parts = [packet(n, IDR, ticks=0, marker=n == 3) for n in range(4)]
    report = watched(*parts, packet(4, ticks=TICKS)).report()
    assert (report.frames, report.key_frames, report.repeated) == (2, 1, 0)


def test_jumps_and_repeated_times() -> None:
    ticks = [0, 1, 2, 2, 3, 3 + 25 * 3600, 4, 5]  # in frames: one repeated, an hour ahead and back
    report = watched(*(packet(n, ticks=t * TICKS) for n, t in enumerate(ticks))).report()
    assert (report.repeated, report.jumps) == (1, 2)


def test_b_frames_are_no_jumps() -> None:
    order = [0, 3, 1, 2, 6, 4, 5]
    assert watched(*(packet(n, ticks=t * TICKS) for n, t in enumerate(order))).report().jumps == 0


def test_the_camera_clock_is_read_from_a_sender_report() -> None:
    watch = RtpWatch("H264")
    ntp = struct.pack("!II", NOW_US // 1_000_000 + 3600 + 2_208_988_800, 2**31)
    sender = struct.pack("!BBHI", 0x80, 200, 6, 7) + ntp + bytes(12)
    receiver = struct.pack("!BBHI", 0x80, 201, 1, 7)
    watch.rtcp(receiver + sender, NOW_US)
    assert watch.report().clock_offset_s == pytest.approx(3600.5)


@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from(["H264", "H265", "X"]))
def test_no_packet_breaks_it(packets: list[bytes], encoding: str) -> None:
    watch = RtpWatch(encoding)
    for n, data in enumerate(packets):
        watch.rtp(data, n * 0.1)
        watch.rtp(b"\x80" + data, n * 0.1)
        watch.rtcp(data, NOW_US)
    assert watch.report().packets <= 2 * len(packets)
