"""Slow clients by real sockets: what they hold is freed, and in the meantime they hold up nobody
but themselves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import av
import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

from serve.api.app import create_app
from serve.api.state import state_of
from tests.factories import T0_US
from tests.integration.api.test_api_recordings import GATE, nothing_left
from tests.integration.api.world import World, eventually, problem
from tests.recorded import encoded, segments_of, ship

# The least that the kernel grants, so that no more than a few kB lie between API and client.
SMALL_BUFFER = 4_096
EXPORT = f"/v1/recordings/export?{urlencode(GATE)}"

# Longer than any test: in these nobody is ended.
FOR_EVER_S = 3_600.0


@asynccontextmanager
async def slow_api(world: World, slow_client_s: float) -> AsyncIterator[tuple[str, FastAPI]]:
    """The API over a socket that buffers little, with this patience."""
    api = world.deps.settings.api.model_copy(update={"slow_client_s": slow_client_s})
    settings = world.deps.settings.model_copy(update={"api": api})
    app = create_app(replace(world.deps, settings=settings))
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on"))
    task = asyncio.create_task(server.serve(sockets=[listening]))

    async def started() -> bool:
        return server.started

    try:
        await eventually(started, within_s=60)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", app
    finally:
        server.should_exit = True
        # A client that never reads would hold the shutdown up.
        server.force_exit = True
        await task
        listening.close()


async def connected(url: str) -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    client.setblocking(False)
    parts = urlsplit(url)
    await asyncio.get_running_loop().sock_connect(client, (parts.hostname, parts.port))
    return client


async def send(client: socket.socket, key: str, method: str, path: str, *headers: str) -> None:
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {key}"]
    data = "\r\n".join([*head, *headers, "", ""]).encode()
    await asyncio.get_running_loop().sock_sendall(client, data)


async def received(client: socket.socket, at_most: int) -> bytes:
    """What comes next; fails where the answer has ended."""
    data = await asyncio.get_running_loop().sock_recv(client, at_most)
    assert data, "the connection was closed"
    return data


async def begun(url: str, key: str) -> socket.socket:
    """A download of which the client has taken the first byte, and takes no more."""
    client = await connected(url)
    await send(client, key, "GET", EXPORT)
    assert await received(client, 1) == b"H"
    return client


@pytest.fixture
async def exports(world: World, tmp_path: Path) -> World:
    """A recording of each tenant, of which an export is larger than all buffers on its way."""
    noise = np.random.default_rng(1).integers(0, 256, (20, 240, 320, 3), np.uint8)
    frames = [av.VideoFrame.from_ndarray(pixels, "rgb24") for pixels in noise]
    pictures = [frame.reformat(format="yuv420p") for frame in frames]
    content = encoded(pictures, T0_US, encoder="libx264", b_frames=0)
    for tenant in ("acme", "globex"):
        files = segments_of(tmp_path / tenant, content, per_segment=20, size=(320, 240))
        recordings, blobs = world.database.recordings(tenant), world.blobs(tenant)
        await ship(files, recordings, blobs, "gate", size=(320, 240))
    acme = await world.client("acme")
    response = await acme.get("/v1/recordings/export", params=GATE)
    assert len(response.content) > 250_000
    return world


async def test_slow_downloads_of_one_tenant_block_only_its_own(exports: World) -> None:
    async with slow_api(exports, FOR_EVER_S) as (url, app):
        slots = state_of(app).evidence.exports
        slow = [await begun(url, exports.keys["acme"]) for _ in range(2)]
        try:
            async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                answers = {}
                for tenant in ("acme", "globex"):
                    headers = {"Authorization": f"Bearer {exports.keys[tenant]}"}
                    answers[tenant] = await client.get(EXPORT, headers=headers)
            assert slots.of("acme") == 2
            assert problem(answers["acme"], 429, "quota-exceeded")["quota"] == "exports"
            assert answers["globex"].status_code == 200
        finally:
            for one in slow:
                one.close()

        async def free() -> bool:
            return slots.of("acme") == 0

        await eventually(free, within_s=60)


async def test_a_download_that_is_not_taken_frees_its_slot(exports: World) -> None:
    async with slow_api(exports, 0.2) as (url, app):
        state = state_of(app)
        with closing(await begun(url, exports.keys["acme"])):

            async def freed() -> bool:
                return state.evidence.exports.of("acme") == 0

            await eventually(freed, within_s=60)
            await eventually(lambda: nothing_left(exports), within_s=60)
        count = state.metrics.registry.get_sample_value
        assert count("atalaia_slow_clients_total", {"direction": "download"}) == 1.0


async def test_a_link_that_is_not_read_is_not_waited_for(world: World) -> None:
    await world.blobs("acme").put("clips/1.mp4", bytes(4_000_000))
    async with slow_api(world, 0.2) as (url, app):
        state = state_of(app)
        link = await world.link("acme", "clips/1.mp4", "video/mp4")
        with closing(await connected(url)) as client:
            await send(client, "none", "GET", link)
            assert await received(client, 1) == b"H"
            count = state.metrics.registry.get_sample_value

            async def ended() -> bool:
                return count("atalaia_slow_clients_total", {"direction": "download"}) == 1.0

            await eventually(ended, within_s=60)


async def test_a_client_that_takes_its_time_gets_all_of_it(exports: World) -> None:
    """In many small pieces, with a pause after each, but with patience for it."""
    async with slow_api(exports, FOR_EVER_S) as (url, _):
        got = b""
        with closing(await begun(url, exports.keys["acme"])) as client:
            while b"\r\n\r\n" not in got:
                got += await received(client, 100)
            head, _, body = got.partition(b"\r\n\r\n")
            [length] = [
                int(line.split(b":")[1])
                for line in head.lower().splitlines()
                if line.startswith(b"content-length")
            ]
            while len(body) < length:
                await asyncio.sleep(0.001)
                body += await received(client, 16_384)
        acme = await exports.client("acme")
        assert body == (await acme.get("/v1/recordings/export", params=GATE)).content


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/detect", "multipart/form-data; boundary=a"),
        ("/v1/search", "multipart/form-data; boundary=a"),
        ("/v1/cameras", "application/json"),
    ],
)
async def test_a_body_that_dribbles_is_given_up(world: World, path: str, kind: str) -> None:
    """A byte now and then, of many that were announced: 408, and the slot is free again."""
    async with slow_api(world, 0.3) as (url, app):
        state = state_of(app)
        with closing(await connected(url)) as client:
            headers = (f"Content-Type: {kind}", "Content-Length: 100000")
            await send(client, world.keys["acme"], "POST", path, *headers)
            loop = asyncio.get_running_loop()

            async def dribble() -> None:
                for byte in b"--a\r\nContent-Disposition: form-data; name=x\r\n\r\n" * 1_000:
                    await loop.sock_sendall(client, bytes([byte]))
                    await asyncio.sleep(0.02)

            sending = asyncio.create_task(dribble())
            answer = b""
            try:
                async with asyncio.timeout(60):
                    while b'"request-timeout"' not in answer:
                        answer += await received(client, 4_096)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"application/problem+json" in answer
            assert state.uploads.taken == 0
            count = state.metrics.registry.get_sample_value
            assert count("atalaia_slow_clients_total", {"direction": "upload"}) == 1.0


async def test_others_go_on_beside_a_slow_body(world: World) -> None:
    async with slow_api(world, FOR_EVER_S) as (url, _):
        clients = [await connected(url) for _ in range(5)]
        try:
            for client in clients:
                kind = "Content-Type: multipart/form-data; boundary=a"
                await send(
                    client, world.keys["acme"], "POST", "/v1/detect", kind, "Content-Length: 9999"
                )
            headers = {"Authorization": f"Bearer {world.keys['globex']}"}
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as other:
                assert (await other.get("/v1/cameras")).status_code == 200
        finally:
            for client in clients:
                client.close()
