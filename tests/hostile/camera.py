"""A camera that keeps few promises: an RTSP server on loopback whose every habit can be bent.

It plays one clip in a loop, as a good camera would, except for what a test sets: what it challenges
with, how it answers, what its SDP says, which packets it sends, and what times they carry.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import re
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from cluster.demo.rtp import payloads
from cluster.media.h264 import NalType, iter_nal_units, nal_type, parameter_sets
from tests.loopback import LoopbackServer, read_rtsp_request
from tests.unit.cluster.media.clips import Clip

TICKS = 3600
"""Of the RTP clock of 90 kHz per frame, at 25 frames/s."""
NONCE = "6f0d3b8a2c"
_SETS = (NalType.SPS, NalType.PPS, NalType.AUD)
_HASHES = {"MD5": "md5", "SHA-256": "sha256"}


def digest(algorithm: str) -> str:
    """A challenge of that algorithm."""
    return f'Digest realm="Hostile", nonce="{NONCE}", algorithm={algorithm}, qop="auth"'


@dataclass
class HostileCamera(LoopbackServer):
    """One camera at `path`.

    Attributes:
        clip: Annex-B access units.
        encoding: the clip's name in SDP.
        username, password: demanded where a password is set.
        challenges: the values of `WWW-Authenticate`.
        open_to: methods that need no password.
        location: where every DESCRIBE is redirected to; empty: nowhere.
        status: answers of methods that are not 200.
        public: the methods that it says it knows.
        bend: changes the lines of the SDP.
        sets_in_sdp, sets_in_band: where parameter sets are.
        ticks: RTP timestamp of a frame.
        sends: whether a frame is sent at all.
        pace_s: between two frames.
        answers_keep_alive: methods that keep the session alive.
        session_s: without one of them for this long, the camera ends the session; 0: never.
        closes_after: frames after which the connection ends; 0: never.
        asked: requests by method, and the right and wrong passwords among them.
    """

    clip: Clip
    encoding: str = "H264"
    username: str = "admin"
    password: str = ""
    challenges: tuple[str, ...] = ()
    open_to: tuple[str, ...] = ()
    path: str = "/live"
    location: str = ""
    status: dict[str, str] = field(default_factory=dict)
    public: str = "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER"
    bend: Callable[[list[str]], list[str]] = lambda lines: lines
    sets_in_sdp: bool = True
    sets_in_band: bool = False
    ticks: Callable[[int], int] = lambda number: number * TICKS
    sends: Callable[[int], bool] = lambda number: True
    pace_s: float = 0.01
    answers_keep_alive: tuple[str, ...] = ("OPTIONS", "GET_PARAMETER")
    session_s: float = 0.0
    closes_after: int = 0
    asked: Counter[str] = field(default_factory=Counter)

    def url(self, userinfo: str = "", host: str = "127.0.0.1") -> str:
        return f"rtsp://{userinfo}{'@' if userinfo else ''}{host}:{self.port}{self.path}"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Session(self, reader, writer).run()

    # ------------------------------------------------------------ answers

    def answer(self, method: str, uri: str, headers: dict[str, str]) -> tuple[str, list[str], str]:
        """Status, headers and body of the response to one request."""
        self.asked[method] += 1
        if method == "OPTIONS":
            return "200 OK", [f"Public: {self.public}"], ""
        if not self._authorized(method, headers.get("authorization", "")):
            return "401 Unauthorized", [f"WWW-Authenticate: {c}" for c in self.challenges], ""
        if method in self.status:
            return self.status[method], [], ""
        if method == "DESCRIBE":
            if self.location:
                return "302 Moved Temporarily", [f"Location: {self.location}"], ""
            return "200 OK", ["Content-Type: application/sdp"], self.description()
        if method == "SETUP":
            return "200 OK", [f"Transport: {headers['transport']}", "Session: 1234;timeout=60"], ""
        return "200 OK", ["Session: 1234"], ""

    def _authorized(self, method: str, header: str) -> bool:
        if not self.password or method in self.open_to:
            return True
        if not header:
            return False
        good = self._signed(method, header)
        self.asked["right" if good else "wrong"] += 1
        return good

    def _signed(self, method: str, header: str) -> bool:
        if header.startswith("Basic"):
            token = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            return header == f"Basic {token}"
        given = dict(re.findall(r'(\w+)=(?:"([^"]*)"|[^\s,"]+)', header))
        plain = dict(re.findall(r"(\w+)=([^\s,\"]+)", header))
        name = _HASHES.get(plain.get("algorithm", "MD5"))
        if name is None:
            return False

        def hashed(text: str) -> str:
            return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()

        first = hashed(f"{self.username}:Hostile:{self.password}")
        second = hashed(f"{method}:{given.get('uri')}")
        middle = f"{plain.get('nc')}:{given.get('cnonce')}:auth:" if "qop" in plain else ""
        return given.get("response") == hashed(f"{first}:{NONCE}:{middle}{second}")

    def description(self) -> str:
        sets = list(iter_nal_units(parameter_sets(self.clip.extradata or self.clip.packets[0])))
        sprop = ",".join(base64.b64encode(nal).decode() for nal in sets)
        known = self.sets_in_sdp and self.encoding == "H264"
        lines = [
            "v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=cam", "c=IN IP4 0.0.0.0", "t=0 0",
            "m=video 0 RTP/AVP 96",
            f"a=rtpmap:96 {self.encoding}/90000",
            "a=fmtp:96 packetization-mode=1" + (f";sprop-parameter-sets={sprop}" if known else ""),
            "a=control:track1",
        ]  # fmt: skip
        return "\r\n".join([*self.bend(lines), ""])

    def nal_units(self, number: int) -> list[bytes]:
        """The NAL units of a frame of the endless loop, as they are sent."""
        units = list(iter_nal_units(self.clip.packets[number % len(self.clip.packets)]))
        if self.encoding != "H264":
            return units
        bare = [nal for nal in units if nal_type(nal) not in _SETS]
        if self.sets_in_band and any(nal_type(nal) == NalType.IDR for nal in bare):
            return [
                *iter_nal_units(parameter_sets(self.clip.extradata or self.clip.packets[0])),
                *bare,
            ]
        return bare


class _Session:
    """One connection of a client."""

    def __init__(
        self, camera: HostileCamera, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._camera, self._reader, self._writer = camera, reader, writer
        self._sequence = itertools.count()
        self._alive_s = 0.0

    async def run(self) -> None:
        player: asyncio.Task[None] | None = None
        try:
            while (request := await read_rtsp_request(self._reader)) is not None:
                method, uri, headers = request
                if method in self._camera.answers_keep_alive or method == "PLAY":
                    self._alive_s = asyncio.get_running_loop().time()
                status, extra, body = self._camera.answer(method, uri, headers)
                head = [f"RTSP/1.0 {status}", f"CSeq: {headers.get('cseq', '0')}", *extra]
                if body:
                    head.append(f"Content-Length: {len(body.encode())}")
                self._writer.write("\r\n".join([*head, "", body]).encode())
                await self._writer.drain()
                if method == "TEARDOWN":
                    return
                if method == "PLAY" and player is None and status.startswith("200"):
                    player = asyncio.create_task(self._play())
        finally:
            if player is not None:
                player.cancel()
                await asyncio.gather(player, return_exceptions=True)

    async def _play(self) -> None:
        camera, loop = self._camera, asyncio.get_running_loop()
        for number in itertools.count():
            if camera.closes_after and number >= camera.closes_after:
                break
            if camera.session_s and loop.time() - self._alive_s > camera.session_s:
                break
            if camera.sends(number):
                self._writer.write(self._frame(number))
                await self._writer.drain()
            await asyncio.sleep(camera.pace_s)
        self._writer.transport.abort()

    def _frame(self, number: int) -> bytes:
        camera = self._camera
        parts = [p for nal in camera.nal_units(number) for p in payloads(camera.encoding, nal)]
        out = bytearray()
        for at, part in enumerate(parts):
            marker = 0x80 if at == len(parts) - 1 else 0
            sequence = next(self._sequence) & 0xFFFF
            ticks = camera.ticks(number) & 0xFFFF_FFFF
            head = struct.pack("!BBHII", 0x80, 96 | marker, sequence, ticks, 0xCAFE)
            out += struct.pack("!cBH", b"$", 0, len(head) + len(part)) + head + part
        return bytes(out)
