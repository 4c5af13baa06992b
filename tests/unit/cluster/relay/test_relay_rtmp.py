"""RTMP chunks, AMF0 and FLV tags: only well-formed ones pass."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.media.urls import parse_camera_url
from cluster.relay import amf
from cluster.relay.amf import AmfError
from cluster.relay.chunks import (
    MAX_MESSAGE,
    MAX_STREAMS,
    ChunkError,
    ChunkReader,
    ChunkWriter,
    RtmpMessage,
)
from cluster.relay.flv import HEADER, FlvTags, UnknownMediaError, is_well_formed
from cluster.relay.rtmp import application_of
from tests.unit.cluster.relay.cutting import fed, pieces

MESSAGES = st.lists(
    st.builds(
        RtmpMessage,
        kind=st.sampled_from([3, 4, 5, 8, 9, 18, 20]),
        stream=st.integers(0, 2**32 - 1),
        time_ms=st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0xFFFFFE, 0xFFFFFF])),
        chunk_stream=st.integers(2, 63),
        payload=st.binary(max_size=700),
    ),
    max_size=6,
)


@given(MESSAGES, st.sampled_from([64, 128, 4096]), st.lists(st.integers(0, 5000), max_size=6))
def test_what_is_written_is_read_however_it_is_cut(
    messages: list[RtmpMessage], chunk: int, cuts: list[int]
) -> None:
    writer, reader = ChunkWriter(chunk), ChunkReader()
    data = b"".join(map(writer.encode, messages))
    assert fed(reader, pieces(data, cuts)) == messages


@given(st.binary(max_size=600))
def test_any_bytes_end_in_messages_or_a_chunk_error(data: bytes) -> None:
    try:
        list(ChunkReader().feed(data))
    except ChunkError:
        pass


def test_headers_that_refer_to_the_one_before() -> None:
    """Worked out by hand from section 5.3.1.2 of the specification."""
    data = bytes.fromhex("03 0003e8 000002 09 01000000") + b"ab"  # form 0, at 1000 ms
    data += bytes.fromhex("43 000014 000003 08") + b"cde"  # form 1, 20 ms later
    data += bytes.fromhex("83 000005") + b"fgh"  # form 2, 5 ms later
    data += bytes.fromhex("c3") + b"ijk"  # form 3, the same again
    found = list(ChunkReader().feed(data))
    assert [(m.time_ms, m.kind, m.payload) for m in found] == [
        (1000, 9, b"ab"),
        (1020, 8, b"cde"),
        (1025, 8, b"fgh"),
        (1030, 8, b"ijk"),
    ]
    assert {m.stream for m in found} == {1}


def test_two_messages_may_be_interleaved() -> None:
    video = bytes.fromhex("04 000000 0000c8 09 01000000") + b"v" * 128
    audio = bytes.fromhex("06 000000 000002 08 01000000") + b"aa"
    rest = bytes.fromhex("c4") + b"v" * 72
    found = list(ChunkReader().feed(video + audio + rest))
    assert [(m.kind, len(m.payload)) for m in found] == [(8, 2), (9, 200)]


@pytest.mark.parametrize(
    "data",
    [
        bytes.fromhex("02 000000 000004 01 00000000 00000000"),  # a chunk size of 0
        bytes.fromhex("02 000000 000004 01 00000000 ffffffff"),
        bytes.fromhex("02 000000 000000 01 00000000"),  # and of none
        bytes.fromhex("03 000000 ffffff 09 00000000"),  # 16 MB
        bytes.fromhex("c3 00"),  # a header that refers to none
        b"".join(bytes([n]) + bytes.fromhex("000000 000001 09 00000000 00") for n in range(2, 60)),
    ],
)
def test_excessive_sizes_are_rejected(data: bytes) -> None:
    assert MAX_MESSAGE < 0xFFFFFF
    assert MAX_STREAMS < 58
    with pytest.raises(ChunkError):
        list(ChunkReader().feed(data))


# ---------------------------------------------------------------- AMF0


def connect(**fields: str) -> bytes:
    pairs = b"".join(
        struct.pack(">H", len(key)) + key.encode() + amf.string(value)
        for key, value in fields.items()
    )
    number = b"\x00" + struct.pack(">d", 1.0)
    return amf.string("connect") + number + b"\x03" + pairs + b"\x00\x00\x09"


def test_fields_of_a_command_are_read_and_replaced() -> None:
    command = connect(app="sealed", flashVer="x", tcUrl="rtmp://relay/sealed")
    spans = amf.values(command)
    assert len(spans) == 3
    assert amf.text(command, 0) == "connect"
    assert amf.fields(command, spans[2][0])["app"] == "sealed"
    changed = amf.with_fields(command, spans[2][0], {"app": "bcs", "tcUrl": "rtmp://cam/bcs"})
    assert amf.fields(changed, spans[2][0]) == {
        "app": "bcs",
        "flashVer": "x",
        "tcUrl": "rtmp://cam/bcs",
    }
    assert amf.values(changed)[-1][1] == len(changed)


@given(st.binary(max_size=200))
@example(b"\x03" * 100)
@example(b"\x0a\xff\xff\xff\xff")
@example(b"\x02\xff\xff")
def test_any_bytes_end_in_values_or_an_amf_error(data: bytes) -> None:
    try:
        spans = amf.values(data)
    except AmfError:
        return
    assert [end for _, end in spans][-1:] == ([len(data)] if data else [])


@pytest.mark.parametrize(
    ("url", "application", "stream"),
    [
        ("rtmp://cam/live/main", "live", "main"),
        ("rtmp://cam/bcs/channel0_main.bcs?channel=0&user=a", "bcs",
         "channel0_main.bcs?channel=0&user=a"),
        ("rtmp://cam/a/b/c", "a/b", "c"),
        ("rtmp://cam/live", "live", ""),
        ("rtmp://cam", "", ""),
    ],
)  # fmt: skip
def test_application_and_stream(url: str, application: str, stream: str) -> None:
    assert application_of(parse_camera_url(url)) == (application, stream)


# ---------------------------------------------------------------- FLV

AVC = bytes.fromhex("01640028ff") + b"\xe1\x00\x05SPS__" + b"\x01\x00\x04PPS_"
UNITS = b"\x00\x00\x00\x02\x65\x01" + b"\x00\x00\x00\x01\x41"


@pytest.mark.parametrize(
    ("kind", "payload", "whole"),
    [
        (9, b"\x17\x00\x00\x00\x00" + AVC, True),
        (9, b"\x17\x01\x00\x00\x00" + UNITS, True),
        (9, b"\x27\x02\x00\x00\x00", True),
        (9, b"\x12\x01\x00\x00\x00\xff\xff\xff\xff\x65", False),
        (9, b"\x17\x03\x00\x00\x00", False),
        (8, b"\xaf\x00\x12\x10", True),
        (8, b"\xaf\x01", True),
        (8, b"\x7e\x55", True),
        (18, b"", True),
        (9, b"", False),
        (9, b"\x17", False),
        (9, b"\x17\x01\x00", False),
        (9, b"\x17\x00\x00\x00\x00", False),
        (9, b"\x17\x00\x00\x00\x00" + AVC[:-1], False),
        (9, b"\x17\x00\x00\x00\x00" + AVC[:5] + b"\xe0" + AVC[6:], False),
        (9, b"\x17\x01\x00\x00\x00" + UNITS[:-1], False),
        (9, b"\x17\x01\x00\x00\x00" + b"\xff\xff\xff\xff\x65", False),
        (9, b"\x17\x01\x00\x00\x00" + b"\x00\x00\x00\x00", False),
        (9, b"\x90hvc1", False),
        (9, b"\x91hvc1\x00\x00", False),
        (9, b"\x93hvc1" + UNITS, True),
        (8, b"", False),
        (8, b"\xaf", False),
        (8, b"\xaf\x00\x12", False),
        (7, b"abcdef", False),
    ],
)
def test_only_well_formed_tags_pass(kind: int, payload: bytes, whole: bool) -> None:
    assert is_well_formed(kind, payload) is whole


@given(st.sampled_from([8, 9]), st.binary(max_size=200))
def test_any_tag_is_judged(kind: int, payload: bytes) -> None:
    if is_well_formed(kind, payload):
        assert len(payload) >= (2 if kind == 8 else 5)


def tag(kind: int, payload: bytes) -> bytes:
    head = bytes([kind]) + len(payload).to_bytes(3, "big") + bytes(7)
    return bytes(4) + head + payload


def test_flv_is_forwarded_without_malformed_tags() -> None:
    good = tag(9, b"\x17\x01\x00\x00\x00" + UNITS)
    data = b"FLV\x01\x05\x00\x00\x00\x0aX" + good + tag(9, b"\x17") + tag(8, b"") + good
    for size in (1, 7, len(data)):
        tags = FlvTags()
        pieces = [data[i : i + size] for i in range(0, len(data), size)]
        assert b"".join(out for piece in pieces for out in tags.feed(piece)) == HEADER + good * 2


@pytest.mark.parametrize(
    "data",
    [
        b"FLV\x01\x05\xff\xff\xff\xff" + bytes(20),
        b"FLV\x01\x05\x00\x00\x00\x00" + bytes(20),
        b"not FLV at all",
        HEADER + bytes(4) + b"\x09\xff\xff\xff" + bytes(20),
    ],
)
def test_flv_with_excessive_sizes_is_rejected(data: bytes) -> None:
    with pytest.raises(UnknownMediaError):
        list(FlvTags().feed(data))
