"""Which addresses cameras may have: a table of cases, and what holds for all of them."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core.addresses import (
    AddressKind,
    AddressPolicy,
    OwnServices,
    interpretations,
    kind_of,
    parse_rule,
)

DEFAULT = AddressPolicy.parse(("private", "public"))
NOTHING = OwnServices()


def permits(policy: AddressPolicy, address: str, port: int = 554, own: Any = NOTHING) -> bool:
    return policy.permits(ipaddress.ip_address(address), port, own)


@pytest.mark.parametrize(
    ("address", "permitted"),
    [
        ("10.0.0.5", True),
        ("172.16.0.1", True),
        ("172.31.255.254", True),
        ("192.168.1.64", True),
        ("100.64.1.1", True),
        ("8.8.8.8", True),
        ("fd12:3456::1", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("127.255.255.254", False),
        ("::1", False),
        ("0.0.0.0", False),
        ("0.1.2.3", False),
        ("::", False),
        ("169.254.169.254", False),
        ("fe80::1", False),
        ("224.0.0.1", False),
        ("239.255.255.250", False),
        ("ff02::1", False),
        ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("2001:db8::1", False),
        ("fec0::1", False),
        # IPv4 in the clothes of IPv6.
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.5", True),
        ("::ffff:169.254.169.254", False),
        ("::127.0.0.1", False),
        ("::ffff:0:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a00:5", True),
        ("64:ff9b:1::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("2002:808:808::", True),
        ("2001:0:808:808::80ff:fffe", False),  # Teredo of a client at 127.0.0.1
    ],
)
def test_the_default_opens_ordinary_networks_only(address: str, permitted: bool) -> None:
    assert permits(DEFAULT, address) is permitted


def test_an_entry_opens_what_it_names() -> None:
    policy = AddressPolicy.parse(("10.0.0.0/8:554-8554", "127.0.0.1:8661", "[fd00::/8]:554"))
    assert permits(policy, "10.1.2.3", 554)
    assert permits(policy, "10.1.2.3", 8554)
    assert not permits(policy, "10.1.2.3", 80)
    assert not permits(policy, "192.168.0.1", 554)
    assert not permits(policy, "8.8.8.8", 554)
    assert permits(policy, "127.0.0.1", 8661)
    assert permits(policy, "::ffff:127.0.0.1", 8661)
    assert not permits(policy, "127.0.0.2", 8661)
    assert not permits(policy, "127.0.0.1", 8662)
    assert permits(policy, "fd00::1", 554)
    assert not permits(policy, "fd00::1", 555)


@pytest.mark.parametrize("wide", ["0.0.0.0/0", "0.0.0.0/1", "126.0.0.0/7", "::/0"])
def test_a_wide_entry_does_not_open_this_machine(wide: str) -> None:
    policy = AddressPolicy.parse((wide,))
    for address in ("127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1"):
        assert not permits(policy, address)


def test_deny_wins_over_allow() -> None:
    policy = AddressPolicy.parse(("private", "10.9.0.5"), ("10.9.0.0/16", "public:80"))
    assert permits(policy, "10.8.0.5")
    assert not permits(policy, "10.9.0.5")
    assert not permits(policy, "::ffff:10.9.0.5")


def test_our_own_services_are_never_permitted() -> None:
    redis, lan, any_address = (
        ipaddress.ip_address(text) for text in ("10.0.0.9", "192.168.1.5", "0.0.0.0")
    )
    own = OwnServices(
        ports=frozenset(
            {(redis, 6379), (ipaddress.ip_address("127.0.0.1"), 8554), (any_address, 8000)}
        ),
        hosts=frozenset({lan, redis}),
    )
    policy = AddressPolicy.parse(("private", "127.0.0.0/8", "::1", "10.0.0.9", "192.168.1.5"))
    assert not permits(policy, "10.0.0.9", 6379, own)
    assert permits(policy, "10.0.0.9", 554, own)
    for here in ("127.0.0.1", "127.9.9.9", "::1", "192.168.1.5", "::ffff:192.168.1.5"):
        assert not permits(policy, here, 8554, own), here
        assert not permits(policy, here, 8000, own), here
        assert permits(policy, here, 9000, own), here
    # Without an entry for just that address, a machine of ours is none at any port.
    wide = AddressPolicy.parse(("private", "192.168.1.0/24"))
    assert not permits(wide, "192.168.1.5", 554, own)
    assert permits(wide, "192.168.1.6", 554, own)
    assert not permits(wide, "10.0.0.9", 554, own)


@pytest.mark.parametrize(
    "text",
    [
        "", "lan", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/8:0", "10.0.0.0/8:70000",
        "10.0.0.0/8:9-8", "10.0.0.0/8:", "[fd00::/8", "host.example", "10.0.0.1 ", "private:x",
        "1.2.3", "[10.0.0.1]:5:6",
    ],
)  # fmt: skip
def test_malformed_entries_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a valid entry|not valid ports"):
        parse_rule(text)


@pytest.mark.parametrize(
    "text", ["private", "public:554", "10.0.0.5", "10.0.0.0/8", "fd00::/8", "::1", "[::1]:554"]
)
def test_entries(text: str) -> None:
    rule = parse_rule(text)
    assert (rule.kind is None) != (rule.network is None)


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


@given(ADDRESSES, st.integers(1, 65_535))
def test_a_mapped_address_is_checked_as_its_ipv4_address(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    if isinstance(address, ipaddress.IPv4Address):
        mapped = ipaddress.IPv6Address(b"\x00" * 10 + b"\xff\xff" + address.packed)
        assert DEFAULT.permits(mapped, port, NOTHING) is DEFAULT.permits(address, port, NOTHING)
    assert all(kind_of(reading) for reading in interpretations(address))


@given(ADDRESSES, st.integers(1, 65_535))
def test_addresses_of_this_machine_are_never_permitted_by_default(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    if DEFAULT.permits(address, port, NOTHING):
        for reading in interpretations(address):
            assert kind_of(reading) in (AddressKind.PRIVATE, AddressKind.PUBLIC)
            assert not reading.is_loopback
            assert not reading.is_link_local
            assert not reading.is_multicast
            assert not reading.is_unspecified


@given(ADDRESSES, st.integers(1, 65_535))
def test_denied_means_denied(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    both = ("0.0.0.0/0", "::/0")
    assert not AddressPolicy.parse(("private", "public"), both).permits(address, port, NOTHING)
    assert not AddressPolicy.parse(()).permits(address, port, NOTHING)
