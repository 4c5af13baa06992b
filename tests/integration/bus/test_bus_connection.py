from __future__ import annotations

import asyncio

import pytest

from cluster.bus import open_redis, redis_errors


@pytest.mark.parametrize("warm", [False, True])
async def test_a_cancellation_is_never_lost(valkey: str, warm: bool) -> None:
    """Cancelled at every step of a command. Without `keep_cancellation` some of these tasks sleep
    on under Python 3.11."""
    for steps in range(50):
        client = open_redis(valkey, timeout_s=1)
        if warm:
            await client.ping()

        async def work(client: object = client) -> None:
            with redis_errors():
                await client.ping()  # type: ignore[attr-defined]
            await asyncio.sleep(30)

        task = asyncio.create_task(work())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5)
        assert done, f"cancelled at step {steps}, it went on"
        await client.aclose()
