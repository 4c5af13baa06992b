"""The ports that the local stack needs: checked before anything starts, all of them at once."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import psutil

from pipelines.errors import ConfigError


class PortTakenError(ConfigError):
    code = "port-taken"


@dataclass(frozen=True, slots=True)
class PortNeed:
    """A port that something of ours will listen on.

    Attributes:
        purpose: what for, in a word or two.
        move: environment variable that moves it, with `{port}` where a free port goes.
    """

    purpose: str
    host: str
    port: int
    move: str
    kind: Literal["tcp", "udp"] = "tcp"


def split_address(url: str, default_port: int) -> tuple[str, int]:
    """Host and port of a URL. Raises ConfigError where it has no host or a wrong port."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError(f"{url!r} is no URL with a host.", hint="Write scheme://host:port.")
    return host, port or default_port


def is_free(host: str, port: int, kind: Literal["tcp", "udp"] = "tcp") -> bool:
    """Whether one could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as probe:
        if kind == "tcp":  # connections that wait for their end after a restart do not count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(kind: Literal["tcp", "udp"] = "tcp") -> int:
    """A port on loopback that nobody uses at this moment."""
    with socket.socket(
        socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    ) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def holder(need: PortNeed) -> str:
    """Who listens there, as far as this user may know."""
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
    """Those of `needs` on which nobody could listen now."""
    return [need for need in needs if not is_free(need.host, need.port, need.kind)]


def remedy_for(need: PortNeed) -> str:
    return f"Stop it, or set {need.move.format(port=free_port(need.kind))}"


def check_ports(needs: Iterable[PortNeed]) -> None:
    """Raises PortTakenError naming every port that is taken, by whom, and how to move ours."""
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
