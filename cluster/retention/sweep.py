"""What the sweeps of one tenant share: their arguments, and where the next run goes on."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from cluster.retention.stores import TenantStores
from cluster.retention.tally import Tally
from cluster.stores.db.expiry import OldAlarm, OldObject, OldRecording
from pipelines.retention import Retention, RetentionKind

Steps = AsyncGenerator[None, None]
"""Work in pieces: others may have their turn after each."""
AnyOld = OldAlarm | OldRecording | OldObject


@dataclass(slots=True)
class Place:
    """How far a listing was read.

    Attributes:
        after: the last key that was tried, or the end of a part of the listing.
        left: whether something that should have gone is left before it.
    """

    after: str
    left: bool


@dataclass(slots=True)
class Resume:
    """Where the next run of a tenant goes on, after a run that gave up or had all its steps: so
    neither what can never be removed nor what stays stands in the way of the rest.

    Attributes:
        places: the last thing that was tried, by sort and camera.
        cameras: the camera of it, by sort.
        listed: the same for files that are listed, by name of the listing.
        listing: name of the listing in which the last run had all its steps; empty: in none.
        strays_us: when pictures without a row were last looked for, by what they show.
    """

    places: dict[tuple[str, str], AnyOld] = field(default_factory=dict)
    cameras: dict[str, str] = field(default_factory=dict)
    listed: dict[str, Place] = field(default_factory=dict)
    listing: str = ""
    strays_us: dict[RetentionKind, int] = field(default_factory=dict)

    def first(self, sort: str, cameras: Sequence[str]) -> list[str]:
        """The cameras in turn, from the one where the last run gave up."""
        last = self.cameras.pop(sort, "")
        return [c for c in cameras if c >= last] + [c for c in cameras if c < last]


class GaveUp(Exception):
    """Several things failed at once; each is counted."""


@dataclass(slots=True)
class Sweep:
    """One run for one tenant.

    Attributes:
        tally: what was removed is counted there.
        resume: kept from run to run.
    """

    stores: TenantStores
    retention: Retention
    now_us: int
    tally: Tally
    resume: Resume
