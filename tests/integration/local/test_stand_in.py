"""What a client sees on the API's port before, while and after nobody else listens there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from cluster.runtime.stand_in import StandIn, listening
from tests.ports import free_port

HOST = "127.0.0.1"
PATIENCE_S = 60.0
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
TABLE = (
    "   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4242 1 0",
    "   1: 0100007F:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4243 1 0",
    "   2: 0100007F:1F40 0100007F:C350 01 00000000:00000000 00:00000000 00000000 0 0 4244 1 0",
)


async def _proxy(port: int) -> asyncio.Server:
    """Something that listens as Serve's proxies do: it shares its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, HOST, port, reuse_port=True)


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        yield client


async def _until_status(client: httpx.AsyncClient, port: int, wanted: int) -> httpx.Response:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                answer = await client.post(f"http://{HOST}:{port}/v1/cameras", json={"id": "a"})
                if answer.status_code == wanted:
                    return answer
            except httpx.TransportError:
                pass  # between two who listen
            await asyncio.sleep(0.05)


async def test_while_nobody_listens_clients_are_told_to_come_back(
    client: httpx.AsyncClient,
) -> None:
    port = free_port()
    proxy, stand_in = await _proxy(port), StandIn(HOST, port)
    stand_in.start()
    try:
        await _until_status(client, port, 200)
        proxy.close()
        answer = await _until_status(client, port, 503)
        assert answer.headers["Retry-After"] == "2"
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "unavailable"
        # The next proxy listens while this still does, and soon alone.
        proxy = await _proxy(port)
        await _until_status(client, port, 200)
        await _until_alone(port)
        for _ in range(20):
            assert (await client.get(f"http://{HOST}:{port}/")).status_code == 200
    finally:
        await stand_in.aclose()
        await stand_in.aclose()
        proxy.close()
    with pytest.raises(httpx.ConnectError):
        await client.get(f"http://{HOST}:{port}/")


async def _until_alone(port: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if len(_in_use(port)) == 1:
                return
            await asyncio.sleep(0.05)


def _in_use(port: int) -> set[int]:
    with open("/proc/net/tcp") as table:
        return listening(table.readlines()[1:], port)


async def test_a_port_that_its_owner_does_not_share_is_left_alone(
    client: httpx.AsyncClient,
) -> None:
    with socket.create_server((HOST, 0)) as owner:
        port = owner.getsockname()[1]
        stand_in = StandIn(HOST, port)
        stand_in.start()
        await asyncio.sleep(0)
        await stand_in.aclose()
        assert len(_in_use(port)) == 1


def test_only_those_who_listen_on_the_port_count() -> None:
    assert listening(TABLE, 8000) == {4242}
    assert listening(TABLE, 8002) == set()
