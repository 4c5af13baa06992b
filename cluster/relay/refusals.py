"""Wrong passwords are not tried again and again: many cameras lock an account that does.

After a refusal a camera is left alone for minutes, longer each time. Whoever pulls it meanwhile
gets the refusal that is known. A changed user name or password is another account, and tried at
once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.target import Target
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


@dataclass(slots=True)
class _Account:
    wait_s: float
    due_s: float


class Refusals:
    """Remembers which accounts of which cameras were refused. Keeps no password.

    An account is a tenant's, so that no tenant delays another's camera. All streams of a camera
    share it, as the camera's own count of wrong tries does.
    """

    def __init__(self, clock: Clock, limit: int = MAX_REMEMBERED) -> None:
        self._clock = clock
        self._limit = limit
        self._known: OrderedDict[str, _Account] = OrderedDict()

    def require_due(self, target: Target) -> None:
        """Call before connecting.

        Raises:
            UnreadableCameraError: CREDENTIALS; the account was refused, and it is too early to try
                again.
        """
        account = self._known.get(_name(target))
        if account is None:
            return
        left_s = account.due_s - self._clock.monotonic()
        if left_s > 0:
            raise UnreadableCameraError(
                CameraProblem.CREDENTIALS, f"tried again in {max(1, round(left_s / 60))} min"
            )
        account.due_s = self._clock.monotonic() + TRY_S

    def refused(self, target: Target) -> None:
        """The camera refused this user name and password. Does nothing if there is none."""
        if not target.url.username:
            return
        name = _name(target)
        before = self._known.get(name)
        wait_s = FIRST_WAIT_S if before is None else min(MAX_WAIT_S, before.wait_s * FACTOR)
        self._known[name] = _Account(wait_s, self._clock.monotonic() + wait_s)
        self._known.move_to_end(name)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def accepted(self, target: Target) -> None:
        """The camera let this account in."""
        if self._known:
            self._known.pop(_name(target), None)


def _name(target: Target) -> str:
    url = target.url
    port = url.effective_port
    text = "\0".join((target.tenant, url.host, str(port), url.username, url.password or ""))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
