"""Slows down those who guess passwords, before a password is hashed.

There is no budget of an account alone, which a stranger could spend to lock its owner out: the
budgets are those of an account from one network, and of a network. A browser in which the account
has signed in before has a budget of its own, so that a stranger in the same network cannot lock it
out either. Requests with a token or a key are not throttled here.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from math import ceil

from pipelines.clock import Clock
from serve.api.problems import TooManyRequestsError

# Who mistypes a password five times waits for a minute.
PER_ACCOUNT = (5, 60.0)
# A network may be an office: thirty at once, then one every two seconds.
PER_NETWORK = (30, 2.0)

# Each takes some 0.3 kB. Beyond this the one that was touched least recently is forgotten.
MAX_BUCKETS = 32_768


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Throttle:
    """Token buckets by key: `capacity` tries at once, and one more every `refill_s`."""

    def __init__(
        self, clock: Clock, capacity: int, refill_s: float, *, max_buckets: int = MAX_BUCKETS
    ) -> None:
        self._clock = clock
        self._capacity = capacity
        self._refill_s = refill_s
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def take(self, key: Hashable) -> float:
        """Spend one try. Returns 0, or for how many seconds there is none."""
        bucket = self._filled(key)
        if bucket.tokens < 1:
            return (1 - bucket.tokens) * self._refill_s
        bucket.tokens -= 1
        return 0.0

    def give_back(self, key: Hashable) -> None:
        """A try that was none."""
        bucket = self._filled(key)
        bucket.tokens = min(self._capacity, bucket.tokens + 1)

    def _filled(self, key: Hashable) -> _Bucket:
        now = self._clock.monotonic()
        bucket = self._buckets.pop(key, None) or _Bucket(self._capacity, now)
        gained = (now - bucket.at) / self._refill_s
        bucket.tokens = min(self._capacity, bucket.tokens + gained)
        bucket.at = now
        self._buckets[key] = bucket
        while len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)
        return bucket


class SignInThrottle:
    """The two budgets together. A sign-in that succeeds costs nothing."""

    def __init__(
        self,
        clock: Clock,
        *,
        per_account: tuple[int, float] = PER_ACCOUNT,
        per_network: tuple[int, float] = PER_NETWORK,
    ) -> None:
        self._accounts = Throttle(clock, *per_account)
        self._networks = Throttle(clock, *per_network)

    def admit(self, account: Hashable, network: str, device: str | None = None) -> None:
        """Spend a try of both, or of a known device of the account alone.

        Raises:
            TooManyRequestsError: there is none.
        """
        # The network first: whoever it refuses makes no bucket of an account, so that many names of
        # accounts cannot push out the bucket of one.
        wait_s = self._networks.take(network) if device is None else 0.0
        if not wait_s:
            wait_s = self._accounts.take((account, device or network))
            if wait_s and device is None:
                self._networks.give_back(network)
        if wait_s:
            raise TooManyRequestsError(
                "Too many sign-ins failed.",
                hint="Wait before you try again. Whoever is signed in stays so.",
                retry_after_s=ceil(wait_s),
            )

    def forgive(self, account: Hashable, network: str, device: str | None = None) -> None:
        """The password was right."""
        self._accounts.give_back((account, device or network))
        if device is None:
            self._networks.give_back(network)


def network_of(address: str) -> str:
    """What one subscriber has: an IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def site_of(network: str) -> str:
    """The most that one subscriber may have been given: of an IPv6 address the /48 (RFC 6177), in
    which there are 65,536 networks; else the same."""
    try:
        parsed = ipaddress.IPv6Network(network, strict=False)
    except ValueError:
        return network
    return str(ipaddress.IPv6Network((parsed.network_address, 48), strict=False))
