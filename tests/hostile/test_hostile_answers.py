"""Cameras that answer badly: silence, passwords, ways of signing in, redirects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.relay.checkup import RtspClient
from cluster.relay.messages import ProtocolError
from cluster.relay.rtsp import Wire
from tests.hostile.camera import HostileCamera, digest
from tests.hostile.world import Relay, read, relaying
from tests.unit.cluster.media.clips import Clip

RIGHT, WRONG = "admin:p%40ss", "admin:wrong"


def guarded(clip: Clip, *challenges: str) -> HostileCamera:
    """A camera with a password."""
    return HostileCamera(clip, password="p@ss", challenges=challenges or (digest("MD5"),))


async def refused(relay: Relay, url: str) -> CameraProblem | None:
    """What the relay says after one try of the bridge."""
    with pytest.raises(UnreadableCameraError):
        await read(relay.url(url), 1)
    return await relay.why(url)


async def test_a_good_camera_plays(relay: Relay, clip: Clip) -> None:
    async with HostileCamera(clip).serving() as camera:
        assert len(await read(relay.url(camera.url()), 30)) == 30
        assert await relay.why(camera.url()) is None


async def test_a_camera_that_plays_and_sends_nothing_is_called_silent(
    relay: Relay, clip: Clip
) -> None:
    async with HostileCamera(clip, sends=lambda _: False).serving() as camera:
        assert await read(relay.url(camera.url()), 1) == []  # the relay ends the connection
        assert await relay.why(camera.url()) is CameraProblem.SILENT
        camera.sends = lambda _: True
        assert await read(relay.url(camera.url()), 1)
        assert await relay.why(camera.url()) is None


async def test_a_camera_that_falls_silent_keeps_its_connection_no_longer(
    relay: Relay, clip: Clip
) -> None:
    """Half-open: it still answers requests, and sends nothing."""
    async with HostileCamera(clip, sends=lambda number: number < 5).serving() as camera:
        with contextlib.suppress(UnreadableCameraError):  # it may end first, or the relay
            await read(relay.url(camera.url()), 6)
        await relay.until_why(camera.url(), CameraProblem.SILENT)


async def test_a_wrong_password_is_tried_after_minutes_and_a_new_one_at_once(
    relay: Relay, clip: Clip
) -> None:
    async with guarded(clip).serving() as camera:
        wrong = camera.url(WRONG)
        tries = [camera.asked["wrong"]]
        for wait_s in (0, 60, 59, 2, 200, 159, 2):
            relay.clock.advance(wait_s)
            for _ in range(3):
                assert await refused(relay, wrong) is CameraProblem.CREDENTIALS
            tries.append(camera.asked["wrong"])
        # At 0; not at 60 and 119; at 121 s; then not before six minutes have gone by.
        assert tries == [0, 1, 1, 1, 2, 2, 2, 3]
        assert len(await read(relay.url(camera.url(RIGHT)), 1)) == 1


@pytest.mark.parametrize("open_to", [("DESCRIBE",), ("DESCRIBE", "SETUP")])
async def test_a_camera_that_asks_late_for_its_password_is_tried_no_more_often(
    relay: Relay, clip: Clip, open_to: tuple[str, ...]
) -> None:
    """What it tells everybody is no success of the password."""
    camera = guarded(clip)
    camera.open_to = open_to
    async with camera.serving():
        wrong, tries = camera.url(WRONG), []
        for wait_s in (0, 121, 121, 241):
            relay.clock.advance(wait_s)
            assert await refused(relay, wrong) is CameraProblem.CREDENTIALS
            tries.append(camera.asked["wrong"])
        assert tries == [1, 2, 2, 3]
        relay.clock.advance(18 * 60 + 1)
        camera.password = "wrong"
        for _ in range(2):
            assert await read(relay.url(wrong), 1)


async def test_a_camera_cannot_have_passwords_guessed_at_another(relay: Relay, clip: Clip) -> None:
    async with guarded(clip).serving() as victim, HostileCamera(clip).serving() as camera:
        for guess in ("a", "b", "c"):
            camera.location = victim.url(f"admin:{guess}")
            assert await refused(relay, camera.url()) is CameraProblem.CREDENTIALS
        assert victim.asked["wrong"] == 1
        camera.location = victim.url("admin:d", host="localhost")
        assert await refused(relay, camera.url()) is CameraProblem.CREDENTIALS
        assert victim.asked["wrong"] == 1, "credentials for another host are left out"
        relay.clock.advance(121)
        camera.location = victim.url(RIGHT)
        assert await read(relay.url(camera.url()), 1)


async def test_a_track_whose_address_is_no_url(relay: Relay, clip: Clip) -> None:
    camera = HostileCamera(
        clip, bend=lambda lines: [line.replace("track1", "rtsp://[x/1") for line in lines]
    )
    async with camera.serving():
        with pytest.raises(ProtocolError, match="not a URL"):
            async with playing(relay, camera.url(), control="rtsp://[x/1"):
                pass
        # libav asks for it as it is, and this camera does not mind.
        assert await read(relay.url(camera.url()), 1)


async def test_both_streams_of_a_camera_count_as_one_account(relay: Relay, clip: Clip) -> None:
    async with guarded(clip).serving() as camera:
        assert await refused(relay, camera.url(WRONG)) is CameraProblem.CREDENTIALS
        sub = camera.url(WRONG).replace("/live", "/sub")
        assert await refused(relay, sub) is CameraProblem.CREDENTIALS
        assert camera.asked["wrong"] == 1


async def test_a_password_that_the_camera_learns_is_found_by_itself(
    relay: Relay, clip: Clip
) -> None:
    async with guarded(clip).serving() as camera:
        assert await refused(relay, camera.url(WRONG)) is CameraProblem.CREDENTIALS
        camera.password = "wrong"
        relay.clock.advance(121)
        for _ in range(2):
            assert await read(relay.url(camera.url(WRONG)), 1)
        assert await relay.why(camera.url(WRONG)) is None


@pytest.mark.parametrize(
    "challenges",
    [
        (digest("SHA-256"),),
        (digest("MD5"),),
        (digest("SHA-256"), digest("MD5"), 'Basic realm="Hostile"'),
        ('Digest realm="x", nonce="n", algorithm=SHA-512-256', 'Basic realm="Hostile"'),
    ],
)
async def test_ways_of_signing_in_that_work(
    relay: Relay, clip: Clip, challenges: tuple[str, ...]
) -> None:
    async with guarded(clip, *challenges).serving() as camera:
        assert await read(relay.url(camera.url(RIGHT)), 1)
        assert camera.asked["wrong"] == 0


@pytest.mark.parametrize(
    "challenge", ['Digest realm="x", nonce="n", algorithm=SHA-512-256', "NTLM", "Bearer"]
)
async def test_an_unknown_way_of_signing_in_is_not_the_passwords_fault(
    relay: Relay, clip: Clip, challenge: str
) -> None:
    async with guarded(clip, challenge).serving() as camera:
        for _ in range(2):
            assert await refused(relay, camera.url(RIGHT)) is CameraProblem.SIGN_IN
        assert camera.asked["wrong"] == 0
        camera.challenges = (digest("SHA-256"),)
        assert await read(relay.url(camera.url(RIGHT)), 1)


async def test_a_redirect_is_followed_where_the_policy_allows_it(relay: Relay, clip: Clip) -> None:
    async with HostileCamera(clip).serving() as goal, HostileCamera(clip).serving() as camera:
        camera.location = goal.url()
        assert await read(relay.url(camera.url()), 1)
        assert goal.asked["PLAY"] == 1
        camera.location = camera.url()  # round and round
        assert await refused(relay, camera.url()) is CameraProblem.UNSUPPORTED
        camera.location = "rtsp://127.0.0.2/elsewhere"
        assert await refused(relay, camera.url()) is CameraProblem.LED_AWAY


async def test_a_camera_over_ipv6(clip: Clip) -> None:
    async with relaying() as relay, HostileCamera(clip).serving("::1") as camera:
        assert await read(relay.url(camera.url(host="[::1]")), 3)


async def test_a_password_and_a_path_that_are_not_ascii(relay: Relay, clip: Clip) -> None:
    camera = HostileCamera(
        clip, "H264", "josé", "sënha ç", (digest("SHA-256"),), path="/c%C3%A2mera"
    )
    async with camera.serving():
        assert await read(relay.url(camera.url("josé:sënha ç").replace("%C3%A2", "â")), 1)
        assert camera.asked["wrong"] == 0


async def test_an_answer_ends_every_earlier_failure_but_silence(relay: Relay, clip: Clip) -> None:
    camera = HostileCamera(clip, status={"DESCRIBE": "404 Not Found"}, sends=lambda _: False)
    async with camera.serving():
        assert await refused(relay, camera.url()) is CameraProblem.NOT_FOUND
        camera.status = {}
        async with playing(relay, camera.url()):
            assert await relay.why(camera.url()) is None
            await relay.until_why(camera.url(), CameraProblem.SILENT)
        async with playing(relay, camera.url()):
            assert await relay.why(camera.url()) is CameraProblem.SILENT


@pytest.mark.parametrize(
    ("method", "status", "problem"),
    [
        ("DESCRIBE", "404 Not Found", CameraProblem.NOT_FOUND),
        ("DESCRIBE", "503 Service Unavailable", CameraProblem.NOT_FOUND),
        ("DESCRIBE", "403 Forbidden", CameraProblem.CREDENTIALS),
    ],
)
async def test_what_a_camera_refuses_is_said(
    relay: Relay, clip: Clip, method: str, status: str, problem: CameraProblem
) -> None:
    async with HostileCamera(clip, status={method: status}).serving() as camera:
        assert await refused(relay, camera.url()) is problem


@asynccontextmanager
async def playing(relay: Relay, url: str, control: str = "track1") -> AsyncIterator[RtspClient]:
    """A client that sends OPTIONS to keep its session alive, as go2rtc does."""
    relayed = relay.url(url).get_secret_value()
    parts = urlsplit(relayed)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    session = RtspClient(relayed, Wire(reader, writer))
    try:
        await session.describe()
        await session.play(control)
        yield session
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("kept_by", ["GET_PARAMETER", "OPTIONS"])
async def test_a_session_that_one_request_alone_keeps_alive(
    relay: Relay, clip: Clip, kept_by: str
) -> None:
    camera = HostileCamera(clip, session_s=2.0, answers_keep_alive=(kept_by,))
    if kept_by == "OPTIONS":
        camera.public = "OPTIONS, DESCRIBE, SETUP, PLAY"
    async with camera.serving(), playing(relay, camera.url()) as session:
        for _ in range(8):
            await session.ask("OPTIONS", session.url)
            await asyncio.sleep(0.5)
        assert camera.asked[kept_by] >= 8
        assert camera.connections == 1
        assert camera.connected == 1


async def test_a_camera_that_only_says_it_knows_get_parameter(relay: Relay, clip: Clip) -> None:
    refusing = {"GET_PARAMETER": "501 Not Implemented"}
    camera = HostileCamera(clip, status=refusing, session_s=2.0, answers_keep_alive=("OPTIONS",))
    async with camera.serving(), playing(relay, camera.url()) as session:
        with pytest.raises(ProtocolError, match="501"):
            await session.ask("OPTIONS", session.url)
        for _ in range(8):
            await session.ask("OPTIONS", session.url)
            await asyncio.sleep(0.5)
        assert camera.asked["GET_PARAMETER"] == 1
        assert camera.connected == 1
