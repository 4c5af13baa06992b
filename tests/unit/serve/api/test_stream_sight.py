"""What an open stream may show: asked anew once a second, and never guessed."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.core.roles import Role
from cluster.stores.db import Principal
from pipelines.clock import ManualClock
from pipelines.errors import AtalaiaError, UnavailableError
from serve.api.problems import UnauthorizedError
from serve.api.stream_sight import SIGHT_TTL_S, StreamSight

BOTH = frozenset({"gate", "yard"})


class Records:
    """Which cameras each group has, and who is limited to which; either may be away."""

    def __init__(self) -> None:
        self.groups: tuple[str, ...] | None = ("door",)
        self.cameras: dict[str, set[str]] = {"door": {"gate"}, "back": {"yard"}}
        self.no_principal: AtalaiaError | None = None
        self.away = False
        self.asked = 0
        self._of: tuple[str, ...] | None = None

    async def principal(self) -> Principal:
        if self.no_principal is not None:
            raise self.no_principal
        return Principal("acme", Role.VIEWER, "user:u", groups=self.groups)

    def visible(self, groups: tuple[str, ...] | None) -> Any:
        self._of = groups
        return self

    async def among(self, cameras: frozenset[str]) -> frozenset[str]:
        self.asked += 1
        if self._of is None:
            return cameras
        if self.away:
            raise UnavailableError("the records are away.")
        return frozenset().union(*(self.cameras.get(g, set()) for g in self._of)) & cameras


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sight(records: Records, clock: ManualClock) -> StreamSight:
    return StreamSight(records.principal, records.visible, records.groups, clock)


async def test_it_is_asked_once_a_second(
    sight: StreamSight, records: Records, clock: ManualClock
) -> None:
    for _ in range(5):
        assert await sight.among(BOTH) == {"gate"}
    assert records.asked == 1
    records.cameras["door"] = {"yard"}
    clock.advance(SIGHT_TTL_S)
    assert await sight.among(BOTH) == {"yard"}


async def test_other_cameras_are_asked_for_at_once(sight: StreamSight) -> None:
    assert await sight.among(frozenset({"yard"})) == frozenset()
    assert await sight.among(BOTH) == {"gate"}


async def test_the_groups_are_those_that_the_caller_has_by_now(
    sight: StreamSight, records: Records, clock: ManualClock
) -> None:
    assert await sight.among(BOTH) == {"gate"}
    for groups, seen in ((("back",), {"yard"}), (None, BOTH), (("door", "back"), BOTH)):
        records.groups = groups
        clock.advance(SIGHT_TTL_S)
        assert await sight.among(BOTH) == seen


async def test_who_is_no_longer_known_sees_nothing(
    sight: StreamSight, records: Records, clock: ManualClock
) -> None:
    assert await sight.among(BOTH) == {"gate"}
    records.no_principal = UnauthorizedError("over")
    clock.advance(SIGHT_TTL_S)
    assert await sight.among(BOTH) == frozenset()


async def test_without_the_records_nothing_is_guessed(
    sight: StreamSight, records: Records, clock: ManualClock
) -> None:
    records.no_principal = UnavailableError("away")
    assert await sight.among(BOTH) == {"gate"}  # those that it had when the stream began
    records.away = True
    clock.advance(SIGHT_TTL_S)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await sight.among(BOTH)


async def test_a_stream_of_all_cameras_goes_on_without_the_records(clock: ManualClock) -> None:
    records = Records()
    records.no_principal, records.away = UnavailableError("away"), True
    sight = StreamSight(records.principal, records.visible, None, clock)
    assert await sight.among(BOTH) == BOTH
