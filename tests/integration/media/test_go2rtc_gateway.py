"""The go2rtc client against a real go2rtc and cameras that speak RTSP."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from pathlib import Path
from urllib.parse import quote

import av
import pytest
from pydantic import SecretStr

from cluster.core.settings import GatewaySettings, LiveKitSettings, Settings
from cluster.media.control import GatewayControl
from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.gateway import MediaGateway
from cluster.media.gateway_choice import make_gateway
from cluster.media.go2rtc import Go2RtcGateway
from cluster.media.sealing import GatewayKeys
from pipelines.clock import ManualClock
from pipelines.errors import InputError, NotFoundError, UnavailableError
from tests.integration.media.conftest import SECRET, Go2Rtc
from tests.integration.media.http_camera import home_page, http_camera
from tests.integration.media.rtsp_camera import Mood, RtspCamera
from tests.ports import free_port
from tests.unit.cluster.media.clips import Clip, encode

NAME = "acme.front"


def frames_of(url: SecretStr, count: int) -> int:
    """How many of `count` frames could be demuxed and decoded."""
    decoded = 0
    # Else libav spends up to five seconds on the frame rate before it gives the first packet.
    options = {"rtsp_transport": "tcp", "analyzeduration": "100000"}
    with av.open(url.get_secret_value(), options=options, timeout=(10, 5)) as container:
        for _ in container.decode(video=0):
            decoded += 1
            if decoded >= count:
                break
    return decoded


async def until(condition: object, timeout_s: float = 8.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "condition did not come true"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
@pytest.mark.parametrize("encoded", [False, True], ids=["raw", "encoded"])
async def test_any_password_arrives(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, clip: Clip, scheme: str, encoded: bool
) -> None:
    camera = RtspCamera(clip, username="admin", scheme=scheme)
    api = go2rtc.client()
    async with camera.serving(), api:
        for char in r"""@#%?{}:/ &=+;,'"\`$!^|<>[]()~*ä日🔑""":
            camera.password = f"{char}a{char}b{char}1{char}"
            written = quote(camera.password, safe="") if encoded else camera.password
            await gateway.ensure(NAME, SecretStr(camera.url(f"admin:{written}")))
            # The gateway connects, logs in, and is given the stream.
            seen = await api.get("/api/streams", params={"src": go2rtc.sealed(NAME), "video": ""})
            assert (seen.status_code, camera.wrong) == (200, 0), (char, seen.text)
            # Its goodbye is signed with the password of now.
            await until(lambda: camera.connected == 0)


@pytest.mark.parametrize(
    ("user", "password", "encoded"),
    [
        ("admin", "p@ss/w#rd?x=1&y:z %", False),
        ("admin", "${HOME}{input}\"';`\\|", False),
        ("admin", "12/34@5#6", False),
        ("admin", "%41%2540 %", True),
        ("o'br:en@corp /x", "pä日本🔑", True),
    ],
)
async def test_with_any_password_frames_come(
    gateway: Go2RtcGateway, clip: Clip, user: str, password: str, encoded: bool
) -> None:
    async with RtspCamera(clip, user, password).serving() as camera:
        text = (
            f"{quote(user, safe='')}:{quote(password, safe='')}"
            if encoded
            else f"{user}:{password}"
        )
        await gateway.ensure(NAME, SecretStr(camera.url(text)))
        assert await asyncio.to_thread(frames_of, gateway.rtsp_url(NAME), 3) == 3
        assert camera.wrong == 0


async def test_ensure_changes_only_what_differs(gateway: Go2RtcGateway, go2rtc: Go2Rtc) -> None:
    url = SecretStr("rtsp://admin:p@ss/w@10.255.0.1:554/s?x=1")
    assert await gateway.ensure(NAME, url)
    assert not await gateway.ensure(NAME, url)
    # A second client, as after a restart of ours, sees the same.
    other = make_gateway(go2rtc.settings)
    assert not await other.ensure(NAME, url)
    assert await other.ensure(NAME, SecretStr("rtsp://admin:other@10.255.0.1:554/s?x=1"))
    assert await gateway.ensure(NAME, url)
    await other.aclose()
    # So it is while the camera plays, though go2rtc then shows the URL in another form.
    producers = (await go2rtc.streams())[go2rtc.sealed(NAME)]["producers"]
    assert producers
    assert len(producers) == 1


async def test_ensure_leaves_a_playing_stream_alone(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, clip: Clip
) -> None:
    async with RtspCamera(clip, "admin", "p@ss/w").serving() as camera:
        url = SecretStr(camera.url("admin:p@ss/w"))
        await gateway.ensure(NAME, url)
        watching = asyncio.create_task(asyncio.to_thread(frames_of, gateway.rtsp_url(NAME), 40))
        await until(lambda: camera.playing)
        other = Go2RtcGateway(go2rtc.settings)
        assert not await other.ensure(NAME, url)
        await other.aclose()
        assert await watching == 40
        assert camera.played == 1


async def test_names_are_ours_only(gateway: Go2RtcGateway, go2rtc: Go2Rtc) -> None:
    url = SecretStr("rtsp://10.255.0.1/s")
    ours = {"acme.front", "acme.front.sub", "globex.1", "1.2", "0.e1", "null.true", "a.b-c"}
    for name in sorted(ours):
        await gateway.ensure(name, url)
    async with go2rtc.client() as client:
        for foreign in ("demo-street", "Acme.front", "a.b.c", "front"):
            await client.put("/api/streams", params={"name": foreign, "src": "rtsp://10.255.0.1/x"})
    assert await gateway.names() == ours
    # What was set comes back after a restart: the controller removes what is no longer wanted.
    await go2rtc.stop()
    await go2rtc.start()
    assert await gateway.names() == ours
    assert not await gateway.ensure("1.2", url)
    for name in sorted(ours):
        await gateway.remove(name)
    await gateway.remove("acme.never-there")
    assert await gateway.names() == set()
    assert "demo-street" in await go2rtc.streams()
    await go2rtc.stop()
    await go2rtc.start()
    assert await gateway.names() == set()


@pytest.mark.parametrize(
    "name", ["front", "acme/front", "acme.front.main", "", "Acme.front", "a.b\n"]
)
async def test_other_names_are_refused(gateway: Go2RtcGateway, name: str) -> None:
    with pytest.raises(InputError):
        await gateway.ensure(name, SecretStr("rtsp://10.255.0.1/s"))
    with pytest.raises(InputError):
        await gateway.remove(name)


@pytest.mark.parametrize(
    "source", ["exec:touch {marker}", "echo:touch {marker}", "ffmpeg:{marker}", "file://{marker}"]
)
async def test_nothing_is_executed(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, tmp_path: Path, source: str
) -> None:
    marker = tmp_path / "executed"
    url = SecretStr(source.format(marker=marker))
    with pytest.raises(InputError):
        await gateway.ensure(NAME, url)
    with pytest.raises(InputError):
        await gateway.probe(url)
    assert await go2rtc.streams() == {}
    assert not marker.exists()


async def test_the_gateways_environment_is_not_expanded(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc
) -> None:
    go2rtc.environment = {"LEAK_ME": "t0psecret"}
    await gateway.ensure(NAME, SecretStr("rtsp://u:${LEAK_ME}@10.255.0.1/${LEAK_ME}?x=${LEAK_ME}"))
    await go2rtc.stop()
    await go2rtc.start()
    assert "t0psecret" not in str(await go2rtc.streams())
    assert await gateway.names() == {NAME}


async def test_one_pull_however_many_watch(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, clip: Clip
) -> None:
    async with RtspCamera(clip).serving() as camera:
        await gateway.ensure(NAME, SecretStr(camera.url()))
        url = gateway.rtsp_url(NAME)
        watchers = [asyncio.to_thread(frames_of, url, 30) for _ in range(3)]
        assert await asyncio.gather(*watchers) == [30, 30, 30]
        assert (camera.connections, camera.played) == (1, 1)
        await until(lambda: camera.playing == 0)


async def test_a_replaced_stream_shows_the_new_camera_after_reconnecting(
    gateway: Go2RtcGateway, clip: Clip
) -> None:
    small = encode({"profile": "baseline"}, frames=25, gop=25, size=(160, 96))
    async with RtspCamera(clip).serving() as old, RtspCamera(small).serving() as new:
        await gateway.ensure(NAME, SecretStr(old.url()))
        assert (await gateway.probe(NAME)).width == 320
        assert await gateway.ensure(NAME, SecretStr(new.url()))
        assert (await gateway.probe(NAME)).width == 160
        await until(lambda: old.playing == 0 and new.playing == 0)


async def test_fifty_cycles_leave_nothing_behind(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, clip: Clip
) -> None:
    api = go2rtc.client()
    async with RtspCamera(clip, "admin", "pw").serving() as camera, api:
        for n in range(50):
            await gateway.ensure(NAME, SecretStr(camera.url("admin:pw") + f"?n={n}"))
            if n % 5 == 0:
                await asyncio.to_thread(frames_of, gateway.rtsp_url(NAME), 1)
            else:  # a consumer that comes and goes at once
                await api.get("/api/streams", params={"src": go2rtc.sealed(NAME), "video": ""})
            if n % 2:
                await gateway.remove(NAME)
        await until(lambda: camera.connected == 0)
        assert camera.connections == 50
        assert await go2rtc.streams() == {}
        assert "admin" not in go2rtc.config.read_text()


async def test_a_stream_removed_while_watched_ends_with_its_watcher(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, clip: Clip
) -> None:
    async with RtspCamera(clip).serving() as camera:
        await gateway.ensure(NAME, SecretStr(camera.url()))
        watching = asyncio.create_task(asyncio.to_thread(frames_of, gateway.rtsp_url(NAME), 60))
        await until(lambda: camera.playing)
        await gateway.remove(NAME)
        assert await go2rtc.streams() == {}
        assert await watching == 60
        await until(lambda: camera.playing == 0)


async def test_a_camera_that_drops_is_pulled_again(gateway: Go2RtcGateway, clip: Clip) -> None:
    async with RtspCamera(clip).serving() as camera:
        await gateway.ensure(NAME, SecretStr(camera.url()))
        watching = asyncio.create_task(asyncio.to_thread(frames_of, gateway.rtsp_url(NAME), 80))
        for n in range(3):
            await until(lambda wanted=n + 1: camera.played == wanted and camera.playing)
            await asyncio.sleep(0.3)
            await camera.drop_all()
        assert await watching == 80
        await until(lambda: camera.playing == 0)
        assert camera.played == 4


# ---------------------------------------------------------------- probing


async def test_probe_reports_what_the_camera_sends(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, clip: Clip
) -> None:
    async with RtspCamera(clip, "admin", "p#1").serving() as camera:
        result = await gateway.probe(SecretStr(camera.url("admin:p#1")))
        assert (result.codec, result.profile) == ("h264", "High")
        assert (result.width, result.height) == (320, 192)
        assert result.fps == pytest.approx(25, rel=0.15)
        assert not result.has_b_frames
        assert result.transcode_reason == ""
        assert result.audio == ("PCMA",)
        assert camera.played == 1
    assert await go2rtc.streams() == {}
    assert "probe_" not in go2rtc.config.read_text().replace(str(go2rtc.folder), "")


async def test_probe_finds_b_frames(gateway: Go2RtcGateway) -> None:
    bent = encode({"profile": "main"}, frames=50, gop=25, b_frames=2, size=(320, 192))
    async with RtspCamera(bent).serving() as camera:
        result = await gateway.probe(SecretStr(camera.url()))
    assert result.has_b_frames
    assert "B-frames" in result.transcode_reason


async def test_probe_waits_for_a_camera_that_announces_its_size_late(
    gateway: Go2RtcGateway,
) -> None:
    rare = encode({"profile": "main"}, frames=75, gop=75, size=(320, 192))
    async with RtspCamera(rare, in_band=True).serving() as camera:
        result = await gateway.probe(SecretStr(camera.url()))
    assert (result.width, result.height, result.transcode_reason) == (320, 192, "")


async def reason_of(gateway: MediaGateway, url: str) -> CameraProblem:
    with pytest.raises(UnreadableCameraError) as caught:
        await gateway.probe(SecretStr(url))
    assert "hunter2" not in f"{caught.value!s}{caught.value.detail}"
    return caught.value.problem


async def test_probe_says_why_a_camera_cannot_be_read(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, clip: Clip
) -> None:
    async with RtspCamera(clip, "admin", "right").serving() as camera:
        assert await reason_of(gateway, camera.url("admin:hunter2")) is CameraProblem.CREDENTIALS
        assert await reason_of(gateway, camera.url()) is CameraProblem.CREDENTIALS
        camera.password = ""
        wrong = camera.url().replace("/live", "/nothing")
        assert await reason_of(gateway, wrong) is CameraProblem.NOT_FOUND
        camera.mood = Mood.RUDE
        assert await reason_of(gateway, camera.url()) is CameraProblem.LOST
        camera.mood = Mood.AUDIO_ONLY
        assert await reason_of(gateway, camera.url()) is CameraProblem.UNSUPPORTED
        camera.mood = Mood.SILENT
        assert await reason_of(gateway, camera.url()) is CameraProblem.TIMEOUT
    nobody = f"rtsp://admin:hunter2@127.0.0.1:{free_port()}/live"
    assert await reason_of(gateway, nobody) is CameraProblem.REFUSED
    assert await reason_of(gateway, "rtsp://a:hunter2@no-such-host.invalid/x") is CameraProblem.DNS
    async with http_camera(home_page) as page:
        assert await reason_of(gateway, f"{page.url}/nothing-here") is CameraProblem.NOT_FOUND
        assert await reason_of(gateway, f"{page.url}/") is CameraProblem.UNSUPPORTED
        assert await reason_of(gateway, page.url.replace("http", "https")) is CameraProblem.TLS
    assert await go2rtc.streams() == {}


async def test_probe_of_a_name(gateway: Go2RtcGateway, clip: Clip) -> None:
    with pytest.raises(NotFoundError):
        await gateway.probe("acme.nothing")
    async with RtspCamera(clip).serving() as camera:
        await gateway.ensure(NAME, SecretStr(camera.url()))
        assert (await gateway.probe(NAME)).width == 320
    assert await gateway.names() == {NAME}


async def test_probing_a_playing_camera_does_not_disturb_it(
    gateway: Go2RtcGateway, clip: Clip
) -> None:
    async with RtspCamera(clip).serving() as camera:
        await gateway.ensure(NAME, SecretStr(camera.url()))
        watching = asyncio.create_task(asyncio.to_thread(frames_of, gateway.rtsp_url(NAME), 75))
        await until(lambda: camera.playing)
        assert (await gateway.probe(NAME)).audio == ("PCMA",)
        assert await watching == 75
        assert camera.connections == 1


async def test_a_cancelled_probe_leaves_nothing(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, clip: Clip
) -> None:
    async with RtspCamera(clip, mood=Mood.SILENT).serving() as camera:
        probing = asyncio.create_task(gateway.probe(SecretStr(camera.url())))
        await asyncio.sleep(0.5)
        assert len(await go2rtc.streams()) == 1
        probing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probing
        assert await go2rtc.streams() == {}


async def test_probes_of_a_dead_process_are_swept(go2rtc: Go2Rtc) -> None:
    clock = ManualClock()
    gateway = Go2RtcGateway(go2rtc.settings, clock)
    started = clock.now_us() // 1_000_000
    async with go2rtc.client() as client:
        params = {"name": f"probe_{started}_abcd", "src": "rtsp://10.255.0.1/x"}
        await client.put("/api/streams", params=params)
    assert await gateway.names() == set()
    assert len(await go2rtc.streams()) == 1
    clock.advance(121)
    assert await gateway.names() == set()
    assert await go2rtc.streams() == {}
    await gateway.aclose()


# ---------------------------------------------------------------- the gateway itself in trouble


async def test_an_unreachable_gateway(go2rtc: Go2Rtc) -> None:
    gateway = Go2RtcGateway(go2rtc.settings)
    await go2rtc.stop()
    started = time.monotonic()
    for call in (
        gateway.names(),
        gateway.ensure(NAME, SecretStr("rtsp://10.255.0.1/s")),
        gateway.remove(NAME),
        gateway.probe(SecretStr("rtsp://10.255.0.1/s")),
    ):
        with pytest.raises(UnavailableError, match="does not answer"):
            await call
    assert time.monotonic() - started < 10
    await gateway.aclose()
    await gateway.aclose()


async def test_a_gateway_that_comes_back_within_the_retries(go2rtc: Go2Rtc) -> None:
    gateway = Go2RtcGateway(go2rtc.settings)
    await gateway.ensure(NAME, SecretStr("rtsp://10.255.0.1/s"))
    await go2rtc.stop()
    asking = asyncio.create_task(gateway.names())
    await go2rtc.start()
    assert await asking == {NAME}
    await gateway.aclose()


async def test_a_gateway_that_hangs() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        livekit = LiveKitSettings(api_secret=SecretStr(SECRET))
        settings = Settings(livekit=livekit, gateway=GatewaySettings(api_url=url))
        control = GatewayControl(settings, GatewayKeys.of(settings))
        with pytest.raises(UnavailableError):
            await control.request("GET", "/api/streams", read_timeout_s=0.1)
        await control.aclose()


async def test_a_configuration_that_cannot_be_written_is_survived(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc
) -> None:
    # go2rtc answers 400 then, though the stream is there.
    go2rtc.config.write_text("- not\n- a mapping\n")
    assert await gateway.ensure(NAME, SecretStr("rtsp://10.255.0.1/s"))
    assert await gateway.names() == {NAME}
    await gateway.remove(NAME)
    assert await gateway.names() == set()


async def test_no_password_reaches_our_logs(
    gateway: Go2RtcGateway, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    url = SecretStr("rtsp://admin:hunter2@127.0.0.1:1/s?password=hunter2")
    await gateway.ensure(NAME, url)
    with pytest.raises(UnreadableCameraError):
        await gateway.probe(url)
    captured = capsys.readouterr()
    assert "hunter2" not in caplog.text + captured.out + captured.err
    assert "/api/streams" in caplog.text
