"""The RTSP parser: any chunking, any announced size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.relay.messages import MAX_BODY, MAX_HEAD, Framer, Message, Packets, ProtocolError
from tests.unit.cluster.relay.cutting import fed, pieces

OK = b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: 5\r\n\r\nhello"
PLAY = b"PLAY rtsp://cam/s RTSP/1.0\r\nCSeq: 3\r\n\r\n"


def packet(channel: int, payload: bytes) -> bytes:
    return b"$" + bytes([channel]) + len(payload).to_bytes(2, "big") + payload


def taken_apart(data: bytes, *cuts: int) -> tuple[list[Message], bytes]:
    """Messages, and all packets in one row."""
    framer, messages, packets = Framer(), [], b""
    for item in fed(framer, pieces(data, cuts)):
        if isinstance(item, Packets):
            packets += item.data
        else:
            messages.append(item)
    return messages, packets


@given(
    st.lists(
        st.one_of(
            st.just(OK),
            st.just(PLAY),
            st.builds(packet, st.integers(0, 255), st.binary(max_size=300)),
        ),
        max_size=8,
    ),
    st.lists(st.integers(0, 5000), max_size=6),
)
def test_chunk_boundaries_do_not_matter(parts: list[bytes], cuts: list[int]) -> None:
    messages, packets = taken_apart(b"".join(parts), *cuts)
    assert [m.start for m in messages] == [
        part.split(b"\r\n")[0].decode() for part in parts if part in (OK, PLAY)
    ]
    assert all(m.body == (b"hello" if m.is_response else b"") for m in messages)
    assert packets == b"".join(part for part in parts if part not in (OK, PLAY))


@given(st.binary(max_size=2000), st.lists(st.integers(0, 2000), max_size=4))
def test_any_bytes_end_in_items_or_a_protocol_error(data: bytes, cuts: list[int]) -> None:
    try:
        taken_apart(data, *cuts)
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    "length", [b"-1", b"99999999999", b"0x10", b"5, 5", b"%d" % (MAX_BODY + 1)]
)
def test_an_excessive_length_is_rejected(length: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(Framer().feed(b"RTSP/1.0 200 OK\r\nContent-Length: " + length + b"\r\n\r\n"))


def test_endless_headers_are_rejected() -> None:
    lines = [b"RTSP/1.0 200 OK\r\nX: " + b"x" * 100 + b"\r\n"] * (MAX_HEAD // 100)
    with pytest.raises(ProtocolError):
        fed(Framer(), lines)


def test_other_protocols_are_rejected_early() -> None:
    with pytest.raises(ProtocolError):
        fed(Framer(), [b"\x00\x01\x02\x03" * 1000] * 100)


def test_stray_bytes_between_packets_are_skipped() -> None:
    one, two = packet(0, b"a" * 50), packet(0, b"b" * 50)
    messages, packets = taken_apart(one + b"\x00\xff\x10" * 20 + two + OK)
    assert packets == one + two
    assert [m.status for m in messages] == [200]


def test_a_message_is_written_with_its_true_length() -> None:
    message = Message("RTSP/1.0 200 OK", (("Content-Length", "999"), ("CSeq", "7")), b"abc")
    (again,) = Framer().feed(message.encode())
    assert isinstance(again, Message)
    assert (again.body, again.get("cseq")) == (b"abc", "7")
    assert message.with_headers({"CSEQ": "8", "Session": "x"}).get("CSeq") == "8"
    assert message.with_headers({"CSeq": None}).get("CSeq") is None


@pytest.mark.parametrize("start", ["RTSP/1.0", "RTSP/1.0 abc", "RTSP/1.0 99", "RTSP/1.0 2000 OK"])
def test_a_response_needs_a_status(start: str) -> None:
    with pytest.raises(ProtocolError):
        _ = Message(start).status
