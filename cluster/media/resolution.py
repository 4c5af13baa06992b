"""Resolves a camera's host to checked addresses. The only place that performs DNS look-ups.

Connections to cameras use an address from here, never a name, so that no second look-up happens
between the check and the connection.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil

from cluster.core.addresses import AddressPolicy, IpAddress, OwnServices
from cluster.core.log import get_logger
from cluster.core.settings import Settings
from cluster.media.errors import CameraProblem, UnreadableCameraError
from pipelines.clock import Clock, SystemClock

log = get_logger("media.resolution")

LOOKUP_TIMEOUT_S = 5.0
"""glibc's default time-out per name server (resolv.conf(5))."""
OWN_REFRESH_S = 60.0
"""Services rarely move; within this time a moved one is still blocked at its old address."""
UNRESOLVED_REFRESH_S = 1.0
"""The same while a service is unresolved and its port is blocked at every private address."""
BROWSER_PORTS = frozenset({80, 443})
"""Public URLs may not resolve inside the cluster, and cameras use these ports too, so they are not
blocked while unresolved."""
THREADS = 16
"""Concurrent look-ups of camera hosts: MAX_LOOKUPS_PER_TENANT for four tenants."""
OWN_THREADS = 4
"""Concurrent look-ups of our own services, of which there are about ten."""
MAX_LOOKUPS_PER_TENANT = 4
"""So that slow name servers delay only the cameras of their own tenant."""

RAY_CLIENT_PORT = 10_001
"""Ray's default for its client server."""
_DEFAULT_PORTS = {
    "ws": 80, "http": 80, "wss": 443, "https": 443, "rtsp": 554, "redis": 6379, "rediss": 6379,
}  # fmt: skip
# Environment variables that point S3 clients to another server (see docs/operations.md).
_S3_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

Lookup = Callable[[str], list[str]]
"""Blocking: a host's addresses as text; raises OSError if the name is unknown."""


class ServiceAddress(NamedTuple):
    """Where one of Atalaia's services listens: the host from the settings, and a TCP port."""

    host: str
    port: int


def own_services(settings: Settings) -> tuple[ServiceAddress, ...]:
    """Every service in the settings, whoever runs it."""
    urls = [
        settings.livekit.url,
        settings.livekit.public_url,
        settings.gateway_api_url,
        settings.gateway.rtsp_url,
        settings.gateway.relay_url,
        settings.redis_url,
        settings.qdrant.url,
        settings.api.url,
        *(os.environ.get(name) for name in _S3_VARIABLES),
    ]
    found = [service for url in urls if url for service in _of_url(url)]
    found.append(ServiceAddress(settings.api.host, settings.api.port))
    if settings.database.url is not None:
        # Here, because whoever keeps its records in a file needs none of it: half a second.
        from sqlalchemy.engine import make_url

        logins = (
            settings.database.url,
            settings.database.tenant_url,
            settings.database.migration_url,
        )
        for url in (login.get_secret_value() for login in logins if login is not None):
            database = make_url(url)
            if database.host:
                found.append(ServiceAddress(database.host, database.port or 5432))
    ray_host, _, ray_port = (settings.ray.address or "").rpartition(":")
    if ray_port.isdecimal():
        ray_host = ray_host.rpartition("/")[2] or "127.0.0.1"
        found.append(ServiceAddress(ray_host, int(ray_port)))
    ray_host = ray_host or "127.0.0.1"
    found += [ServiceAddress(ray_host, p) for p in (settings.ray.dashboard_port, RAY_CLIENT_PORT)]
    return tuple(dict.fromkeys(found))


def _of_url(url: str) -> list[ServiceAddress]:
    parts = urlsplit(url)
    port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    return [ServiceAddress(parts.hostname, port)] if parts.hostname and port else []


_OLD_NOTATION = re.compile(r"(?:0[xX][0-9a-fA-F]+|\d+)(?:\.(?:0[xX][0-9a-fA-F]+|\d+)){0,3}")
LOCALHOST: tuple[IpAddress, ...] = (
    ipaddress.IPv4Address("127.0.0.1"),
    ipaddress.IPv6Address("::1"),
)


def _release(done: asyncio.Future[list[str]], slot: asyncio.Semaphore) -> None:
    slot.release()
    if not done.cancelled():
        done.exception()  # retrieved, in case no one awaits it any more


def is_localhost(host: str) -> bool:
    """Whether a name means this machine, regardless of the resolver (RFC 6761, 6.3)."""
    name = host.lower().rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def system_lookup(host: str) -> list[str]:
    """Resolve with this machine's resolver, in its order of preference. Raises OSError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def machine_addresses() -> frozenset[IpAddress]:
    """Addresses of this machine's network interfaces."""
    families = (socket.AF_INET, socket.AF_INET6)
    return frozenset(
        ipaddress.ip_address(entry.address.partition("%")[0])
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in families
    )


class CameraAddresses:
    """Resolves hosts and returns only addresses that the policy permits. Close it with `close`.

    Args:
        services: Atalaia's own services, which are never permitted.
        lookup: blocking; resolves a host.
        here: returns this machine's addresses.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        services: Iterable[ServiceAddress],
        *,
        lookup: Lookup = system_lookup,
        here: Callable[[], frozenset[IpAddress]] = machine_addresses,
        clock: Clock | None = None,
    ) -> None:
        self._policy = policy
        self._services = tuple(services)
        self._lookup = lookup
        self._local_addresses = here
        self._clock = clock or SystemClock()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="lookup")
        self._slots: dict[str, asyncio.Semaphore] = {}
        self._own_threads = ThreadPoolExecutor(OWN_THREADS, thread_name_prefix="own lookup")
        self._own_services: OwnServices | None = None
        self._own_due_s = float("-inf")
        self._refreshing: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, settings: Settings) -> CameraAddresses:
        return cls(settings.gateway.policy, own_services(settings))

    async def resolve(self, host: str, port: int, tenant: str = "") -> tuple[IpAddress, ...]:
        """All addresses of a camera's host, every one of them permitted.

        Args:
            host: a name, or an address in any notation that the resolver understands.
            tenant: whose camera it is; look-ups of one tenant share a limit.

        Raises:
            UnreadableCameraError: NOT_ALLOWED if any address is not permitted, whatever listens
                there; DNS if the name is unknown; TIMEOUT if no name server answers in time.
        """
        addresses = await self._addresses(host, tenant)
        own = await self._own()
        if not all(self._policy.permits(address, port, own) for address in addresses):
            raise UnreadableCameraError(CameraProblem.NOT_ALLOWED)
        return addresses

    def close(self) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._own_threads.shutdown(wait=False, cancel_futures=True)

    async def _addresses(self, host: str, tenant: str) -> tuple[IpAddress, ...]:
        try:
            return (ipaddress.ip_address(host),)
        except ValueError:
            pass  # a name, or an address written in another way
        if _OLD_NOTATION.fullmatch(host):
            try:
                # `127.1`, `0x7f.1`, `2130706433`: these need no look-up.
                return (ipaddress.IPv4Address(socket.inet_aton(host)),)
            except OSError:
                pass  # the resolver decides
        if is_localhost(host):
            return LOCALHOST
        slot = self._slots.setdefault(tenant, asyncio.Semaphore(MAX_LOOKUPS_PER_TENANT))
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                await slot.acquire()
                found = await self._look_up(host, slot, self._threads)
        except TimeoutError:
            raise UnreadableCameraError(CameraProblem.TIMEOUT, "the name server") from None
        except (OSError, UnicodeError) as error:
            raise UnreadableCameraError(CameraProblem.DNS, str(error)) from error
        if not found:
            raise UnreadableCameraError(CameraProblem.DNS, "no address")
        return found

    async def _look_up(
        self, host: str, slot: asyncio.Semaphore, threads: ThreadPoolExecutor
    ) -> tuple[IpAddress, ...]:
        """`slot` is released when the thread is done, which may be long after the time-out."""
        lookup = asyncio.get_running_loop().run_in_executor(threads, self._lookup, host)
        lookup.add_done_callback(lambda done: _release(done, slot))
        texts = await asyncio.shield(lookup)
        # A scope such as `fe80::1%eth0` says which interface, not which address.
        return tuple(ipaddress.ip_address(text.partition("%")[0]) for text in texts)

    async def _own(self) -> OwnServices:
        """Our own services as last resolved; starts a refresh in the background when due."""
        if self._clock.monotonic() >= self._own_due_s and (
            self._refreshing is None or self._refreshing.done()
        ):
            self._refreshing = asyncio.create_task(self._refresh_own(), name="own services")
        if self._own_services is None:
            assert self._refreshing is not None
            await asyncio.shield(self._refreshing)
        return self._own_services or OwnServices()

    async def _refresh_own(self) -> None:
        found = await asyncio.gather(*map(self._own_addresses, self._services))
        current: set[tuple[IpAddress, int]] = set()
        unresolved: set[int] = set()
        before = self._own_services.ports if self._own_services else frozenset()
        for service, addresses in zip(self._services, found, strict=True):
            current |= {(address, service.port) for address in addresses}
            if not addresses:
                # It stays blocked at its last known address; without one, at every private address.
                seen = {pair for pair in before if pair[1] == service.port}
                current |= seen
                if not seen and service.port not in BROWSER_PORTS:
                    unresolved.add(service.port)
        remote = {address for address, _ in current if not address.is_unspecified}
        self._own_services = OwnServices(
            frozenset(current), frozenset(self._local_addresses() | remote), frozenset(unresolved)
        )
        again_s = UNRESOLVED_REFRESH_S if unresolved else OWN_REFRESH_S
        self._own_due_s = self._clock.monotonic() + again_s

    async def _own_addresses(self, service: ServiceAddress) -> tuple[IpAddress, ...]:
        """Empty if the name is unknown. Uses threads that no tenant's look-ups occupy."""
        try:
            return (ipaddress.ip_address(service.host),)
        except ValueError:
            pass  # a name
        if is_localhost(service.host):
            return LOCALHOST
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                slot = asyncio.Semaphore(0)
                return await self._look_up(service.host, slot, self._own_threads)
        except (TimeoutError, OSError, UnicodeError) as error:
            log.debug("service not resolved", host=service.host, error=repr(error))
            return ()
