"""Whether a pod's Redis and LiveKit answer, before a tenant is moved there."""

from __future__ import annotations

import aiohttp
from livekit import api

from cluster.core.log import redact
from cluster.core.settings import LiveKitSettings, Settings
from cluster.stores.bus import open_redis
from cluster.stores.bus.connection import redis_errors
from pipelines.errors import UnavailableError

TIMEOUT_S = 5.0
"""For each of them. They are near, and somebody waits."""


async def unreachable(pod: Settings) -> list[str]:
    """What does not answer, or refuses our credentials, and why.

    Raises:
        ConfigError: an address cannot be used.
    """
    found = []
    try:
        await _ask_redis(pod)
    except UnavailableError as error:
        found.append(f"the pod's Redis cannot be used: {redact(error.message)}")
    try:
        await _ask_livekit(pod)
    except UnavailableError as error:
        found.append(f"the pod's LiveKit cannot be used: {redact(error.message)}")
    return found


async def _ask_redis(pod: Settings) -> None:
    redis = open_redis(pod.redis_url_of("controller"), timeout_s=TIMEOUT_S)
    try:
        with redis_errors():
            await redis.ping()
    finally:
        await redis.aclose()


async def _ask_livekit(pod: Settings) -> None:
    try:
        if pod.livekit.api_secret.get_secret_value():
            await _list_rooms(pod.livekit)
        else:  # the pod alone knows it
            await _get(pod.livekit.url)
    except (api.TwirpError, aiohttp.ClientError, TimeoutError) as error:
        cause = str(error) or type(error).__name__
        raise UnavailableError(f"{pod.livekit.url}: {cause}.") from error


async def _list_rooms(livekit: LiveKitSettings) -> None:
    client = api.LiveKitAPI(
        livekit.url,
        livekit.api_key,
        livekit.api_secret.get_secret_value(),
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
    )
    try:
        await client.room.list_rooms(api.ListRoomsRequest(names=["-"]))
    finally:
        await client.aclose()


async def _get(url: str) -> None:
    """Whether anything answers there. Args: `url`: ws:// or wss://."""
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get("http" + url.removeprefix("ws")),
    ):
        return
