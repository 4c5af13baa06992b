"""Hosts are resolved once, by us, and every address is checked."""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
from pydantic import SecretStr

from cluster.core.addresses import AddressPolicy, IpAddress
from cluster.core.settings import DatabaseSettings, GatewaySettings, RedisSettings, Settings
from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.resolution import (
    MAX_LOOKUPS_PER_TENANT,
    OWN_REFRESH_S,
    CameraAddresses,
    ServiceAddress,
    own_services,
)
from pipelines.clock import ManualClock

LAN = "192.168.7.7"


class Names:
    """A fake name server."""

    def __init__(self, known: Mapping[str, list[str]]) -> None:
        self.known = dict(known)
        self.queries: list[str] = []

    def __call__(self, host: str) -> list[str]:
        self.queries.append(host)
        if host not in self.known:
            raise OSError(f"unknown: {host}")
        return self.known[host]


def here() -> frozenset[IpAddress]:
    return frozenset({ipaddress.ip_address(LAN)})


@pytest.fixture
def names() -> Names:
    return Names(
        {
            "cam": ["10.0.0.5"],
            "two": ["10.0.0.5", "fd00::5"],
            "mixed": ["10.0.0.5", "127.0.0.1"],
            "scoped": ["fe80::1%eth0"],
            "none": [],
            "0x7f.1": ["127.0.0.1"],
            "redis": ["10.0.0.9"],
        }
    )


@pytest_asyncio.fixture
async def addresses(names: Names, clock: ManualClock) -> AsyncIterator[CameraAddresses]:
    made = CameraAddresses(
        AddressPolicy.parse(("private", "public")),
        (ServiceAddress("redis", 6379), ServiceAddress("127.0.0.1", 8554)),
        lookup=names,
        here=here,
        clock=clock,
    )
    yield made
    made.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def problem(addresses: CameraAddresses, host: str, port: int = 554) -> CameraProblem | None:
    try:
        await addresses.resolve(host, port)
    except UnreadableCameraError as error:
        return error.problem
    return None


async def test_every_answer_is_checked(addresses: CameraAddresses, names: Names) -> None:
    found = await addresses.resolve("two", 554)
    assert [str(address) for address in found] == ["10.0.0.5", "fd00::5"]
    assert await problem(addresses, "cam") is None
    for host in ("mixed", "scoped", "0x7f.1", "127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert await problem(addresses, host) is CameraProblem.NOT_ALLOWED, host
    assert await problem(addresses, "unknown") is CameraProblem.DNS
    assert await problem(addresses, "none") is CameraProblem.DNS
    # An address in its usual notation asks nobody.
    assert "127.0.0.1" not in names.queries


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost.", "a.localhost", "x.y.LocalHost."]
)
async def test_localhost_is_this_machine_whatever_a_resolver_says(
    addresses: CameraAddresses, names: Names, host: str
) -> None:
    names.known[host] = ["10.0.0.5"]
    assert await problem(addresses, host) is CameraProblem.NOT_ALLOWED
    assert host not in names.queries


async def test_a_name_is_looked_up_each_time(addresses: CameraAddresses, names: Names) -> None:
    assert await problem(addresses, "cam") is None
    names.known["cam"] = ["169.254.169.254"]
    assert await problem(addresses, "cam") is CameraProblem.NOT_ALLOWED


async def test_services_are_refused_where_they_are_now_and_where_they_were_last_seen(
    addresses: CameraAddresses, names: Names, clock: ManualClock
) -> None:
    assert await problem(addresses, "10.0.0.9", 6379) is CameraProblem.NOT_ALLOWED
    # Nor is anything else on that machine a camera, without an entry of its own.
    assert await problem(addresses, "10.0.0.9", 554) is CameraProblem.NOT_ALLOWED
    assert await problem(addresses, LAN, 554) is CameraProblem.NOT_ALLOWED
    names.known["redis"] = ["10.0.0.10"]
    await refreshed(addresses, clock)
    assert await problem(addresses, "10.0.0.10", 6379) is CameraProblem.NOT_ALLOWED
    assert await problem(addresses, "10.0.0.9", 6379) is None
    del names.known["redis"]
    await refreshed(addresses, clock)
    assert await problem(addresses, "10.0.0.10", 6379) is CameraProblem.NOT_ALLOWED


async def refreshed(addresses: CameraAddresses, clock: ManualClock) -> None:
    """Our own services are refreshed in the background, without delaying a look-up."""
    clock.advance(OWN_REFRESH_S)
    await problem(addresses, "10.0.0.77")
    assert addresses._refreshing is not None
    await addresses._refreshing


async def test_a_service_that_never_resolved_is_blocked_everywhere(
    addresses: CameraAddresses, names: Names, clock: ManualClock
) -> None:
    del names.known["redis"]
    assert await problem(addresses, "10.0.0.9", 6379) is CameraProblem.NOT_ALLOWED
    assert await problem(addresses, "10.7.7.7", 6379) is CameraProblem.NOT_ALLOWED
    assert await problem(addresses, "8.8.8.8", 6379) is None
    assert await problem(addresses, "10.7.7.7", 554) is None
    names.known["redis"] = ["10.0.0.9"]
    await refreshed(addresses, clock)
    assert await problem(addresses, "10.7.7.7", 6379) is None


async def test_slow_names_delay_their_own_tenant_only(clock: ManualClock) -> None:
    let_go = threading.Event()

    def lookup(host: str) -> list[str]:
        if host.startswith("slow"):
            let_go.wait(10)
        return ["10.0.0.5"]

    addresses = CameraAddresses(
        AddressPolicy.parse(("private",)), (), lookup=lookup, here=here, clock=clock
    )
    slow = [
        asyncio.create_task(addresses.resolve(f"slow{n}", 554, "acme"))
        for n in range(3 * MAX_LOOKUPS_PER_TENANT)
    ]
    await asyncio.sleep(0)
    assert await addresses.resolve("cam", 554, "globex")
    assert not any(task.done() for task in slow)
    let_go.set()
    assert len(await asyncio.gather(*slow)) == 3 * MAX_LOOKUPS_PER_TENANT
    addresses.close()


def test_every_service_that_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://s3.example:9000")
    settings = Settings(
        gateway=GatewaySettings(managed=False, api_url="http://gw:1984", rtsp_url="rtsp://gw:8554"),
        redis=RedisSettings(url=SecretStr("redis://:pw@valkey/0")),
        database=DatabaseSettings(url=SecretStr("postgresql+psycopg://u:p@pg/atalaia")),
    )
    found = set(own_services(settings))
    assert found >= {
        ServiceAddress("127.0.0.1", 7880),
        ServiceAddress("gw", 1984),
        ServiceAddress("gw", 8554),
        ServiceAddress("127.0.0.1", 8655),
        ServiceAddress("valkey", 6379),
        ServiceAddress("pg", 5432),
        ServiceAddress("s3.example", 9000),
        ServiceAddress("127.0.0.1", 8000),
        ServiceAddress("127.0.0.1", 8265),
        ServiceAddress("127.0.0.1", 10_001),
    }
    cluster = settings.ray.model_copy(update={"address": "ray-head:6379"})
    found = set(own_services(settings.model_copy(update={"ray": cluster})))
    assert {ServiceAddress("ray-head", p) for p in (6379, 8265, 10_001)} <= found
