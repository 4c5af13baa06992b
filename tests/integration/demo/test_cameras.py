"""Demo cameras behave like real ones towards libav, go2rtc and unauthorized clients."""

from __future__ import annotations

import asyncio
import json
import shutil
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import av
import pytest

from cluster.core.settings import Settings
from cluster.demo.simulator import PASSWORD, DemoCamera, DemoCameras
from tests.ports import free_port

Until = Callable[[Callable[[], bool]], Awaitable[None]]
Demo = tuple[DemoCameras, list[DemoCamera]]
TCP = {"rtsp_transport": "tcp"}


def _packets(
    url: str,
    count: int,
    options: dict[str, str] | None = None,
    *,
    before_closing: Callable[[], None] = lambda: None,
) -> list[av.Packet]:
    packets = []
    with av.open(url, options=options or TCP, timeout=60) as container:
        for packet in container.demux(video=0):
            packets.append(packet)
            if len(packets) == count:
                before_closing()
                return packets
    raise AssertionError(f"the stream ended after {len(packets)} packets")


def _named(demo: Demo, camera_id: str) -> DemoCamera:
    return next(c for c in demo[1] if c.id == camera_id)


async def test_both_tenants_have_cameras_with_rules(demo: Demo) -> None:
    by_tenant = {t: [c.id for c in demo[1] if c.tenant == t] for t in ("acme", "globex")}
    assert by_tenant == {"acme": ["gate", "street"], "globex": ["yard", "cabin", "yard-h265"]}
    assert all(c.rules for c in demo[1])
    assert PASSWORD not in repr(demo[1])


async def test_every_camera_plays_from_a_key_frame(demo: Demo) -> None:
    for camera in demo[1]:
        packets = await asyncio.to_thread(_packets, camera.url.get_secret_value(), 30)
        assert packets[0].is_keyframe, camera.id
        assert all(p.pts == p.dts for p in packets[1:])
        expected = "hevc" if camera.id == "yard-h265" else "h264"
        assert packets[0].stream.codec_context.name == expected
        assert packets[0].stream.codec_context.extradata, "parameter sets come in the SDP"


async def test_time_is_continuous_over_the_seam(demo: Demo) -> None:
    """The cabin loops every 4 s: 270 frames hold two seams."""
    camera = _named(demo, "cabin")
    packets = await asyncio.to_thread(_packets, camera.url.get_secret_value(), 270)
    times = [p.pts for p in packets if p.pts is not None]
    steps = {b - a for a, b in pairwise(times)}
    assert camera.loop_s * 2 < 270 / 30
    assert steps == {3003}, "90 kHz ticks at 30000/1001 frames/s"


async def test_the_frame_at_any_time_is_known(demo: Demo) -> None:
    """Frame n of the loop is sent at started_us + n/fps. Tests measure latency against that."""
    cameras, _ = demo
    server, camera = cameras.server, _named(demo, "gate")
    url = camera.url.get_secret_value()

    def first_key() -> tuple[int, float]:
        with av.open(url, options=TCP, timeout=60) as container:
            packet = next(container.demux(video=0))
            return packet.size, server.elapsed_s()

    size, at_s = await asyncio.to_thread(first_key)
    clip = server.find("acme-gate")
    assert clip is not None
    number = int(at_s * clip.clip.fps)
    recent = [clip.clip.unit(n) for n in range(number - 50, number + 1)]
    sizes = {sum(map(len, u.nals)) for u in recent if u.key}
    assert any(0 <= size - s < 200 for s in sizes), "a key frame of the last two seconds"


async def test_udp_is_declined_and_ffmpeg_falls_back(demo: Demo) -> None:
    url = _named(demo, "gate").url.get_secret_value()
    assert len(await asyncio.to_thread(_packets, url, 10, {"fflags": "nobuffer"})) == 10
    with pytest.raises(av.OSError, match="Protocol not supported"):
        await asyncio.to_thread(_packets, url, 1, {"rtsp_transport": "udp"})


@pytest.mark.parametrize("credentials", ["", "viewer:wrong@", "other:" + quote(PASSWORD, "") + "@"])
async def test_clients_without_valid_credentials_are_rejected(demo: Demo, credentials: str) -> None:
    url = _named(demo, "gate").url.get_secret_value()
    stranger = f"rtsp://{credentials}{url.rpartition('@')[2]}"
    with pytest.raises(av.HTTPUnauthorizedError):
        await asyncio.to_thread(_packets, stranger, 1)


async def test_unknown_cameras_are_not_found(demo: Demo) -> None:
    url = _named(demo, "gate").url.get_secret_value().replace("acme-gate", "acme-none")
    with pytest.raises(av.HTTPNotFoundError):
        await asyncio.to_thread(_packets, url, 1)


async def test_a_camera_can_go_offline_and_come_back(demo: Demo, until: Until) -> None:
    cameras, _ = demo
    url = _named(demo, "gate").url.get_secret_value()

    def read_to_the_end() -> int:
        count = 0
        with av.open(url, options=TCP, timeout=60) as container:
            for packet in container.demux(video=0):
                count += packet.size > 0
        return count

    reading = asyncio.create_task(asyncio.to_thread(read_to_the_end))
    await until(lambda: cameras.server.watched("acme-gate") == 1)
    await asyncio.sleep(1.5)
    cameras.server.set_online("acme-gate", False)
    try:
        assert await reading > 0
    except av.FFmpegError:
        pass  # a reset connection may raise; it only has to end
    with pytest.raises(av.HTTPNotFoundError):
        await asyncio.to_thread(_packets, url, 1)
    cameras.server.set_online("acme-gate", True)
    assert len(await asyncio.to_thread(_packets, url, 5)) == 5


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"OPTIONS " + b"x" * 40_000,
        b"DESCRIBE rtsp://x/gate RTSP/1.0\r\nContent-Length: 99999999\r\n\r\n",
        b"DESCRIBE rtsp://x/gate RTSP/1.0\r\nContent-Length: -1\r\n\r\n",
        b"DESCRIBE rtsp://[x/gate RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        b"$\x00\xff",
    ],
)
async def test_noise_ends_only_its_own_connection(demo: Demo, noise: bytes) -> None:
    cameras, _ = demo
    reader, writer = await asyncio.open_connection("127.0.0.1", cameras.server.port)
    writer.write(noise)
    writer.write_eof()
    async with asyncio.timeout(60):
        try:
            assert b"RTSP/1.0 200" not in await reader.read()
        except ConnectionError:
            pass  # a reset is as good as a clean end
    writer.close()
    url = _named(demo, "cabin").url.get_secret_value()
    assert await asyncio.to_thread(_packets, url, 2)


async def test_closing_twice_is_harmless(kept_dir: Path) -> None:
    cameras = DemoCameras(Settings(data_dir=kept_dir), roles=())
    await cameras.aclose()
    assert await cameras.start() == []
    await cameras.aclose()
    await cameras.aclose()


# ---------------------------------------------------------------- go2rtc


def _go2rtc() -> str:
    binary = shutil.which("go2rtc")
    if binary is None:
        pytest.skip("go2rtc is not on PATH")
    return binary


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[tuple[int, int]]:
    """API and RTSP port of a go2rtc for this test."""
    api, rtsp = free_port(), free_port()
    config = {
        "api": {"listen": f"127.0.0.1:{api}"},
        "rtsp": {"listen": f"127.0.0.1:{rtsp}"},
        "webrtc": {"listen": ""},
        "srtp": {"listen": ""},
    }
    path = tmp_path / "go2rtc.yaml"
    path.write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        _go2rtc(),
        *("-config", str(path)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(60):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", rtsp)
                    writer.close()
                    break
                except ConnectionError:
                    await asyncio.sleep(0.05)
        yield api, rtsp
    finally:
        process.terminate()
        await process.wait()


def _add(api: int, name: str, source: str) -> None:
    url = f"http://127.0.0.1:{api}/api/streams?name={name}&src={quote(source, safe='')}"
    with urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=30) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("camera_id", ["gate", "street", "yard", "cabin", "yard-h265"])
async def test_go2rtc_pulls_it_like_any_camera(
    demo: Demo, gateway: tuple[int, int], camera_id: str
) -> None:
    api, rtsp = gateway
    camera = _named(demo, camera_id)
    await asyncio.to_thread(_add, api, "x", camera.url.get_secret_value())
    watched: list[int] = []

    def count() -> None:
        # go2rtc disconnects from the camera as soon as its last viewer leaves.
        watched.append(demo[0].server.watched(f"{camera.tenant}-{camera.id}"))

    packets = await asyncio.to_thread(
        _packets, f"rtsp://127.0.0.1:{rtsp}/x", 60, before_closing=count
    )
    times = [p.pts for p in packets if p.pts is not None]
    steps = {b - a for a, b in pairwise(times)}
    assert len(steps) == 1
    assert watched == [1]
