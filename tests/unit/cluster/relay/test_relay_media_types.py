"""Bodies of HTTP cameras: their formats, and what is forwarded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.relay.flv import UnknownMediaError
from cluster.relay.media_types import (
    MAX_IMAGE,
    MAX_PART_HEAD,
    Media,
    MultipartImages,
    RawImages,
    media_of,
    part_of,
    rewritten_playlist,
)
from tests.unit.cluster.relay.cutting import fed

JPEG = b"\xff\xd8\xff\xe0" + b"picture" * 9 + b"\xff\xd9"
OTHER = b"\xff\xd8\xff\xdb" + b"another" * 5 + b"\xff\xd9"


@pytest.mark.parametrize(
    ("content_type", "first", "media"),
    [
        ("multipart/x-mixed-replace; boundary=x", b"", Media.MULTIPART_IMAGES),
        ("", b"--x\r\n", Media.MULTIPART_IMAGES),
        ("image/jpeg", JPEG, Media.IMAGE),
        ("video/mjpeg", JPEG, Media.RAW_IMAGES),
        ("", b"HTTP noise" + JPEG, Media.RAW_IMAGES),
        ("text/plain", b"#EXTM3U\n", Media.PLAYLIST),
        ("", b"FLV\x01", Media.FLV),
        ("", b"\x47" + bytes(187), Media.TRANSPORT_STREAM),
        ("", bytes(3) + b"\x01\x67", Media.STREAM),
    ],
)
def test_media(content_type: str, first: bytes, media: Media) -> None:
    assert media_of(content_type, first) is media


@pytest.mark.parametrize(
    "first", [b"", b"<html>", b'{"keys": ["secret"]}', b"-ERR unknown command", b"SSH-2.0-x"]
)
def test_other_formats_are_rejected(first: bytes) -> None:
    with pytest.raises(UnknownMediaError):
        media_of("text/html", first)


def multipart(*pictures: bytes, declared: bool = True) -> bytes:
    out = b""
    for picture in pictures:
        length = f"Content-Length: {len(picture)}\r\n".encode() if declared else b""
        out += b"--frame\r\nContent-Type: image/jpeg\r\n" + length + b"\r\n" + picture + b"\r\n"
    return out


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_images_are_extracted_from_their_parts(declared: bool, size: int) -> None:
    data = multipart(JPEG, OTHER, JPEG, declared=declared) + b"--frame\r\n"
    pictures = MultipartImages()
    parts = [p for i in range(0, len(data), size) for p in pictures.feed(data[i : i + size])]
    assert parts == [part_of(JPEG), part_of(OTHER), part_of(JPEG)]


def test_a_doubled_boundary_as_one_camera_sends_it() -> None:
    data = b"--frame\r\n" + multipart(JPEG)
    assert list(MultipartImages().feed(data)) == [part_of(JPEG)]


@pytest.mark.parametrize("length", [b"99999999", b"-1", b"999999999999999999"])
def test_an_excessive_length(length: bytes) -> None:
    head = b"--frame\r\nContent-Length: " + length + b"\r\n\r\n"
    with pytest.raises(UnknownMediaError):
        fed(MultipartImages(), [head, *[bytes(2**20)] * (MAX_IMAGE // 2**20 + 2)])


def test_endless_headers_and_a_missing_boundary() -> None:
    for data in (
        b"--x\r\nA: " + b"b" * (2 * MAX_PART_HEAD),
        b"x" * (2 * MAX_PART_HEAD),
        b"\x00abc",
    ):
        with pytest.raises(UnknownMediaError):
            list(MultipartImages().feed(data))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_raw_images(size: int) -> None:
    data = b"noise" + JPEG + OTHER + JPEG[:20]
    raw = RawImages()
    parts = [p for i in range(0, len(data), size) for p in raw.feed(data[i : i + size])]
    assert parts == [part_of(JPEG), part_of(OTHER)]


def test_an_endless_raw_image() -> None:
    with pytest.raises(UnknownMediaError):
        fed(RawImages(), [b"\xff\xd8\xff" + bytes(2**20)] * (MAX_IMAGE // 2**20 + 2))


@given(st.binary(max_size=500), st.integers(1, 50))
def test_any_bytes_end_in_parts_or_an_error(data: bytes, size: int) -> None:
    for feeder in (MultipartImages(), RawImages()):
        try:
            for i in range(0, len(data), size):
                list(feeder.feed(data[i : i + size]))
        except UnknownMediaError:
            pass


def test_every_url_of_a_playlist_goes_through_the_relay() -> None:
    text = """#EXTM3U
#EXT-X-KEY:METHOD=AES-128,URI="http://169.254.169.254/key"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="b",URI=http://127.0.0.1:9997/v3
#EXT-X-MAP:URI=http://127.0.0.1/map
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="http://127.0.0.1/p"
#EXT-X-MAP:URI="init.mp4"
#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a",URI=http://127.0.0.1/
sub/stream
#EXTINF:2,
/abs/one.ts
#EXTINF:2,
gopher://cam/two
"""
    links: list[tuple[str, bool]] = []

    def link(address: str, playlist: bool) -> str | None:
        links.append((address, playlist))
        return f"R{len(links)}" if address.startswith("http") else None

    out = rewritten_playlist(text, "http://cam/live/index.m3u8?a=1", link).splitlines()
    assert links == [
        ("http://cam/live/init.mp4", False),
        ("http://cam/live/sub/stream", True),
        ("http://cam/abs/one.ts", False),
        ("gopher://cam/two", False),
    ]
    assert out == [
        "#EXTM3U",
        '#EXT-X-MAP:URI="R1"',
        "#EXT-X-STREAM-INF:BANDWIDTH=1",
        "R2",
        "#EXTINF:2,",
        "R3",
        "#EXTINF:2,",
    ]
