"""The MediaMTX client: against its contract everywhere, against a real one where there is one."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from cluster.core.settings import GatewaySettings, LiveKitSettings, Settings
from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.gateway_choice import make_gateway
from cluster.media.mediamtx import MediaMtxGateway
from cluster.media.sealing import GatewayKeys
from cluster.media.target import open_target
from cluster.relay.server import RelayConfig, RelayServer
from pipelines.errors import InputError, NotFoundError, UnavailableError
from tests.integration.media.conftest import SECRET
from tests.integration.media.mediamtx_contract import ControlApi, serving
from tests.integration.media.rtsp_camera import Mood, RtspCamera
from tests.ports import free_port
from tests.unit.cluster.media.clips import Clip

NAME = "acme.front"
NASTY = r"""a@#%?{}:/ &=+;,'"\`$b日"""


@pytest.fixture
def api() -> Iterator[ControlApi]:
    with serving() as server:
        yield server


def settings_for(api_url: str, rtsp_port: int = 1, relay_port: int = 1, **gateway: Any) -> Settings:
    return Settings(
        livekit=LiveKitSettings(api_secret=SecretStr(SECRET)),
        gateway=GatewaySettings(
            kind="mediamtx",
            managed=False,
            api_url=api_url,
            **{
                "rtsp_url": f"rtsp://127.0.0.1:{rtsp_port}",
                "relay_url": f"tcp://127.0.0.1:{relay_port}",
                "allow": ("private", "public", "127.0.0.1"),
            }
            | gateway,
        ),
    )


def client(api: ControlApi, rtsp_port: int = 1, relay_port: int = 1) -> MediaMtxGateway:
    gateway = make_gateway(settings_for(api.url, rtsp_port, relay_port))
    assert isinstance(gateway, MediaMtxGateway)
    return gateway


@asynccontextmanager
async def relaying(settings: Settings) -> AsyncIterator[None]:
    relay = RelayServer(RelayConfig.of(settings))
    await relay.start()
    try:
        yield
    finally:
        await relay.aclose()


@pytest_asyncio.fixture
async def gateway(api: ControlApi) -> AsyncIterator[MediaMtxGateway]:
    made = client(api)
    yield made
    await made.aclose()


async def test_ensure_sets_a_path_once(gateway: MediaMtxGateway, api: ControlApi) -> None:
    url = SecretStr(f"rtsp://admin:{NASTY}@10.255.0.1:554/s?x=1")
    assert await gateway.ensure(NAME, url)
    keys = GatewayKeys.of(settings_for(api.url))
    sealed = keys.names.seal(NAME)
    path = api.paths[sealed]
    assert path | {"source": ""} == {
        "source": "",
        "sourceOnDemand": True,
        "rtspTransport": "tcp",
    }
    # What MediaMTX knows of the camera is a path of the relay, which alone can read it.
    relay, _, source = path["source"].rpartition("/")
    assert relay == "rtsp://127.0.0.1:1"
    target = open_target(keys.sources, source)
    assert target is not None
    assert target.tenant == "acme"
    assert target.url.encoded == f"rtsp://admin:{quote(NASTY, safe='')}@10.255.0.1:554/s?x=1"
    assert not await gateway.ensure(NAME, url)
    assert await gateway.ensure(NAME, SecretStr("rtsp://10.255.0.2/s"))
    assert [r for r in api.requests if r[0] == "POST"] == [
        ("POST", f"/v3/config/paths/replace/{sealed}")
    ] * 2


async def test_names_over_several_pages(
    gateway: MediaMtxGateway, api: ControlApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.media.mediamtx._PAGE", 3)
    assert await gateway.names() == set()
    ours = {f"acme.cam-{n}" for n in range(6)} | {"acme.cam-1.sub"}
    seal = GatewayKeys.of(settings_for(api.url)).names.seal
    foreign = {"all_others", "demo", "a.b.c"}
    # As a version of ours named streams that could be guessed.
    guessable = {"acme.cam-1", "globex.yard.sub"}
    for name in {seal(name) for name in ours} | foreign | guessable:
        api.paths[name] = {"source": "publisher"}
    assert await gateway.names() == ours
    assert api.paths.keys() == {seal(name) for name in ours} | foreign


async def test_remove(gateway: MediaMtxGateway, api: ControlApi) -> None:
    await gateway.ensure(NAME, SecretStr("rtsp://10.255.0.1/s"))
    await gateway.remove(NAME)
    await gateway.remove(NAME)
    assert api.paths == {}
    with pytest.raises(InputError):
        await gateway.remove("all_others")


async def test_a_refusal_by_mediamtx_is_reported_without_the_password(
    gateway: MediaMtxGateway,
) -> None:
    with pytest.raises(InputError, match="invalid source") as caught:
        await gateway.ensure(NAME, SecretStr("http://admin:hunter2@10.255.0.1/mjpeg?pwd=hunter2"))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InputError):
        await gateway.ensure(NAME, SecretStr("exec:id"))


async def test_credentials_of_the_control_api(api: ControlApi) -> None:
    api.credentials = "Basic " + base64.b64encode(b"me:s3cret").decode()
    settings = settings_for(
        api.url, rtsp_url="rtsp://mtx:8554", username="me", password=SecretStr("s3cret")
    )
    gateway = MediaMtxGateway(settings)
    assert await gateway.names() == set()
    sealed = GatewayKeys.of(settings).names.seal(NAME)
    assert gateway.rtsp_url(NAME).get_secret_value() == f"rtsp://me:s3cret@mtx:8554/{sealed}"
    assert "s3cret" not in repr(gateway.rtsp_url(NAME))
    await gateway.aclose()
    anonymous = client(api)
    with pytest.raises(UnavailableError, match="refuses our credentials"):
        await anonymous.names()
    await anonymous.aclose()


async def test_probe(api: ControlApi, clip: Clip) -> None:
    # The path of this server is that of MediaMTX's stream.
    sealed = GatewayKeys.of(settings_for(api.url)).names.seal(NAME)
    async with RtspCamera(clip, path=f"/{sealed}").serving() as rtsp:
        gateway = client(api, rtsp.port)
        await gateway.ensure(NAME, SecretStr("rtsp://10.255.0.1/s"))
        result = await gateway.probe(NAME)
        assert (result.codec, result.width, result.audio) == ("h264", 320, ("G711",))
        with pytest.raises(NotFoundError):
            await gateway.probe("acme.nothing")
        await gateway.aclose()


async def test_a_failed_probe_asks_the_camera_why(api: ControlApi, clip: Clip) -> None:
    async with (
        RtspCamera(clip, path="/other").serving() as rtsp,
        RtspCamera(clip, "admin", "right").serving() as camera,
        relaying(settings_for(api.url, rtsp.port, relay_port := free_port())),
    ):
        gateway = client(api, rtsp.port, relay_port)
        for url, problem in (
            (camera.url("admin:hunter2"), CameraProblem.CREDENTIALS),
            (camera.url("admin:right").replace("live", "no"), CameraProblem.NOT_FOUND),
            (f"rtsp://admin:hunter2@127.0.0.1:{free_port()}/s", CameraProblem.REFUSED),
            ("rtsp://no-such-host.invalid/s", CameraProblem.DNS),
        ):
            with pytest.raises(UnreadableCameraError) as caught:
                await gateway.probe(SecretStr(url))
            assert caught.value.problem is problem, caught.value.detail
            assert "hunter2" not in f"{caught.value}{caught.value.detail}"
        camera.mood = Mood.RUDE
        with pytest.raises(UnreadableCameraError):
            await gateway.probe(SecretStr(camera.url()))
        assert api.paths == {}
        await gateway.aclose()


async def test_an_unreachable_mediamtx(api: ControlApi) -> None:
    gateway = MediaMtxGateway(settings_for(f"http://127.0.0.1:{free_port()}"))
    with pytest.raises(UnavailableError):
        await gateway.ensure(NAME, SecretStr("rtsp://10.255.0.1/s"))
    await gateway.aclose()
    no_rtsp = client(api, free_port())
    with pytest.raises(UnavailableError, match="RTSP port"):
        await no_rtsp.probe(SecretStr("rtsp://10.255.0.1/s"))
    await no_rtsp.aclose()


# ---------------------------------------------------------------- a real one


@pytest_asyncio.fixture
async def real(tmp_path: Path) -> AsyncIterator[MediaMtxGateway]:
    binary = shutil.which("mediamtx")
    if binary is None:
        pytest.skip(
            "needs `mediamtx` on PATH; it is in no registry that this project installs from"
        )
    api_port, rtsp_port = free_port(), free_port()
    config = tmp_path / "mediamtx.yml"
    config.write_text(
        f"api: yes\napiAddress: 127.0.0.1:{api_port}\n"
        f"rtsp: yes\nrtspAddress: 127.0.0.1:{rtsp_port}\nrtspTransports: [tcp]\n"
        "rtmp: no\nhls: no\nwebrtc: no\nsrt: no\nmoq: no\npaths: {}\n"
    )
    process = await asyncio.create_subprocess_exec(
        binary, str(config), stdout=asyncio.subprocess.DEVNULL
    )
    settings = settings_for(f"http://127.0.0.1:{api_port}", rtsp_port, free_port())
    gateway = MediaMtxGateway(settings)
    relay = RelayServer(RelayConfig.of(settings))
    await relay.start()
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            for _ in range(100):
                try:
                    await http.get(f"http://127.0.0.1:{api_port}/v3/paths/list")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        yield gateway
    finally:
        await gateway.aclose()
        await relay.aclose()
        process.terminate()
        await process.wait()


async def test_real_any_password_arrives_and_one_pull(real: MediaMtxGateway, clip: Clip) -> None:
    async with RtspCamera(clip, "admin", NASTY).serving() as camera:
        url = SecretStr(camera.url(f"admin:{quote(NASTY, safe='')}"))
        assert await real.ensure(NAME, url)
        assert not await real.ensure(NAME, url)
        one, two = await asyncio.gather(real.probe(NAME), real.probe(NAME))
        assert (one.width, two.width) == (320, 320)
        assert one.audio == ("G711",)
        assert (camera.wrong, camera.played) == (0, 1)
        assert await real.names() == {NAME}
        await real.remove(NAME)
        assert await real.names() == set()


async def test_real_reasons(real: MediaMtxGateway, clip: Clip) -> None:
    async with RtspCamera(clip, "admin", "right").serving() as camera:
        with pytest.raises(UnreadableCameraError) as caught:
            await real.probe(SecretStr(camera.url("admin:wrong")))
        assert caught.value.problem is CameraProblem.CREDENTIALS
