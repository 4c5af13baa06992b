"""The ports of the local stack, all checked before anything starts."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import psutil

from pipelines.errors import ConfigError


class PortTakenError(ConfigError):
    """A port that Atalaia needs is in use."""

    code = "port-taken"


@dataclass(frozen=True, slots=True)
class PortNeed:
    """A port that one of our servers will listen on.

    Attributes:
        purpose: a word or two for messages.
        move: assignment to the environment variable that changes it, with the placeholder `{port}`.
    """

    purpose: str
    host: str
    port: int
    move: str
    kind: Literal["tcp", "udp"] = "tcp"


def split_address(url: str, default_port: int) -> tuple[str, int]:
    """Host and port of a URL.

    Raises:
        ConfigError: it has no host, or an invalid port.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError(f"{url!r} is not a URL with a host.", hint="Use scheme://host:port.")
    return host, port or default_port


def is_free(host: str, port: int, kind: Literal["tcp", "udp"] = "tcp") -> bool:
    """Whether the address can be bound now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as probe:
        if kind == "tcp":  # connections in TIME_WAIT after a restart do not count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(kind: Literal["tcp", "udp"] = "tcp") -> int:
    """A port on loopback that is free at this moment."""
    with socket.socket(
        socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    ) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def holder(need: PortNeed) -> str:
    """The process that listens there, if this user may see it."""
    try:
        connections = psutil.net_connections(kind=need.kind)
    except psutil.AccessDenied:
        return "another program"
    for connection in connections:
        listening = need.kind == "udp" or connection.status == psutil.CONN_LISTEN
        if connection.laddr and connection.laddr.port == need.port and listening and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
            except psutil.NoSuchProcess:
                continue
    return "another program"


def taken(needs: Iterable[PortNeed]) -> list[PortNeed]:
    """Those of `needs` that cannot be bound now."""
    return [need for need in needs if not is_free(need.host, need.port, need.kind)]


def remedy_for(need: PortNeed) -> str:
    """How to resolve the conflict on a port that is taken."""
    return f"Stop it, or set {need.move.format(port=free_port(need.kind))}"


def check_ports(needs: Iterable[PortNeed]) -> None:
    """Check that every port is free and used only once.

    Raises:
        PortTakenError: names every conflict, the process involved, and how to move our port.
    """
    needs = list(needs)
    seen: dict[tuple[int, str], PortNeed] = {}
    lines = []
    for need in needs:
        other = seen.setdefault((need.port, need.kind), need)
        if other is not need:
            lines.append(
                f"port {need.port} is set for {other.purpose} and for {need.purpose}. "
                f"Set {need.move.format(port=free_port(need.kind))}"
            )
    lines += [
        f"port {need.port}/{need.kind} for {need.purpose} is taken by {holder(need)}. "
        + remedy_for(need)
        for need in taken(needs)
    ]
    if lines:
        raise PortTakenError("cannot listen where the settings say:\n  " + "\n  ".join(lines))
