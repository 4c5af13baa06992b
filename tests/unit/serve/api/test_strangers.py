"""Who sends a body without a key waits for a place, and takes it from nobody with a key."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from cluster.core.settings import LiveKitSettings, Settings
from cluster.stores.db import Database
from pipelines.clock import ManualClock
from serve.api.sign_in import SignIn
from serve.api.strangers import LimitStrangers
from serve.api.user_tokens import Audience, UserToken

LOGIN, REFRESH, OTHER = "/v1/auth/login", "/v1/auth/refresh", "/v1/cameras"


class Site:
    """An application whose requests last until they are let go."""

    def __init__(self, folder: Path) -> None:
        self.go = asyncio.Event()
        keys = Settings(livekit=LiveKitSettings(api_secret=SecretStr("s" * 32)))
        self.sign_in = SignIn.of(keys, Database(f"sqlite:///{folder}/a.db"), ManualClock())
        self.limit = LimitStrangers(
            self.app, self.sign_in, max_under_way=3, max_per_site=2, max_per_browser=1
        )
        self.under_way = 0

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.under_way += 1
        await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def status(self, path: str, address: str, cookie: str = "") -> int:
        statuses: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        async def receive() -> Any:
            raise AssertionError("nothing is read")

        headers = [(b"cookie", cookie.encode())]
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": path,
            "client": (address, 1),
        }
        scope["headers"] = headers
        await self.limit(scope, receive, send)
        return statuses[0]

    async def waiting(
        self, path: str, *addresses: str, cookie: str = ""
    ) -> list[asyncio.Task[int]]:
        tasks = [asyncio.create_task(self.status(path, one, cookie)) for one in addresses]
        await asyncio.sleep(0)
        return tasks


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["192.0.2.1"] * 3, [200, 200, 429]),
        (["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"], [200, 200, 200, 503]),
        (["2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1"], [200, 200, 429]),
    ],
)
async def test_few_are_under_way(site: Site, addresses: list[str], expected: list[int]) -> None:
    tasks = await site.waiting(LOGIN, *addresses)
    others = await site.waiting(OTHER, *["192.0.2.1"] * 9)
    assert site.under_way == expected.count(200) + 9
    site.go.set()
    assert await asyncio.gather(*tasks) == expected
    assert await asyncio.gather(*others) == [200] * 9
    # Their places are free again.
    assert await site.status(LOGIN, addresses[0]) == 200


async def test_who_goes_away_leaves_a_place(site: Site) -> None:
    tasks = await site.waiting(LOGIN, "192.0.2.1", "192.0.2.1")
    tasks[0].cancel()
    await asyncio.gather(tasks[0], return_exceptions=True)
    [another] = await site.waiting(LOGIN, "192.0.2.1")
    site.go.set()
    assert await another == 200


@pytest.mark.parametrize(
    ("cookie", "audience"),
    [("atalaia_refresh", Audience.REFRESH), ("atalaia_device", Audience.DEVICE)],
)
async def test_a_known_browser_finds_a_place_among_strangers(
    site: Site, cookie: str, audience: Audience
) -> None:
    def token(session: str, expires_s: int = 2**40) -> str:
        signed = site.sign_in._keys.sign(
            audience, UserToken("acme", "u", session, "browser", expires_s)
        )
        return f"{cookie}={signed}"

    strangers = [f"192.0.2.{n}" for n in range(3)]
    tasks = await site.waiting(REFRESH, *strangers, strangers[0])
    tasks += await site.waiting(REFRESH, strangers[0], strangers[0], cookie=token("s-1"))
    tasks += await site.waiting(REFRESH, strangers[0], cookie=token("s-2"))
    for foreign in (token("s-3", expires_s=1), token("s-4") + "x", f"{cookie}=x"):
        tasks += await site.waiting(REFRESH, "192.0.2.9", cookie=foreign)
    site.go.set()
    assert await asyncio.gather(*tasks) == [200, 200, 200, 429, 200, 429, 200, 503, 503, 503]
