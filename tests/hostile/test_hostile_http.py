"""Cameras that speak HTTP, and badly: boundaries, passwords, ways of signing in."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import dataclass

import av
import httpx
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from cluster.media.errors import CameraProblem
from cluster.relay.http import PLAYLIST_TYPE
from tests.hostile.world import Relay
from tests.loopback import LoopbackServer

RIGHT = "Basic " + base64.b64encode(b"admin:p@ss").decode()


@dataclass
class HttpCamera(LoopbackServer):
    """Answers each GET with the images of `body`, for ever, once `allowed`.

    Attributes:
        challenge: of its 401; empty: no password is needed.
        wrong: requests with a wrong one.
    """

    head: str
    part: bytes
    challenge: str = ""
    wrong: int = 0

    def url(self, userinfo: str = "") -> str:
        return f"http://{userinfo}{'@' if userinfo else ''}127.0.0.1:{self.port}/video"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if self.challenge and RIGHT not in request:
            self.wrong += "authorization:" in request.lower()
            head = f"HTTP/1.1 401 No\r\nWWW-Authenticate: {self.challenge}\r\n"
            writer.write(f"{head}Content-Length: 0\r\n\r\n".encode())
            return
        writer.write(f"HTTP/1.1 200 OK\r\n{self.head}\r\n\r\n".encode())
        while True:
            writer.write(self.part)
            await writer.drain()
            await asyncio.sleep(0.02)


def jpeg() -> bytes:
    target = io.BytesIO()
    picture = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(picture).save(target, "JPEG")
    return target.getvalue()


IMAGE = jpeg()
MIXED = "Content-Type: multipart/x-mixed-replace; boundary="
LENGTH = b"Content-Length: %d\r\n" % len(IMAGE)


def _frames(url: SecretStr, count: int) -> int:
    with av.open(url.get_secret_value(), format="mpjpeg", timeout=(20, 10)) as container:
        frames = container.decode(video=0)
        return sum(next(frames).width == 64 for _ in range(count))


@pytest.mark.parametrize(
    ("head", "part"),
    [
        pytest.param(
            MIXED + "b", b"--b\r\nContent-Type: image/jpeg\r\n%b\r\n%b\r\n" % (LENGTH, IMAGE),
            id="as it should be",
        ),
        pytest.param(
            MIXED + "--b", b"--b\r\nContent-Type: image/jpeg\r\n\r\n%b\r\n" % IMAGE,
            id="dashes in the boundary, no length",
        ),
        pytest.param(
            MIXED + '"other"', b"--b\nContent-Type: image/jpeg\n\n%b\n\r\n" % IMAGE,
            id="another boundary than announced, bare line feeds",
        ),
        pytest.param(
            MIXED + "b", b"--b\r\n--b\r\nContent-type:image/jpeg\r\n%b\r\n%b" % (LENGTH, IMAGE),
            id="every boundary twice, none after the image",
        ),
        pytest.param("Content-Type: video/x-motion-jpeg", IMAGE, id="no boundary at all"),
    ],
)  # fmt: skip
async def test_images_with_odd_boundaries_play(relay: Relay, head: str, part: bytes) -> None:
    async with HttpCamera(head, part).serving() as camera:
        assert await asyncio.to_thread(_frames, relay.url(camera.url()), 5) == 5
        assert await relay.why(camera.url()) is None


async def _refused(relay: Relay, url: str) -> CameraProblem | None:
    with pytest.raises(av.error.FFmpegError):
        await asyncio.to_thread(_frames, relay.url(url), 1)
    return await relay.why(url)


async def test_a_wrong_password_over_http_waits_minutes_too(relay: Relay) -> None:
    head, part = MIXED + "b", b"--b\r\n%b\r\n%b\r\n" % (LENGTH, IMAGE)
    async with HttpCamera(head, part, 'Basic realm="x"').serving() as camera:
        for _ in range(3):
            problem = await _refused(relay, camera.url("admin:no"))
            assert problem is CameraProblem.CREDENTIALS
        assert camera.wrong == 1
        relay.clock.advance(121)
        await _refused(relay, camera.url("admin:no"))
        assert camera.wrong == 2
        assert await asyncio.to_thread(_frames, relay.url(camera.url("admin:p%40ss")), 2) == 2
        camera.challenge = "Negotiate"
        assert await _refused(relay, camera.url("admin:else")) is CameraProblem.SIGN_IN


class Chatterbox(HttpCamera):
    """Says `100 Continue` for ever."""

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000)
            await writer.drain()


async def test_a_camera_that_never_comes_to_its_answer_is_left(relay: Relay) -> None:
    async with Chatterbox("", b"").serving() as camera:
        assert await _refused(relay, camera.url()) is CameraProblem.UNSUPPORTED


@dataclass
class PlaylistCamera(LoopbackServer):
    """Gives its playlist to everybody, and its segments to those who sign in."""

    wrong: int = 0

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        if ".m3u8" in request:
            body = b"#EXTM3U\n#EXTINF:2,\nseg.ts\n"
            head = f"200 OK\r\nContent-Type: {PLAYLIST_TYPE}\r\nContent-Length: {len(body)}"
        else:
            self.wrong += "authorization:" in request.lower()
            head, body = '401 No\r\nWWW-Authenticate: Basic realm="x"\r\nContent-Length: 0', b""
        writer.write(f"HTTP/1.1 {head}\r\n\r\n".encode() + body)


async def test_a_playlist_for_everybody_is_no_success_of_the_password(relay: Relay) -> None:
    tries = []
    async with (
        PlaylistCamera().serving() as camera,
        httpx.AsyncClient(trust_env=False, timeout=60) as client,
    ):
        url = relay.url(f"http://admin:wrong@127.0.0.1:{camera.port}/live.m3u8")
        for wait_s in (0, 121, 121, 241):
            relay.clock.advance(wait_s)
            playlist = await client.get(url.get_secret_value())
            for segment in [line for line in playlist.text.splitlines() if "://" in line]:
                assert (await client.get(segment)).status_code == 401
            tries.append(camera.wrong)
    assert tries == [1, 2, 2, 3]
