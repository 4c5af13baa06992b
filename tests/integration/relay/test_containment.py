"""A camera's address does not open the machine: attacks with a tenant's means, on real servers.

Each attack was seen to work, or was found by reading the gateways, before there was a relay.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import pytest
import pytest_asyncio
from pydantic import SecretStr

from cluster.core.addresses import AddressPolicy
from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.go2rtc import Go2RtcGateway
from cluster.media.resolution import CameraAddresses, own_services
from cluster.relay.server import RelayConfig, RelayServer
from tests.integration.media.conftest import Go2Rtc, running
from tests.integration.media.http_camera import Answer, http_camera
from tests.integration.media.rtsp_camera import RtspCamera
from tests.integration.relay.traps import FORBIDDEN, rtsp_answer, scripted_rtsp, trap
from tests.integration.relay.world import frames_of
from tests.ports import free_port
from tests.unit.cluster.media.clips import Clip

YARD = "globex.yard"
SPY = "acme.spy"


@pytest_asyncio.fixture
async def go2rtc(tmp_path: Path) -> AsyncIterator[Go2Rtc]:
    async with running(tmp_path, deny=(FORBIDDEN,)) as server:
        yield server


async def refusal(gateway: Go2RtcGateway, url: str) -> UnreadableCameraError:
    """The reason why a tenant's camera with that URL cannot be read."""
    await gateway.ensure(SPY, SecretStr(url))
    with pytest.raises(UnreadableCameraError) as caught:
        await gateway.probe(SPY)
    return caught.value


# ---------------------------------------------------------------- the gateway, by address


async def test_another_tenants_camera_cannot_be_pulled_through_the_gateways_own_port(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, clip: Clip
) -> None:
    async with RtspCamera(clip).serving() as yard:
        await gateway.ensure(YARD, SecretStr(yard.url()))
        assert await asyncio.to_thread(frames_of, gateway.rtsp_url(YARD), 1) == 1
        sealed = go2rtc.sealed(YARD)  # as if it had leaked
        for host in (
            "127.0.0.1", "localhost", "LOCALHOST.", "127.1", "0x7f.1", "2130706433", "017700000001",
            "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]",
            "1%2e2@127.0.0.1", "cam@127.0.0.1", "\uff11\uff12\uff17.0.0.1", "x.localhost",
        ):  # fmt: skip
            for path in (YARD, sealed):
                url = f"rtsp://{host}:{go2rtc.rtsp_port}/{path}"
                assert (await refusal(gateway, url)).problem is CameraProblem.NOT_ALLOWED, url
        assert yard.connections == 1


async def test_names_on_the_gateway_cannot_be_guessed(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, clip: Clip
) -> None:
    """A client on this machine: there go2rtc's RTSP port requires no password."""
    async with RtspCamera(clip).serving() as yard:
        await gateway.ensure(YARD, SecretStr(yard.url()))
        for path in (YARD, quote(YARD, safe=""), f"{YARD}.sub", "", "*"):
            assert await asyncio.to_thread(_ask_rtsp, go2rtc.rtsp_port, "DESCRIBE", path) != 200
            # go2rtc says yes to every push, and drops what it has no stream for.
            await asyncio.to_thread(_ask_rtsp, go2rtc.rtsp_port, "ANNOUNCE", path)
            assert (await go2rtc.streams()).keys() == {go2rtc.sealed(YARD)}
            (producer,) = (await go2rtc.streams())[go2rtc.sealed(YARD)]["producers"] or []
            assert str(producer["url"]).startswith(f"rtsp://127.0.0.1:{go2rtc.relay_port}/")
        assert yard.connections == 0
        assert (
            await asyncio.to_thread(_ask_rtsp, go2rtc.rtsp_port, "DESCRIBE", go2rtc.sealed(YARD))
            == 200
        )


def _ask_rtsp(port: int, method: str, path: str, *, play: bool = False) -> int:
    """The gateway's answer to one request; 0 where it gives none in time.

    Args:
        play: go on and play the first track, for a moment.
    """
    url = f"rtsp://127.0.0.1:{port}/{path}"
    sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    sdp += "a=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n"
    body = sdp if method == "ANNOUNCE" else ""
    setup = f"SETUP {url}/trackID=0", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
    requests = [(f"{method} {url}", "Content-Type: application/sdp")]
    requests += [setup, (f"PLAY {url}", "Session: 1")] if play else []
    answers = []
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.settimeout(2.5)
        try:
            for number, (start, header) in enumerate(requests):
                connection.sendall(
                    f"{start} RTSP/1.0\r\nCSeq: {number}\r\n{header}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
                )
                answers.append(connection.recv(4096).decode("latin-1"))
                body = ""
        except (TimeoutError, ConnectionError):
            pass
    return int(answers[0].split(" ")[1]) if answers and answers[0] else 0


async def test_the_gateways_api_cannot_be_abused(go2rtc: Go2Rtc, tmp_path: Path) -> None:
    marker = tmp_path / "pwned"
    command = quote(f"exec:'sh''-c''id>{marker}'", safe="")
    sources = [command, quote(f"echo:touch {marker}", safe=""), quote(f"ffmpeg:{marker}", safe="")]
    sources += [quote(f"expr:exec({marker})", safe=""), quote("hass:x", safe="")]
    stranger = httpx.AsyncClient(
        base_url="http://gateway", transport=httpx.AsyncHTTPTransport(uds=str(go2rtc.socket))
    )
    async with stranger, go2rtc.client() as owner:
        for path in ("", "/streams", f"/stream.mp4?src={command}", "/config", "/ws", "/exit"):
            assert (await stranger.get(f"/api{path}")).status_code == 401, path
        for source in sources:
            answer = await owner.put(f"/api/streams?name=x&src={source}")
            assert answer.status_code == 400, source
            for page in ("stream.mp4", "stream.mjpeg", "stream.m3u8", "frame.jpeg", "stream.ts"):
                assert (await owner.get(f"/api/{page}?src={source}")).status_code == 404
        for path in ("/config", "/exit", "/restart", "/log", "/webrtc", "/ws", "/ffmpeg", "/onvif"):
            assert (await owner.get(f"/api{path}")).status_code == 404, path
        assert (await owner.get("/")).status_code == 404
    assert not marker.exists()
    assert await go2rtc.streams() == {}
    assert go2rtc.process is not None
    listening = {
        connection.laddr.port
        for connection in psutil.Process(go2rtc.process.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {go2rtc.rtsp_port}
    assert go2rtc.socket.parent.stat().st_mode & 0o077 == 0


async def test_the_gateway_holds_no_camera(gateway: Go2RtcGateway, go2rtc: Go2Rtc) -> None:
    for n, scheme in enumerate(("rtsp", "rtsps", "rtmp", "http", "https")):
        url = f"{scheme}://admin:hunter2@10.255.0.1/stream?pwd=hunter2"
        await gateway.ensure(f"acme.cam-{n}", SecretStr(url))
    known = f"{await go2rtc.streams()}{go2rtc.config.read_text()}"
    for secret in ("hunter2", "10.255.0.1", "acme", "cam-"):
        assert secret not in known, secret


# ---------------------------------------------------------------- led elsewhere by a camera


async def test_rtsp_redirects_are_followed_only_where_permitted(
    gateway: Go2RtcGateway, clip: Clip
) -> None:
    async with trap() as caught, RtspCamera(clip, "admin", "pw").serving() as other:
        goal = f"rtsp://{caught.address}/x"

        def lead(_method: str, _url: str, number: str) -> bytes:
            return rtsp_answer(number, "302 Moved Temporarily", f"Location: {goal}")

        async with scripted_rtsp(lead) as camera:
            url = f"rtsp://admin:pw@{camera}/a"
            assert (await refusal(gateway, url)).problem is CameraProblem.LED_AWAY
            goal = f"rtsp://{camera}/loop"
            assert (await refusal(gateway, url)).problem is CameraProblem.UNSUPPORTED
            goal = f"http://{caught.address}/"
            assert (await refusal(gateway, url)).problem is CameraProblem.UNSUPPORTED
            goal = other.url("admin:pw")
            await gateway.ensure(SPY, SecretStr(url))
            assert await asyncio.to_thread(frames_of, gateway.rtsp_url(SPY), 2) == 2
            # The camera's own credentials are not for another port, nor for another name.
            goal = other.url()
            assert (await refusal(gateway, url)).problem is CameraProblem.CREDENTIALS
            goal = other.url(host="localhost")
            assert (await refusal(gateway, url)).problem is CameraProblem.CREDENTIALS
        assert caught.connections == []


async def test_absolute_urls_in_an_sdp_use_the_open_connection(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc
) -> None:
    requested: list[str] = []
    async with trap() as caught:

        def answer(method: str, url: str, number: str) -> bytes:
            requested.append(f"{method} {url}")
            if method == "DESCRIBE":
                sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\n"
                sdp += f"c=IN IP4 {FORBIDDEN}\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                sdp += "a=rtpmap:96 H264/90000\r\n"
                sdp += f"a=control:rtsp://{caught.address}/track\r\n"
                base = f"Content-Base: rtsp://{caught.address}/base/"
                return rtsp_answer(
                    number, "200 OK", "Content-Type: application/sdp", base, body=sdp
                )
            transport = f"Transport: RTP/AVP/TCP;unicast;interleaved=0-1;source={FORBIDDEN}"
            return rtsp_answer(number, "200 OK", transport, "Session: 1")

        async with scripted_rtsp(answer) as camera:
            await gateway.ensure(SPY, SecretStr(f"rtsp://{camera}/a"))
            await asyncio.to_thread(_ask_rtsp, go2rtc.rtsp_port, "DESCRIBE", go2rtc.sealed(SPY))
        assert f"SETUP rtsp://{caught.address}/track" in requested
        assert caught.connections == []


@pytest.mark.parametrize("way", ["redirect", "variant", "segment", "key", "map", "next"])
async def test_http_links_are_followed_only_where_permitted(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, way: str
) -> None:
    async with trap() as caught:
        goal = f"http://{caught.address}"
        playlist = {"Content-Type": "application/vnd.apple.mpegurl"}
        texts = {
            "variant": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{goal}/v.m3u8\n",
            "segment": f"#EXTM3U\n#EXTINF:2,\n{goal}/a.ts\n",
            "key": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{goal}/k"\n#EXTINF:2,\na.ts\n',
            "map": f'#EXTM3U\n#EXT-X-MAP:URI="{goal}/m"\n#EXTINF:2,\na.ts\n',
            "next": "#EXTM3U\n#EXTINF:2,\nhop.ts\n",
        }

        def pages(path: str) -> Answer:
            if way == "redirect" or path == "/hop.ts":
                return 302, {"Location": f"{goal}/there"}, b""
            return 200, playlist, texts[way].encode()

        async with http_camera(pages) as camera:
            await gateway.ensure(SPY, SecretStr(f"{camera.url}/live/index.m3u8"))
            await asyncio.to_thread(_ask_rtsp, go2rtc.rtsp_port, "DESCRIBE", go2rtc.sealed(SPY))
            assert camera.requested
            if way == "redirect":
                refused = await refusal(gateway, f"{camera.url}/live/index.m3u8")
                assert refused.problem is CameraProblem.NOT_ALLOWED
        assert caught.connections == []


async def test_a_stream_in_the_place_of_a_playlist_is_not_read(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc
) -> None:
    """go2rtc reads anything announced as a playlist into memory."""
    flv = {"Content-Type": "video/x-flv"}, b"FLV\x01\x05\x00\x00\x00\x09" + bytes(30_000_000)
    async with http_camera(lambda _: (200, *flv)) as camera:
        refused = await refusal(gateway, f"{camera.url}/live/index.m3u8")
        assert refused.problem is CameraProblem.UNSUPPORTED
    _assert_small(go2rtc)


async def test_a_gateway_that_hangs_up_leaves_nothing_at_the_relay(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc
) -> None:
    """Else every retry of a gateway would hold a connection of each kind for as long as a camera
    likes."""
    assert go2rtc.relay is not None

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await gateway.ensure(SPY, SecretStr(f"http://127.0.0.1:{port}/x"))
        producers = (await go2rtc.streams())[go2rtc.sealed(SPY)]["producers"] or []
        path = str(producers[0]["url"]).rpartition("/")[2]
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", go2rtc.relay_port)
            writer.write(f"GET /{path} HTTP/1.1\r\n\r\n".encode())
            await asyncio.sleep(0.2)
            assert len(go2rtc.relay._connections) == 1
            writer.close()
            async with asyncio.timeout(60):
                while go2rtc.relay._connections:  # noqa: ASYNC110 -- it ends by itself
                    await asyncio.sleep(0.02)


async def test_a_host_name_is_resolved_again_for_each_connection(
    go2rtc: Go2Rtc, gateway: Go2RtcGateway, clip: Clip
) -> None:
    assert go2rtc.relay is not None
    await go2rtc.relay.aclose()
    answers = ["127.0.0.1"]
    settings = go2rtc.settings
    addresses = CameraAddresses(
        AddressPolicy.parse(settings.gateway.allow, settings.gateway.deny),
        own_services(settings),
        lookup=lambda host: list(answers),
    )
    go2rtc.relay = RelayServer(RelayConfig.of(settings), addresses)
    await go2rtc.relay.start()
    async with RtspCamera(clip).serving() as camera, trap() as caught:
        url = SecretStr(f"rtsp://camera.example:{camera.port}/live")
        await gateway.ensure(SPY, url)
        assert await asyncio.to_thread(frames_of, gateway.rtsp_url(SPY), 2) == 2
        for rebound in ([FORBIDDEN], ["127.0.0.1", FORBIDDEN], ["169.254.169.254"]):
            answers[:] = rebound
            with pytest.raises(UnreadableCameraError) as failed:
                await gateway.probe(SPY)
            assert failed.value.problem is CameraProblem.NOT_ALLOWED
        assert caught.connections == []
        answers[:] = ["127.0.0.1"]
        assert (await gateway.probe(SPY)).width == 320


async def test_a_refusal_does_not_depend_on_what_listens_there(
    gateway: Go2RtcGateway,
) -> None:
    async with trap() as caught:
        closed = f"{FORBIDDEN}:{free_port()}"
        reported = set()
        for address in (caught.address, closed, "169.254.169.254:80", "255.255.255.255:554"):
            for scheme in ("rtsp", "http", "rtmp", "https"):
                error = await refusal(gateway, f"{scheme}://{address}/a/b")
                reported.add((error.problem, str(error), error.detail))
        assert len(reported) == 1
        assert caught.connections == []


# ---------------------------------------------------------------- what a camera says


HOSTILE_RTSP = {
    "negative length": b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n",
    "huge length": b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 9999999999\r\n\r\n",
    "endless head": b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n" + b"X: y\r\n" * 20_000,
    "no rtsp": b"\x00" * 200_000,
    "no status": b"RTSP/1.0\r\nCSeq: 1\r\n\r\n",
}


@pytest.mark.parametrize("kind", HOSTILE_RTSP)
async def test_no_rtsp_response_crashes_the_gateway(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, clip: Clip, kind: str
) -> None:
    async with (
        scripted_rtsp(lambda *_: HOSTILE_RTSP[kind]) as camera,
        RtspCamera(clip).serving() as yard,
    ):
        await gateway.ensure(YARD, SecretStr(yard.url()))
        watching = asyncio.create_task(asyncio.to_thread(frames_of, gateway.rtsp_url(YARD), 40))
        await refusal(gateway, f"rtsp://{camera}/a")
        # The other tenant did not notice.
        assert await watching == 40
        assert yard.connections == 1
    _assert_small(go2rtc)


HOSTILE_HTTP: dict[str, tuple[dict[str, str], bytes]] = {
    "negative part": (
        {"Content-Type": "multipart/x-mixed-replace;boundary=x"},
        b"--x\r\nContent-Length: -1\r\n\r\n" + b"\xff\xd8" * 50,
    ),
    "huge part": (
        {"Content-Type": "multipart/x-mixed-replace;boundary=x"},
        b"--x\r\nContent-Length: 4000000000\r\n\r\n" + b"\xff\xd8" * 50,
    ),
    "short tags": (
        {"Content-Type": "video/x-flv"},
        b"FLV\x01\x05\x00\x00\x00\x09" + (bytes(4) + b"\x08" + bytes(10)) * 3
        + (bytes(4) + b"\x09\x00\x00\x01" + bytes(7) + b"\x17") * 3,
    ),
    "flv of another codec": (
        {"Content-Type": "video/x-flv"},
        b"FLV\x01\x05\x00\x00\x00\x09"
        + bytes(4) + b"\x09\x00\x00\x15" + bytes(7) + b"\x17\x00\x00\x00\x00"
        + bytes.fromhex("01640028ffe1000467640028010004") + b"\x68\xee\x3c\x80"[:1]
        + bytes(4) + b"\x09\x00\x00\x0c" + bytes(7)
        + bytes.fromhex("12010000 00ffffff ff650000"),
    ),
    "y4m behind a box of mp4": (
        {"Content-Type": "video/mp4"},
        b"YUV4ftyp W3037000499 H3037000500 Cmono\n" + b"FRAME\n" * 1000,
    ),
    "ts with a long description": (
        {"Content-Type": "video/mp2t"},
        (
            bytes.fromhex("47400010 00 00b00d0001c10000 0001e100 00000000") + b"\xff" * 167
            + bytes.fromhex("47410010 00 02b0120001c10000 e101f000 1be101f0fa 00000000")
            + b"\xff" * 162
        ) * 20,
    ),
    "huge flv header": (
        {"Content-Type": "video/x-flv"}, b"FLV\x01\x05\xff\xff\xff\xff" + bytes(99)
    ),
    "huge playlist": (
        {"Content-Type": "application/vnd.apple.mpegurl"},
        b"#EXTM3U\n" + b"#EXTINF:1,\na.ts\n" * 200_000,
    ),
    "huge picture": ({"Content-Type": "image/jpeg"}, b"\xff\xd8\xff" + bytes(40_000_000)),
    "no media": ({"Content-Type": "application/json"}, b'{"password": "internal"}'),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE_HTTP)
async def test_no_http_body_crashes_the_gateway(
    gateway: Go2RtcGateway, go2rtc: Go2Rtc, kind: str
) -> None:
    headers, body = HOSTILE_HTTP[kind]
    async with http_camera(lambda _: (200, headers, body)) as camera:
        await gateway.ensure(SPY, SecretStr(f"{camera.url}/video"))
        await asyncio.to_thread(
            _ask_rtsp, go2rtc.rtsp_port, "DESCRIBE", go2rtc.sealed(SPY), play=True
        )
        assert camera.requested
    _assert_small(go2rtc)


def _assert_small(go2rtc: Go2Rtc) -> None:
    """The gateway is alive and uses little memory: 25 MB right after its start."""
    assert go2rtc.process is not None
    assert go2rtc.process.returncode is None
    assert psutil.Process(go2rtc.process.pid).memory_info().rss < 120 * 2**20
