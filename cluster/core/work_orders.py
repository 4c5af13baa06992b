"""Orders that say whose work a call to a deployment or an actor is, signed by the caller's process.

The keys are a ring, as those of users' tokens: the first signs, all verify, and an order names its
key. To replace a key, add the new one at the end for all processes, then move it to the front, then
drop the old one; no call is refused meanwhile.

Signing takes 4.3 us, checking 4.3 us, an order that is kept 0.7 us, and its 114 bytes more of each
call 3 us of pickle (p50 of 20,000 on one busy core). An order is used again for half of its life,
so a frame pays 8 us.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Self

from pydantic import SecretStr

from cluster.core.settings import Settings
from pipelines.clock import Clock
from pipelines.domain import WorkOwner
from pipelines.errors import ConfigError, WorkRefusedError

MIN_SECRET_CHARS = 32
LIFE_S = 300
"""Longer than any call waits in Serve's queues before its deployment sees it (120 s, of a job)."""
MAX_KEPT = 4096
"""Orders that a process keeps for its next calls: some for each of a thousand cameras."""
PLATFORM = WorkOwner(".platform")
"""Owner of work for the installation as a whole. No tenant: no slug has a dot."""
# Separates the derived keys from the secrets that they come from.
_DERIVATION = b"atalaia: work orders, version 1"


class Purpose(StrEnum):
    """What an order allows; one is never taken for another."""

    DETECT = "detect"
    """A frame of a camera, an image or the frames of a job."""
    EMBED = "embed"
    """A picture or a text becomes a vector."""
    REMEMBER = "remember"
    """An object is put into the memory."""
    SEARCH = "search"
    """The memory is read."""
    FORGET = "forget"
    """Objects leave the memory; and the counts of what is left."""
    SNAPSHOT = "snapshot"
    """The newest frame of a camera is shown."""
    ANNOUNCE = "announce"
    """The controller is told of changed records."""
    FLEET = "fleet"
    """Bridges and agent hosts get their cameras. Of the platform."""
    MODEL = "model"
    """The detector's model is replaced. Of the platform."""


class WorkOrder(NamedTuple):
    """Whose work a call is. Made by `WorkOrders.issue` alone.

    Attributes:
        purpose: the value of a `Purpose`.
        expires_s: UTC seconds.
        key: names the key that signed.
    """

    owner: WorkOwner
    purpose: str
    expires_s: int
    key: str
    signature: bytes


class WorkOrders:
    """Issues orders and checks those of other processes. Safe from any thread.

    Args:
        ring: secrets that the keys are derived from; the first one signs.
        clock: when orders expire.
    """

    def __init__(self, ring: Sequence[SecretStr], clock: Clock) -> None:
        derived = [
            hmac.digest(secret.get_secret_value().encode(), _DERIVATION, "sha256")
            for secret in ring
        ]
        self._keys = {_name(key): key for key in reversed(derived)}
        self._signer = _name(derived[0])
        self._clock = clock
        self._kept: dict[tuple[WorkOwner, Purpose], WorkOrder] = {}

    @classmethod
    def of(cls, settings: Settings, clock: Clock) -> Self:
        """With the keys that the settings name. Raises ConfigError: one is too short."""
        ring = settings.ray.work_keys or (settings.livekit.api_secret,)
        if any(len(secret.get_secret_value()) < MIN_SECRET_CHARS for secret in ring):
            raise ConfigError(
                f"one of ray.work_keys (or else livekit.api_secret) has fewer than "
                f"{MIN_SECRET_CHARS} characters, so calls inside the cluster cannot be signed.",
                hint="Set ATALAIA_RAY__WORK_KEYS, a JSON list, the same for every process.",
            )
        return cls(ring, clock)

    def issue(self, owner: WorkOwner, purpose: Purpose) -> WorkOrder:
        """An order that is good for at least half of `LIFE_S`."""
        now_s = self._now_s()
        kept = self._kept.get((owner, purpose))
        if kept is not None and LIFE_S / 2 <= kept.expires_s - now_s <= LIFE_S:
            return kept
        expires_s = now_s + LIFE_S
        signature = self._signature(self._signer, owner, purpose.value, expires_s)
        order = WorkOrder(owner, purpose.value, expires_s, self._signer, signature)
        if len(self._kept) >= MAX_KEPT:
            self._kept.clear()
        self._kept[owner, purpose] = order
        return order

    def check(self, order: object, purpose: Purpose, of: WorkOwner | None = None) -> WorkOwner:
        """Whose work it is.

        Args:
            order: as it came; anything.
            purpose: what the call does.
            of: whose the things are that came with the call. An order of a tenant is good for each
                of its cameras, one of a camera for no other.

        Raises:
            WorkRefusedError: there is no order, or it is forged, expired, for something else, or
                for another tenant or camera.
        """
        if not isinstance(order, WorkOrder):
            raise _refused("comes without a work order")
        if not self._is_signed(order):
            raise _refused("has a work order that no process of this cluster signed")
        if order.expires_s <= self._now_s():
            raise _refused("has a work order that expired")
        if order.purpose != purpose.value:
            raise _refused(f"has a work order to {order.purpose}, not to {purpose.value}")
        if of is not None and not _covers(order.owner, of):
            raise _refused("has a work order of another tenant or camera")
        return order.owner

    def check_tenant(self, order: object, purpose: Purpose) -> str:
        """The tenant of an order for all of its cameras. Raises WorkRefusedError, also where it is
        for one camera only."""
        owner = self.check(order, purpose)
        if owner.camera is not None:
            raise _refused("has a work order of one camera only")
        return owner.tenant

    def check_camera(self, order: object, purpose: Purpose) -> tuple[str, str]:
        """Tenant and camera of an order for one camera. Raises WorkRefusedError, also where it is
        not for one camera."""
        tenant, camera = self.check(order, purpose)
        if camera is None:
            raise _refused("has a work order that names no camera")
        return tenant, camera

    def _is_signed(self, order: WorkOrder) -> bool:
        # It came from another process, so that nothing about its fields is known.
        fields: tuple[object, ...] = order
        kinds = (WorkOwner, str, int, str, bytes)
        if not all(map(isinstance, fields, kinds)) or order.key not in self._keys:
            return False
        expected = self._signature(order.key, order.owner, order.purpose, order.expires_s)
        return hmac.compare_digest(expected, order.signature)

    def _signature(self, key: str, owner: WorkOwner, purpose: str, expires_s: int) -> bytes:
        # No two different orders have the same representation: it quotes each text.
        signed = repr((owner.tenant, owner.camera, purpose, expires_s))
        return hmac.digest(self._keys[key], signed.encode("utf-8", "backslashreplace"), "sha256")

    def _now_s(self) -> int:
        return self._clock.now_us() // 1_000_000


def _covers(owner: WorkOwner, of: WorkOwner) -> bool:
    return owner.tenant == of.tenant and owner.camera in (None, of.camera)


def _name(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:16]


def _refused(why: str) -> WorkRefusedError:
    return WorkRefusedError(
        f"the call {why}.",
        hint="All processes need the same ray.work_keys (or else livekit.api_secret), and clocks "
        "that agree.",
    )
