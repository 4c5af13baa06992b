"""Which addresses a camera may have: one pure rule, asked before every connection.

A tenant types the address of a camera, so every address is an attacker's until it was checked. An
address and port may be a camera's when all of this holds:

1. No service of Atalaia listens there.
2. No entry of `gateway.deny` matches.
3. An entry of `gateway.allow` matches. `private` and `public` mean ordinary networks. Addresses
   that lead back into this machine, or to no single host (loopback, link-local, multicast,
   unspecified, reserved), match neither word: only an entry that names a network inside that range
   opens them, so that `0.0.0.0/0` does not. A machine of Atalaia's own needs an entry for just that
   address.

IPv6 addresses that stand for an IPv4 address (mapped, NAT64) are judged as that; those that carry
one (6to4, Teredo) must be permitted as both.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressKind(StrEnum):
    """What an address leads to, by the special-purpose registries of IANA (RFC 6890)."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    OTHER = "other"
    """Multicast, unspecified, broadcast, documentation, benchmarking and other reserved ranges."""


WIDEST_SPECIAL = 8
"""Bits of the prefix of the widest ranges that are all of one special kind, such as 127.0.0.0/8 and
ff00::/8. In a narrower one, both ends are of one kind only if all of it is."""
ORDINARY = frozenset({AddressKind.PUBLIC, AddressKind.PRIVATE})

# RFC 1918, RFC 6598 (carriers and some site-to-site networks) and RFC 4193.
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
# RFC 6052, RFC 8215 and RFC 2765: the last 32 bits are an IPv4 address, and nothing else counts.
_TRANSLATED = tuple(
    ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/96", "::ffff:0:0:0/96")
)
# Where clouds tell a machine its secrets, outside of the link-local range (Alibaba, Azure, AWS).
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254")
)
# The only range that IANA has given out to hosts of the Internet.
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")


def kind_of(address: IpAddress) -> AddressKind:
    """The kind of `address` as written; `interpretations` covers addresses embedded in it."""
    if address in _METADATA:
        return AddressKind.OTHER
    if address.is_loopback:
        return AddressKind.LOOPBACK
    if address.is_link_local:
        return AddressKind.LINK_LOCAL
    if any(address in network for network in _PRIVATE if network.version == address.version):
        return AddressKind.PRIVATE
    if address.is_multicast or not address.is_global:
        return AddressKind.OTHER
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_IPV6:
        return AddressKind.OTHER
    return AddressKind.PUBLIC


def interpretations(address: IpAddress) -> tuple[IpAddress, ...]:
    """`address`, and the IPv4 addresses that a network could take it for.

    An address that is only a way to write an IPv4 address (mapped, translated) is read as that.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if any(address in network for network in _TRANSLATED):
        return (ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF),)
    carried = [address.sixtofour, *(address.teredo or ())]
    return (address, *(ipv4 for ipv4 in carried if ipv4 is not None))


@dataclass(frozen=True, slots=True)
class AddressRule:
    """One entry of `gateway.allow` or `gateway.deny`.

    Attributes:
        kind: `private` or `public`; None where networks are named.
        network: None where a kind is named.
        ports: first and last; None for all.
    """

    kind: AddressKind | None
    network: IpNetwork | None
    ports: tuple[int, int] | None

    def matches(self, address: IpAddress, port: int) -> bool:
        """Whether the entry speaks of `address` and `port`, whatever kind of address it is."""
        if self.ports is not None and not self.ports[0] <= port <= self.ports[1]:
            return False
        if self.network is None:
            return kind_of(address) is self.kind
        return address.version == self.network.version and address in self.network

    def names_only(self, kind: AddressKind) -> bool:
        """Whether the entry's whole network is of that kind, so that it was meant."""
        if self.network is None or self.network.prefixlen < WIDEST_SPECIAL:
            return False
        ends = (self.network.network_address, self.network.broadcast_address)
        return all(kind_of(end) is kind for end in ends)

    @property
    def single(self) -> bool:
        return self.network is not None and self.network.num_addresses == 1


_RULE = re.compile(
    r"(?P<where>\[[0-9A-Fa-f:.]+(?:/\d{1,3})?\]|[0-9.]+(?:/\d{1,2})?|[a-z]+)"
    r"(?::(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?)?"
)
_BARE_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:/\d{1,3})?")


def parse_rule(text: str) -> AddressRule:
    """An entry as it stands in the settings: `private`, `10.0.0.0/8`, `127.0.0.1:8554`,
    `192.0.2.0/24:554-8554`, `[fd00::/8]:554`.

    Raises:
        ValueError: it is none; says what is allowed.
    """
    if _BARE_IPV6.fullmatch(text):
        text = f"[{text}]"
    found = _RULE.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is no entry: write private, public, 10.0.0.0/8, 10.0.0.5:554-8554 "
            "or [fd00::/8]:554"
        )
    where, ports = found["where"], _ports(found["first"], found["last"])
    if where in (AddressKind.PRIVATE, AddressKind.PUBLIC):
        return AddressRule(AddressKind(where), None, ports)
    try:
        network = ipaddress.ip_network(where.strip("[]"))
    except ValueError as error:
        raise ValueError(f"{text!r} is no entry: {error}") from None
    return AddressRule(None, network, ports)


def _ports(first: str | None, last: str | None) -> tuple[int, int] | None:
    if first is None:
        return None
    bounds = int(first), int(last or first)
    if not 1 <= bounds[0] <= bounds[1] <= 65_535:
        raise ValueError(f"{first}-{last or first} are no ports: use 1 to 65535, smaller first")
    return bounds


@dataclass(frozen=True, slots=True)
class OwnServices:
    """Where Atalaia itself listens, resolved.

    Attributes:
        ports: addresses and ports of services.
        hosts: addresses of this machine, and of those that services run on.
        lost_ports: of services whose addresses are not known now: they may be at any address but
            a public one.
    """

    ports: frozenset[tuple[IpAddress, int]] = frozenset()
    hosts: frozenset[IpAddress] = frozenset()
    unresolved_ports: frozenset[int] = frozenset()

    def listen(self, address: IpAddress, port: int) -> bool:
        """Whether a service of ours is behind that address, which may be another of its host's."""
        if (address, port) in self.ports:
            return True
        if port in self.unresolved_ports and kind_of(address) is not AddressKind.PUBLIC:
            return True
        here = address.is_loopback or address in self.hosts
        return here and any(
            port == own and (host.is_loopback or host.is_unspecified or host in self.hosts)
            for host, own in self.ports
        )


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """`gateway.allow` and `gateway.deny`. See the module for the rule."""

    allow: tuple[AddressRule, ...]
    deny: tuple[AddressRule, ...] = ()

    @classmethod
    def parse(cls, allow: Iterable[str], deny: Iterable[str] = ()) -> AddressPolicy:
        """Raises ValueError where an entry is none."""
        return cls(tuple(map(parse_rule, allow)), tuple(map(parse_rule, deny)))

    def permits(self, address: IpAddress, port: int, own: OwnServices) -> bool:
        """Whether a camera may be at `address` and `port`."""
        return all(
            self._permits(interpretation, port, own) for interpretation in interpretations(address)
        )

    def _permits(self, address: IpAddress, port: int, own: OwnServices) -> bool:
        if own.listen(address, port):
            return False
        if any(rule.matches(address, port) for rule in self.deny):
            return False
        matching = [rule for rule in self.allow if rule.matches(address, port)]
        kind = kind_of(address)
        if kind not in ORDINARY:
            return any(rule.names_only(kind) for rule in matching)
        if address in own.hosts:
            return any(rule.single for rule in matching)
        return bool(matching)
