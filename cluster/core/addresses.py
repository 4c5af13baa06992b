"""Which addresses a camera may have: one pure policy, checked before every connection.

Tenants enter camera addresses, so every address is untrusted until it is checked. An address and
port are permitted for a camera if all of these hold:

1. None of Atalaia's services listens there.
2. No entry of `gateway.deny` matches.
3. An entry of `gateway.allow` matches. `private` and `public` mean ordinary networks. Addresses
   that lead to this machine or to no single host (loopback, link-local, multicast, unspecified,
   reserved) match neither. They are permitted only by an entry that names a network inside the
   special range, so `0.0.0.0/0` does not permit them. One of Atalaia's own machines needs an entry
   for exactly its address.

IPv6 addresses that represent an IPv4 address (mapped, NAT64) are checked as that address; those
that embed one (6to4, Teredo) must be permitted as both.
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
    """Kind of an address, by IANA's special-purpose registries (RFC 6890)."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    OTHER = "other"
    """Multicast, unspecified, broadcast, documentation, benchmarking and other reserved ranges."""


WIDEST_SPECIAL = 8
"""Prefix length of the widest ranges of a single special kind, such as 127.0.0.0/8 and ff00::/8. In
a narrower network, both ends have the same kind only if all of it has."""
ORDINARY = frozenset({AddressKind.PUBLIC, AddressKind.PRIVATE})

# RFC 1918, RFC 6598 (carriers and some site-to-site networks) and RFC 4193.
_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
# RFC 6052, RFC 8215 and RFC 2765: only the last 32 bits matter, which are an IPv4 address.
_TRANSLATED = tuple(
    ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/96", "::ffff:0:0:0/96")
)
# Metadata services of clouds outside the link-local range (Alibaba, Azure, AWS).
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254")
)
# The only range that IANA has allocated for global unicast.
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
    """`address` and the IPv4 addresses embedded in it, all of which must be permitted.

    An address that merely represents an IPv4 address (mapped, translated) yields only that.
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
        kind: `private` or `public`; None for an entry with a network.
        network: None for an entry with a kind.
        ports: first and last; None for all.
    """

    kind: AddressKind | None
    network: IpNetwork | None
    ports: tuple[int, int] | None

    def matches(self, address: IpAddress, port: int) -> bool:
        """Whether the entry matches `address` and `port`, regardless of special ranges."""
        if self.ports is not None and not self.ports[0] <= port <= self.ports[1]:
            return False
        if self.network is None:
            return kind_of(address) is self.kind
        return address.version == self.network.version and address in self.network

    def names_only(self, kind: AddressKind) -> bool:
        """Whether the entry's whole network has that kind, so that the match is intentional."""
        if self.network is None or self.network.prefixlen < WIDEST_SPECIAL:
            return False
        ends = (self.network.network_address, self.network.broadcast_address)
        return all(kind_of(end) is kind for end in ends)

    @property
    def single(self) -> bool:
        """Whether the entry names exactly one address."""
        return self.network is not None and self.network.num_addresses == 1


_RULE = re.compile(
    r"(?P<where>\[[0-9A-Fa-f:.]+(?:/\d{1,3})?\]|[0-9.]+(?:/\d{1,2})?|[a-z]+)"
    r"(?::(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?)?"
)
_BARE_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:/\d{1,3})?")


def parse_rule(text: str) -> AddressRule:
    """Parse an entry of the settings: `private`, `10.0.0.0/8`, `127.0.0.1:8554`,
    `192.0.2.0/24:554-8554`, `[fd00::/8]:554`.

    Raises:
        ValueError: it is malformed; the message has what is allowed.
    """
    if _BARE_IPV6.fullmatch(text):
        text = f"[{text}]"
    found = _RULE.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is not a valid entry: use private, public, 10.0.0.0/8, 10.0.0.5:554-8554 "
            "or [fd00::/8]:554"
        )
    where, ports = found["where"], _ports(found["first"], found["last"])
    if where in (AddressKind.PRIVATE, AddressKind.PUBLIC):
        return AddressRule(AddressKind(where), None, ports)
    try:
        network = ipaddress.ip_network(where.strip("[]"))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a valid entry: {error}") from None
    return AddressRule(None, network, ports)


def _ports(first: str | None, last: str | None) -> tuple[int, int] | None:
    if first is None:
        return None
    bounds = int(first), int(last or first)
    if not 1 <= bounds[0] <= bounds[1] <= 65_535:
        raise ValueError(
            f"{first}-{last or first} are not valid ports: use 1 to 65535, the smaller first"
        )
    return bounds


@dataclass(frozen=True, slots=True)
class OwnServices:
    """The resolved addresses of Atalaia's own services.

    Attributes:
        ports: addresses and ports of services.
        hosts: addresses of this machine, and of the machines that services run on.
        unresolved_ports: of services that cannot be resolved now; they may be at any address that
            is not public.
    """

    ports: frozenset[tuple[IpAddress, int]] = frozenset()
    hosts: frozenset[IpAddress] = frozenset()
    unresolved_ports: frozenset[int] = frozenset()

    def listen(self, address: IpAddress, port: int) -> bool:
        """Whether one of our services listens there, also via another address of its host."""
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
    """`gateway.allow` and `gateway.deny`; see the module for the rules."""

    allow: tuple[AddressRule, ...]
    deny: tuple[AddressRule, ...] = ()

    @classmethod
    def parse(cls, allow: Iterable[str], deny: Iterable[str] = ()) -> AddressPolicy:
        """Parse the entries of the settings.

        Raises:
            ValueError: an entry is malformed.
        """
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
