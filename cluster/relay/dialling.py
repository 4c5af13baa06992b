"""Connections to cameras: resolve the host, check the addresses, connect to a checked address."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import ssl

from cluster.media.errors import CameraProblem, UnreadableCameraError, problem_of_errno
from cluster.media.resolution import CameraAddresses
from cluster.media.target import Target
from cluster.relay.refusals import Account, Refusals

DIAL_TIMEOUT_S = 5.0
"""For all addresses of a host together; the gateways allow a camera the same."""
MAX_ADDRESSES = 4
"""Addresses tried per host; a camera has one or two."""

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@functools.cache
def tls_context(*, verified: bool) -> ssl.SSLContext:
    """The TLS client context. Cameras addressed by name must present a valid certificate. Cameras
    addressed by IP have self-signed ones: there TLS prevents eavesdropping, not impersonation."""
    context = ssl.create_default_context()
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def is_address(host: str) -> bool:
    """Whether `host` is an IP address in its usual notation."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


async def dial(target: Target, addresses: CameraAddresses, *, limit: int) -> Connection:
    """Connect to a camera.

    Args:
        limit: bytes that the reader buffers before it applies back-pressure to the camera.

    Raises:
        UnreadableCameraError: with the cause; NOT_ALLOWED is raised before anything is sent.
    """
    url = target.url
    found = await addresses.resolve(url.host, url.effective_port, target.tenant)
    context = None
    if url.scheme in ("rtsps", "rtmps", "https"):
        context = tls_context(verified=not is_address(url.host))
    try:
        async with asyncio.timeout(DIAL_TIMEOUT_S):
            return await _first(
                [str(address) for address in found[:MAX_ADDRESSES]],
                url.effective_port,
                context,
                url.host,
                limit,
            )
    except TimeoutError:
        raise UnreadableCameraError(CameraProblem.TIMEOUT, "connecting") from None
    except ssl.SSLError as error:
        raise UnreadableCameraError(CameraProblem.TLS, str(error)) from error
    except OSError as error:
        raise UnreadableCameraError(problem_of_errno(error), str(error.strerror)) from error


async def dial_when_due(
    target: Target,
    addresses: CameraAddresses,
    refusals: Refusals,
    checked: Account | None,
    *,
    limit: int,
) -> tuple[Connection, Account]:
    """Connect to a camera, unless its account was refused a short time ago.

    Args:
        checked: the account of the connection before, in the same try; None: this is the first one.
        limit: as of `dial`.

    Raises:
        UnreadableCameraError: as `dial` and `Refusals.require_due`.
    """
    if not target.led and Account.of(target) != checked:
        refusals.require_due(Account.of(target))
    reader, writer = await dial(target, addresses, limit=limit)
    account = Account.of(target, _peer(writer))
    try:
        if target.led and account != checked:
            refusals.require_due(account)
    except UnreadableCameraError:
        writer.transport.abort()
        raise
    if checked is not None and account != checked:
        refusals.untried(checked)
    return (reader, writer), account


def _peer(writer: asyncio.StreamWriter) -> str:
    """Address and port of the other end; empty where the connection is lost already."""
    found = writer.get_extra_info("peername")
    return f"{found[0]} {found[1]}" if found else ""


async def _first(
    hosts: list[str], port: int, context: ssl.SSLContext | None, name: str, limit: int
) -> Connection:
    """Connect to the first address that accepts; if none does, raise the last one's error."""
    server_name = name if context is not None else None
    for host in hosts[:-1]:
        try:
            return await asyncio.open_connection(
                host, port, ssl=context, server_hostname=server_name, limit=limit
            )
        except ssl.SSLError:
            raise
        except OSError:
            continue
    return await asyncio.open_connection(
        hosts[-1], port, ssl=context, server_hostname=server_name, limit=limit
    )
