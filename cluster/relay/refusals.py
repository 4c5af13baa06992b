"""Wrong passwords are not tried again and again: many cameras lock an account that does.

After a refusal a camera is left alone for minutes, longer each time. Whoever pulls it meanwhile
gets the refusal that is known. A changed user name or password is another account, and tried at
once; unless a camera chose it, by a redirect or playlist: those count by where they are used.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.target import Target
from cluster.relay.fair_memory import FairMemory
from pipelines.clock import Clock

FIRST_WAIT_S = 120.0
FACTOR = 3.0
MAX_WAIT_S = 1800.0
"""So tries come after 0, 2, 8, 26 and 56 minutes, then every 30. The strictest lock that makers
document counts five tries in half an hour."""
TRY_S = 30.0
"""One try at a time: how long it may take until it counts as given up."""
MAX_REMEMBERED = 4096
"""As `failures.MAX_REMEMBERED`."""


@dataclass(frozen=True, slots=True)
class Account:
    """Whose tries are counted together. Holds no password.

    An account is a tenant's, so that no tenant delays another's camera. All streams of a camera
    share it, as the camera's own count of wrong tries does.

    Attributes:
        tenant: whose camera it is.
        name: distinguishes the tenant's accounts.
        led: a camera chose its user name and password.
        named: whether there is a user name.
    """

    tenant: str
    name: str
    led: bool
    named: bool

    @classmethod
    def of(cls, target: Target, peer: str = "") -> Account:
        """The account of a target.

        Args:
            peer: address and port of the connection, by which credentials of a camera's choice
                count: a name may stand for any address, and every redirect may bring another
                password.
        """
        url = target.url
        parts = ["led", peer] if target.led else [url.host, str(url.effective_port)]
        parts += [] if target.led else [url.username, url.password or ""]
        text = "\0".join((target.tenant, *parts))
        name = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        return cls(target.tenant, name, target.led, bool(url.username))


@dataclass(slots=True)
class _Wait:
    wait_s: float
    due_s: float


class Refusals:
    """Remembers which accounts were refused. No tenant pushes out what is remembered of another."""

    def __init__(self, clock: Clock, limit: int = MAX_REMEMBERED) -> None:
        self._clock = clock
        self._known = FairMemory[_Wait](limit)

    def require_due(self, account: Account) -> None:
        """Call before the account is tried.

        Raises:
            UnreadableCameraError: CREDENTIALS; the account was refused, and it is too early to try
                again.
        """
        known = self._known.get(account.name)
        if known is None:
            if account.led and account.named:
                # Else as many cameras as a tenant has would each bring a first guess at once.
                first = _Wait(FIRST_WAIT_S / FACTOR, self._clock.monotonic() + TRY_S)
                self._known.put(account.tenant, account.name, first)
            return
        left_s = known.due_s - self._clock.monotonic()
        if left_s > 0:
            raise UnreadableCameraError(
                CameraProblem.CREDENTIALS, f"tried again in {max(1, round(left_s / 60))} min"
            )
        known.due_s = self._clock.monotonic() + TRY_S

    def refused(self, account: Account) -> None:
        """The camera refused this user name and password. Does nothing if there is none."""
        if not account.named:
            return
        before = self._known.get(account.name)
        wait_s = FIRST_WAIT_S if before is None else min(MAX_WAIT_S, before.wait_s * FACTOR)
        self._known.put(
            account.tenant, account.name, _Wait(wait_s, self._clock.monotonic() + wait_s)
        )

    def untried(self, account: Account) -> None:
        """The camera asked for no password so far, or led elsewhere: the next try is due, and the
        waits stay what they are."""
        known = self._known.get(account.name)
        if known is not None:
            known.due_s = self._clock.monotonic()

    def accepted(self, account: Account) -> None:
        """The camera let this account in, up to its media."""
        if account.led:
            # A right password that the camera chooses does not buy it guesses at others.
            self.untried(account)
        else:
            self._known.forget(account.name)
