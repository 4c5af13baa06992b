"""Who sends a body without a key waits for a place, and takes it from nobody with a key."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serve.api.strangers import LimitStrangers

LOGIN, OTHER = "/v1/auth/login", "/v1/cameras"


class Site:
    """An application whose requests last until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.limit = LimitStrangers(self.app, max_under_way=3, max_per_site=2)
        self.under_way = 0

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.under_way += 1
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def status(self, path: str, address: str) -> int:
        statuses: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        async def receive() -> Any:
            raise AssertionError("nothing is read")

        scope = {"type": "http", "method": "POST", "path": path, "client": (address, 1)}
        await self.limit(scope, receive, send)
        return statuses[0]

    async def waiting(self, path: str, *addresses: str) -> list[asyncio.Task[int]]:
        tasks = [asyncio.create_task(self.status(path, address)) for address in addresses]
        await asyncio.sleep(0)
        return tasks


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["192.0.2.1"] * 3, [200, 200, 429]),
        (["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"], [200, 200, 200, 503]),
        (["2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1"], [200, 200, 429]),
    ],
)
async def test_few_are_under_way(addresses: list[str], expected: list[int]) -> None:
    site = Site()
    tasks = await site.waiting(LOGIN, *addresses)
    others = await site.waiting(OTHER, *["192.0.2.1"] * 9)
    assert site.under_way == expected.count(200) + 9
    site.go.set()
    assert await asyncio.gather(*tasks) == expected
    assert await asyncio.gather(*others) == [200] * 9
    # Their places are free again.
    assert await site.status(LOGIN, addresses[0]) == 200


async def test_who_goes_away_leaves_a_place() -> None:
    site = Site()
    tasks = await site.waiting(LOGIN, "192.0.2.1", "192.0.2.1")
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    [another] = await site.waiting(LOGIN, "192.0.2.1")
    site.go.set()
    assert await another == 200
