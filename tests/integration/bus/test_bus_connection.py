from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from cluster.stores.bus import AlarmStream, open_redis, redis_errors
from tests.factories import make_alarm
from tests.integration.conftest import ValkeyServer
from tests.ports import free_port


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


async def test_the_master_is_found_through_sentinel(
    start_valkey: Callable[[], ValkeyServer], tmp_path: Path
) -> None:
    master, port = start_valkey(), free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\nlogfile {tmp_path}/sentinel.log\n"
        f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
    )
    sentinel = await asyncio.create_subprocess_exec(master.binary, str(config), "--sentinel")
    asked = open_redis(f"redis://127.0.0.1:{port}")
    try:
        async with asyncio.timeout(60):
            while not await _answers(asked):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        # The first one is not there: the next is asked.
        url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{port}/main/0"
        client = open_redis(url)
        await AlarmStream(client, "acme").publish(make_alarm(1))
        await client.aclose()
        direct = open_redis(master.url)
        assert [entry.alarm for entry in await AlarmStream(direct, "acme").read("0")] == [
            make_alarm(1)
        ]
        await direct.aclose()
    finally:
        await asked.aclose()
        sentinel.terminate()
        await sentinel.wait()


async def _answers(client: Redis) -> bool:
    try:
        return bool(await client.ping())
    except ConnectionError:
        return False
