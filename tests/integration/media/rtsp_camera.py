"""A camera for tests: a real RTSP server on loopback that plays one H.264 clip in a loop.

go2rtc does not ask loopback clients for a password, so it cannot play a camera that demands one.
This one does, counts who connects, and can misbehave as cameras do.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from cluster.media.h264 import iter_nal_units, nal_type, parameter_sets
from tests.loopback import LoopbackServer, read_rtsp_request
from tests.unit.cluster.media.clips import Clip

MTU = 1400
REALM = "IP Camera"
NONCE = "6f0d3b8a2c"
# 40 ms of a square wave of 400 Hz: A-law of a loud and of a quiet level, ten samples each.
TONE = (b"\x2a" * 10 + b"\xaa" * 10) * 16


class Mood(StrEnum):
    """How the camera treats those who connect."""

    WELL = "well"
    SILENT = "silent"  # accepts, never answers
    RUDE = "rude"  # closes at once
    AUDIO_ONLY = "audio-only"


@dataclass
class RtspCamera(LoopbackServer):
    """One camera at `/live`.

    Attributes:
        clip: Annex-B access units at 25 fps.
        username, password: demanded where a password is set.
        scheme: how they are demanded: Basic or Digest.
        in_band: SPS and PPS come in front of key frames and not in the SDP, and a session begins
            right behind a key frame.
        presentation: when each packet is shown, in frames of the clip, where that is not the order
            in which they are sent (B-frames).
        sound: whether PCMA comes beside the picture, a tone of 400 Hz.
        next_clip: of as many packets, goes on with it at the end of the present one.
        late: sends that many packets too late, and then at once, the next time that it is set.
        played: sessions that ever got to PLAY.
        playing: sessions that play now.
        wrong: requests with wrong credentials.
    """

    clip: Clip
    username: str = ""
    password: str = ""
    scheme: str = "Digest"
    mood: Mood = Mood.WELL
    path: str = "/live"
    in_band: bool = False
    presentation: list[int] | None = None
    sound: bool = False
    next_clip: Clip | None = None
    late: int = 0
    played: int = 0
    playing: int = 0
    wrong: int = 0

    def url(self, userinfo: str = "", host: str = "127.0.0.1") -> str:
        return f"rtsp://{userinfo}{'@' if userinfo else ''}{host}:{self.port}{self.path}"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mood is Mood.SILENT:
            await reader.read()
        elif self.mood is not Mood.RUDE:
            await self._answer_all(reader, writer)

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        player: asyncio.Task[None] | None = None
        try:
            while True:
                request = await read_rtsp_request(reader)
                if request is None:
                    return
                method, uri, headers = request
                status, extra, body = self._answer(method, uri, headers)
                head = [f"RTSP/1.0 {status}", f"CSeq: {headers.get('cseq', '0')}", *extra]
                if body:
                    head.append(f"Content-Length: {len(body)}")
                writer.write("\r\n".join([*head, "", body]).encode())
                await writer.drain()
                if method == "TEARDOWN":
                    return
                if method == "PLAY" and player is None and status.startswith("200"):
                    player = asyncio.create_task(self._play(writer))
        finally:
            if player:
                player.cancel()
                with suppress(asyncio.CancelledError, ConnectionError):
                    await player

    def _answer(self, method: str, uri: str, headers: dict[str, str]) -> tuple[str, list[str], str]:
        if method == "OPTIONS":
            return "200 OK", ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"], ""
        if not self._authorized(method, headers.get("authorization", "")):
            challenge = f'{self.scheme} realm="{REALM}"'
            challenge += f', nonce="{NONCE}"' if self.scheme == "Digest" else ""
            return "401 Unauthorized", [f"WWW-Authenticate: {challenge}"], ""
        if self.path not in uri:
            return "404 Not Found", [], ""
        if method == "DESCRIBE":
            return "200 OK", ["Content-Type: application/sdp"], self._description()
        if method == "SETUP":
            if "TCP" not in headers.get("transport", ""):
                return "461 Unsupported Transport", [], ""
            return "200 OK", [f"Transport: {headers['transport']}", "Session: 1234;timeout=60"], ""
        return "200 OK", ["Session: 1234"], ""

    def _authorized(self, method: str, header: str) -> bool:
        if not self.password:
            return True
        if not header:
            return False
        if self.scheme == "Basic":
            token = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            good = header == f"Basic {token}"
        else:
            given = dict(re.findall(r'(\w+)="([^"]*)"', header))
            # The user name may hold a quote: it is checked through the response only.
            first = _md5(f"{self.username}:{REALM}:{self.password}")
            second = _md5(f"{method}:{given.get('uri')}")
            good = given.get("response") == _md5(f"{first}:{NONCE}:{second}")
        self.wrong += not good
        return good

    def _description(self) -> str:
        sets = list(iter_nal_units(parameter_sets(self.clip.packets[0])))
        sprop = ",".join(base64.b64encode(nal).decode() for nal in sets)
        audio = ["m=audio 0 RTP/AVP 8", "a=rtpmap:8 PCMA/8000", "a=control:track2"]
        video = [
            "m=video 0 RTP/AVP 96",
            "a=rtpmap:96 H264/90000",
            "a=fmtp:96 packetization-mode=1"
            + ("" if self.in_band else f";sprop-parameter-sets={sprop}"),
            "a=control:track1",
        ]
        head = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=cam", "c=IN IP4 0.0.0.0", "t=0 0"]
        lines = head + ([] if self.mood is Mood.AUDIO_ONLY else video) + audio
        return "\r\n".join([*lines, ""])

    def _packet(self, number: int) -> tuple[bytes, int]:
        """Packet `number` of the endless loop, and its frame number in presentation order."""
        loop, index = divmod(number, len(self.clip.packets))
        if index == 0 and self.next_clip is not None:
            self.clip, self.next_clip = self.next_clip, None
        shown = self.presentation[index] if self.presentation else index
        return self.clip.packets[index], loop * len(self.clip.packets) + shown

    async def _play(self, writer: asyncio.StreamWriter) -> None:
        self.played += 1
        self.playing += 1
        sequence = itertools.count()
        behind = 0
        try:
            for n in itertools.count(int(self.in_band)):
                au, shown = self._packet(n)
                for payload, last in _payloads(au, self.in_band):
                    packet = struct.pack(
                        "!BBHII", 0x80, 96 | (0x80 if last else 0), next(sequence) & 0xFFFF,
                        (shown * 3600) & 0xFFFFFFFF, 0xCAFE,
                    ) + payload  # fmt: skip
                    writer.write(struct.pack("!cBH", b"$", 0, len(packet)) + packet)
                if self.sound:
                    for part in (2 * shown, 2 * shown + 1):
                        head = (0x80, 8, part & 0xFFFF, part * 160 & 0xFFFFFFFF, 0xBEEF)
                        packet = struct.pack("!BBHII", *head) + TONE[part % 2 * 160 :][:160]
                        writer.write(struct.pack("!cBH", b"$", 2, len(packet)) + packet)
                await writer.drain()
                if behind:
                    behind -= 1
                elif self.late:
                    behind, self.late = self.late, 0
                    await asyncio.sleep((behind + 1) / 25)
                else:
                    await asyncio.sleep(1 / 25)
        finally:
            self.playing -= 1


def _payloads(au: bytes, in_band: bool) -> list[tuple[bytes, bool]]:
    """RTP payloads of one access unit (RFC 6184, single NAL and FU-A)."""
    left_out = (9,) if in_band else (7, 8, 9)
    nals = [nal for nal in iter_nal_units(au) if nal_type(nal) not in left_out]
    out: list[bytes] = []
    for nal in nals:
        if len(nal) <= MTU:
            out.append(nal)
            continue
        pieces = [nal[i : i + MTU] for i in range(1, len(nal), MTU)]
        for i, piece in enumerate(pieces):
            flags = (0x80 if i == 0 else 0) | (0x40 if i == len(pieces) - 1 else 0)
            out.append(bytes([nal[0] & 0x60 | 28, flags | nal[0] & 0x1F]) + piece)
    return [(payload, i == len(out) - 1) for i, payload in enumerate(out)]


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
