"""The RTSP server's protocol, message by message."""

from __future__ import annotations

import asyncio
import hashlib
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from fractions import Fraction

import pytest

from cluster.demo.rtp import AccessUnit, Clip
from cluster.demo.rtsp import CameraServer, Channel

USER, PASSWORD = "viewer", "p@ss:w/rd#1?"
Until = Callable[[Callable[[], bool]], Awaitable[None]]
PARAMETERS = {"sps": b"\x67\x4d\x40\x1e", "pps": b"\x68\xee"}
TCP = {"Transport": "RTP/AVP/TCP;unicast;interleaved=4-5"}


def _clip(size: int) -> Clip:
    units = tuple(AccessUnit((bytes([0x65]) + bytes(size),), i % 5 == 0) for i in range(10))
    return Clip("H264", Fraction(25), 64, 48, units, PARAMETERS)


@pytest.fixture
async def server() -> AsyncIterator[CameraServer]:
    # 400 kB per frame is 80 Mbit/s: more than any socket buffer takes within a second.
    channels = (
        Channel("small", _clip(3_000), USER, PASSWORD),
        Channel("big", _clip(400_000), USER, PASSWORD),
    )
    server = CameraServer(channels)
    await server.start()
    yield server
    await server.aclose()


class Client:
    """A minimal RTSP client for single requests."""

    def __init__(self, server: CameraServer, camera: str = "small") -> None:
        self._server = server
        self.url = f"rtsp://127.0.0.1:{server.port}/{camera}"
        self._nonce = ""
        self._cseq = 0

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self._server.port, limit=16_384
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def ask(
        self, method: str, headers: dict[str, str] | None = None, *, url: str = ""
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of the response."""
        self._cseq += 1
        fields = {"CSeq": str(self._cseq), **(headers or {})}
        if self._nonce:
            fields["Authorization"] = self._digest(method, url or self.url)
        lines = [f"{method} {url or self.url} RTSP/1.0", *(f"{k}: {v}" for k, v in fields.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        answer = dict(line.split(": ", 1) for line in head[1:])
        body = await self.reader.readexactly(int(answer.get("Content-Length", 0)))
        assert answer["CSeq"] == str(self._cseq)
        return int(head[0].split(" ")[1]), answer, body.decode()

    async def sign_in(self) -> None:
        _, headers, _ = await self.ask("DESCRIBE")
        found = re.search('nonce="([0-9a-f]+)"', headers["WWW-Authenticate"])
        assert found
        self._nonce = found[1]

    def _digest(self, method: str, uri: str) -> str:
        who = _md5(f"{USER}:Atalaia demo camera:{PASSWORD}")
        response = _md5(f"{who}:{self._nonce}:{_md5(f'{method}:{uri}')}")
        return (
            f'Digest username="{USER}", realm="Atalaia demo camera", nonce="{self._nonce}", '
            f'uri="{uri}", response="{response}"'
        )

    async def packet(self) -> tuple[int, bytes]:
        """Channel and contents of the next interleaved packet."""
        sign, channel, length = struct.unpack(">cBH", await self.reader.readexactly(4))
        assert sign == b"$"
        return channel, await self.reader.readexactly(length)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


async def test_a_complete_session(server: CameraServer, until: Until) -> None:
    async with Client(server) as client:
        status, headers, _ = await client.ask("OPTIONS")
        assert status == 200
        assert "PLAY" in headers["Public"]
        assert (await client.ask("DESCRIBE"))[0] == 401
        await client.sign_in()
        status, headers, sdp = await client.ask("DESCRIBE")
        assert status == 200
        assert headers["Content-Type"] == "application/sdp"
        assert "a=rtpmap:96 H264/90000" in sdp
        status, headers, _ = await client.ask("SETUP", TCP, url=f"{client.url}/trackID=0")
        assert status == 200
        assert headers["Transport"].endswith("interleaved=4-5")
        status, headers, _ = await client.ask("PLAY")
        assert status == 200
        assert server.watched("small") == 1
        channel, packet = await client.packet()
        sequence, timestamp = struct.unpack(">HI", packet[2:8])
        assert channel == 4
        assert f"seq={sequence};rtptime={timestamp}" in headers["RTP-Info"]
    await until(lambda: not server.watched("small"))


async def test_keep_alive_and_receiver_reports_between_frames(server: CameraServer) -> None:
    async with Client(server) as client:
        await client.sign_in()
        client.writer.write(b"$\x05" + struct.pack(">H", 8) + bytes(8))
        status, headers, _ = await client.ask("GET_PARAMETER")
        assert (status, headers["Session"].isalnum()) == (200, True)
        assert (await client.ask("TEARDOWN"))[0] == 200
        assert await client.reader.read() == b""


async def test_invalid_requests_are_rejected(server: CameraServer) -> None:
    async with Client(server) as client:
        assert (await client.ask("DESCRIBE", url=client.url + "-not"))[0] == 404
        await client.sign_in()
        assert (await client.ask("PLAY"))[0] == 454
        assert (await client.ask("SETUP", {"Transport": "RTP/AVP;unicast"}))[0] == 461
        assert (await client.ask("RECORD"))[0] == 501


async def test_a_response_to_one_challenge_does_not_fit_another(server: CameraServer) -> None:
    async with Client(server) as first, Client(server) as second:
        await first.sign_in()
        await second.sign_in()
        second._nonce = first._nonce
        assert (await second.ask("DESCRIBE"))[0] == 401


async def test_a_client_that_does_not_read_is_disconnected(
    server: CameraServer, until: Until
) -> None:
    """The buffer of one client must not grow without limit."""
    async with Client(server, "big") as client:
        await client.sign_in()
        await client.ask("SETUP", TCP)
        await client.ask("PLAY")
        await until(lambda: not server.watched("big"))


async def test_closing_disconnects_all_clients(server: CameraServer) -> None:
    async with Client(server) as client:
        await client.ask("OPTIONS")
        await server.aclose()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await client.ask("OPTIONS")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.port)


def test_names_are_unique() -> None:
    channel = Channel("a", _clip(1), USER, PASSWORD)
    assert PASSWORD not in repr(channel)
    with pytest.raises(ValueError, match="same name"):
        CameraServer((channel, channel))
