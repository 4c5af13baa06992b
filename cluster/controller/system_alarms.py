"""The system's own alarms about cameras: blind for too long, or a picture that shows nothing or
another scene. They are alarms like those of rules: same stream, same records, same permissions.

The id of each is made of when it began, so that a repeated one changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from cluster.core.log import get_logger
from cluster.stores.db import GapPage
from pipelines.alarm_limit import AlarmLimit
from pipelines.clock import Clock
from pipelines.domain import Alarm, CameraKey, Fault, Stages, SystemKind
from pipelines.errors import AtalaiaError
from pipelines.identity import alarm_id

log = get_logger("system alarms")

DAY_US = 86_400_000_000
"""A camera that was blind for longer when the controller starts raises its alarm once more."""
_GAPS = 1_000
MOST, WINDOW_S = 4, 3_600.0
"""Alarms of one camera about its picture, and as many about its being blind, in any hour. A camera
at the edge of a fault would raise four a minute."""


def system_alarm(key: CameraKey, kind: SystemKind, since_us: int) -> Alarm:
    """The alarm about what began at `since_us`, UTC microseconds; it concerns the whole picture.

    It has passed no stage but the first: how long it was waited for is no latency.
    """
    rule, track = f"system-{kind.value}", f"system-{since_us // 1_000:x}"
    return Alarm(
        id=alarm_id(key, rule, track, 1),
        tenant=key.tenant,
        camera=key.camera,
        rule=rule,
        kind=kind,
        label="camera",
        confidence=1.0,
        box=(0.0, 0.0, 1.0, 1.0),
        track=track,
        episode=1,
        frame_id=0,
        stages=Stages(capture_us=since_us),
    )


class Publisher(Protocol):
    """What this needs of `cluster.stores.bus.AlarmPublisher`."""

    async def start(self) -> None: ...

    async def publish(self, alarm: Alarm) -> object: ...

    async def aclose(self) -> None: ...


class SystemAlarmSender:
    """Opens a publisher when it first has something to send: a killed predecessor may hold the lock
    of its spool for a moment, and a publisher that could not start is not used again."""

    def __init__(self, open_publisher: Callable[[], Publisher]) -> None:
        self._open = open_publisher
        self._publisher: Publisher | None = None

    async def publish(self, alarm: Alarm) -> None:
        """Raises AtalaiaError: it could be sent neither to Redis nor to the spool."""
        if self._publisher is None:
            publisher = self._open()
            await publisher.start()
            self._publisher = publisher
        await self._publisher.publish(alarm)

    async def aclose(self) -> None:
        """Idempotent."""
        if self._publisher is not None:
            await self._publisher.aclose()


class Watched(Protocol):
    """What this needs of `CoverageKeeper`."""

    def blind(self) -> dict[CameraKey, tuple[int, bool]]: ...

    def pictures(self) -> dict[CameraKey, Fault]: ...


class Gaps(Protocol):
    """What this needs of `cluster.stores.db.TenantCoverage`."""

    async def gaps(
        self, since_us: int, until_us: int, camera: str | None = None, *, limit: int
    ) -> GapPage: ...


class SystemAlarms:
    """Belongs to the controller's loop.

    Args:
        watched: what is known of the cameras.
        gaps: opens the records of one tenant's coverage.
        publish: sends an alarm; raises AtalaiaError where it could not.
        blind_after_s: how long a camera may be blind.
    """

    def __init__(
        self,
        watched: Watched,
        gaps: Callable[[str], Gaps],
        publish: Callable[[Alarm], Awaitable[object]],
        clock: Clock,
        blind_after_s: float,
    ) -> None:
        self._watched = watched
        self._gaps = gaps
        self._publish = publish
        self._clock = clock
        self._blind_after_us = round(blind_after_s * 1e6)
        self._blind: set[CameraKey] = set()
        self._pictures: dict[CameraKey, Fault] = {}
        self._limit = AlarmLimit(MOST, WINDOW_S)

    async def check(self) -> None:
        """Raise what is due, once each. What cannot be sent is tried again by the next check."""
        pictures, blind = self._watched.pictures(), self._watched.blind()
        self._blind &= blind.keys()
        self._pictures = {k: f for k, f in self._pictures.items() if pictures.get(k) == f}
        for key, fault in pictures.items():
            if key not in self._pictures and await self._raise(
                key, SystemKind(fault.kind.value), fault.since_us
            ):
                self._pictures[key] = fault
        for key, (since_us, may_be_older) in blind.items():
            if key in self._blind or self._clock.now_us() - since_us < self._blind_after_us:
                continue
            # A picture that blinds the camera has an alarm of its own, which says why. When that is
            # over and the camera is still blind, for another reason, nothing has said so yet.
            if key in self._pictures:
                continue
            if await self._raise_blind(key, since_us, may_be_older):
                self._blind.add(key)

    async def _raise_blind(self, key: CameraKey, since_us: int, may_be_older: bool) -> bool:
        try:
            begin_us = await self._begin(key, since_us) if may_be_older else since_us
        except AtalaiaError as error:
            log.warning("coverage cannot be read", camera=key.room, error=error.message)
            return False
        return await self._raise(key, SystemKind.BLIND, begin_us)

    async def _begin(self, key: CameraKey, since_us: int) -> int:
        """When a camera became blind that was so before this process started."""
        page = await self._gaps(key.tenant).gaps(
            since_us - DAY_US, since_us + 1, key.camera, limit=_GAPS
        )
        begin_us = since_us // 1_000 * 1_000
        for gap in sorted(page.items, key=lambda gap: gap.start_us, reverse=True):
            if gap.start_us < begin_us <= gap.end_us:
                begin_us = gap.start_us
        return begin_us

    async def _raise(self, key: CameraKey, kind: SystemKind, since_us: int) -> bool:
        """Whether it was sent."""
        source, event = (key, kind is SystemKind.BLIND), (kind, since_us)
        if not self._limit.has_room(source, event, self._clock.monotonic()):
            return False
        alarm = system_alarm(key, kind, since_us)
        try:
            await self._publish(alarm)
        except AtalaiaError as error:
            log.warning("system alarm not sent", camera=key.room, kind=kind, error=error.message)
            return False
        left_out = self._limit.take(source, event, self._clock.monotonic())
        log.warning(
            "system alarm",
            camera=key.room,
            kind=kind.value,
            since_us=since_us,
            left_out_before=left_out,
        )
        return True
