"""The two publishers of a host: alarms are sent or loudly lost; a spool in use is tried again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from agents.publishers import Publishers
from cluster.stores.bus import PublisherStats, PublishOutcome, SpoolFullError, TrackUpdate
from cluster.stores.bus.tracks import TrackCounts
from pipelines.clock import ManualClock
from pipelines.domain import Alarm, Stages
from pipelines.errors import ConfigError
from tests.factories import T0_US, make_alarm, make_path, make_sighting


class Alarms:
    """Takes alarms, unless it is told to refuse."""

    def __init__(self, *, opens: bool = True, full: bool = False) -> None:
        self.opens, self.full = opens, full
        self.taken: list[Alarm] = []
        self.closed = 0

    async def start(self) -> None:
        if not self.opens:
            raise ConfigError("the spool is in use")

    async def publish(self, alarm: Alarm) -> PublishOutcome:
        if self.full:
            raise SpoolFullError("no room")
        self.taken.append(alarm)
        return PublishOutcome.PUBLISHED

    @property
    def stats(self) -> PublisherStats:
        return PublisherStats(published=len(self.taken))

    async def aclose(self) -> None:
        self.closed += 1


class Tracks:
    def __init__(self) -> None:
        self.taken: list[TrackUpdate] = []
        self.started = self.closed = 0

    def start(self) -> None:
        self.started += 1

    def offer(self, updates: Sequence[TrackUpdate]) -> None:
        self.taken += updates

    @property
    def stats(self) -> TrackCounts:
        return TrackCounts(pending=len(self.taken))

    async def aclose(self) -> None:
        self.closed += 1


def publishers(*alarms: Alarms) -> tuple[Publishers, Tracks]:
    """With these publishers of alarms, each opened in turn."""
    opened: Iterator[Alarms] = iter(alarms)
    tracks = Tracks()
    return Publishers(lambda: next(opened), tracks, ManualClock(T0_US), retry_s=0.0), tracks


async def test_an_alarm_leaves_with_the_time_of_publishing() -> None:
    alarms = Alarms()
    box, _ = publishers(alarms)
    await box.start()
    before = Stages(capture_us=T0_US - 300, ruled_us=T0_US - 5)
    await box.publish(make_alarm(stages=before))
    (sent,) = alarms.taken
    assert sent.stages == before.model_copy(update={"published_us": T0_US})
    assert sent.id == make_alarm().id


async def test_an_alarm_that_nobody_takes_is_counted_and_breaks_nothing() -> None:
    box, _ = publishers(Alarms(full=True))
    assert "alarms_lost" not in box.counts
    await box.publish(make_alarm(1))
    await box.publish(make_alarm(2))
    assert box.counts["alarms_lost"] == 2


async def test_a_spool_that_is_in_use_is_opened_again_by_a_fresh_publisher() -> None:
    used, used_too, free = Alarms(opens=False), Alarms(opens=False), Alarms()
    box, tracks = publishers(used, used_too, free)
    await box.start()
    await box.publish(make_alarm())
    assert [len(a.taken) for a in (used, used_too, free)] == [0, 0, 1]
    assert tracks.started == 1


async def test_counts_are_named_after_what_they_count() -> None:
    box, tracks = publishers(Alarms())
    await box.publish(make_alarm())
    box.record_updates((make_path(), make_sighting()))
    assert tracks.taken == [make_path(), make_sighting()]
    counts = box.counts
    assert counts["alarms_published"] == 1
    assert counts["tracks_pending"] == 2
    assert set(counts) == {
        *(f"alarms_{name}" for name in PublisherStats.__slots__),
        *(f"tracks_{name}" for name in TrackCounts.__slots__),
    }


async def test_both_publishers_are_closed() -> None:
    alarms = Alarms()
    box, tracks = publishers(alarms)
    await box.aclose()
    assert (alarms.closed, tracks.closed) == (1, 1)
