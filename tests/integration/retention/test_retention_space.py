"""A small disk stays below its mark: what goes, in which order, and what is said before."""

from __future__ import annotations

from functools import partial

import pytest

from cluster.clips.clips import clip_keys
from cluster.core.retention_settings import RetentionSettings
from cluster.core.settings import BlobSettings, Settings
from cluster.retention.disk import disk_usage, folder_usage, usage_probe
from cluster.stores.db import RemovalCause
from pipelines.retention import HeldSpan, RetentionKind, SpaceState
from tests.integration.retention.site import MINUTE_US, Site, Stuck

K = RetentionKind
CAPACITY = 4_000_000
HIGH, LOW = 0.9, 0.8


def minutes(number: float) -> float:
    """As days."""
    return number / (24 * 60)


async def _space(site: Site, capacity: int = CAPACITY) -> SpaceState:
    """One run on a disk of that size."""
    sweeper = site.sweeper(
        probe=partial(folder_usage, site.folder / "blobs", capacity), high_water=HIGH, low_water=LOW
    )
    await sweeper.round()
    return site.seen.states[-1]


async def test_a_small_disk_is_kept_below_its_mark_for_an_hour(site: Site) -> None:
    """Two tenants with two cameras each write 50 kB a minute, which would be 12 MB; the disk has
    four. One camera has an alarm at its beginning, another is held from minute 5 to 6."""
    sweeper = site.sweeper(
        probe=partial(folder_usage, site.folder / "blobs", CAPACITY), high_water=HIGH, low_water=LOW
    )
    start_us = site.clock.now_us()
    span = HeldSpan("yard", start_us + 5 * MINUTE_US, start_us + 6 * MINUTE_US)
    await site.database.retention("globex").add_hold(span, "a case", "key:k1")
    alarm = await site.alarm(0, "acme", "gate")
    written: list[tuple[int, str, str]] = []
    for minute in range(1, 61):
        site.clock.advance(60)
        for tenant in ("acme", "globex"):
            for camera in ("gate", "yard"):
                key = await site.recording(0, tenant, camera, size=50_000)
                written.append((minute, f"{tenant}/{camera}", key))
        await sweeper.round()
        assert site.size() <= HIGH * CAPACITY
    assert site.seen.states.count(SpaceState.REMOVING) >= 3
    assert SpaceState.EXHAUSTED not in site.seen.states
    kept = {
        f"{tenant}/{camera}/{key}"
        for tenant in ("acme", "globex")
        for key in await site.recordings(tenant)
        for camera in [key.split("/")[1]]
    }
    left = {(minute, camera) for minute, camera, key in written if f"{camera}/{key}" in kept}
    # An alarm at minute 0 is near the files of the six minutes after it; the held ones touch
    # minutes 5 to 6. Of the rest the youngest are left, of both tenants alike.
    special = {(m, "acme/gate") for m in range(1, 7)} | {(m, "globex/yard") for m in (5, 6, 7)}
    others = {minute for minute, camera in left - special}
    assert special <= left
    assert others == set(range(min(others), 61))
    # Nothing but recordings went, each file with its row.
    assert alarm.id in await site.alarms()
    assert set(clip_keys(alarm.id)) <= site.files()
    assert {key for key in site.files() if key.startswith("recordings/")} == (
        await site.recordings()
    )


async def test_the_alarm_comes_before_anything_goes(site: Site) -> None:
    for n in range(8):
        await site.recording(minutes(60 - n), size=500_000)
    assert await _space(site) is SpaceState.REMOVING
    assert await site.audited("", "retention.pressure") == [{"used": "1.000", "mark": "0.9"}]
    # Down to the low mark: two of eight.
    assert await site.audited("acme", "retention.remove") == [
        {"recordings": 2, "bytes": 1_000_000, "failures": 0}
    ]
    (run,) = await site.database.retention("acme").runs()
    assert run.space is SpaceState.REMOVING
    assert [(c.kind, c.cause, c.removed) for c in run.counts] == [
        (K.RECORDINGS, RemovalCause.SPACE, 2)
    ]
    assert await _space(site) is SpaceState.OK
    assert len(await site.audited("", "retention.pressure")) == 1


async def test_below_the_mark_nothing_goes(site: Site) -> None:
    for n in range(7):
        await site.recording(minutes(60 - n), size=500_000)
    assert await _space(site) is SpaceState.OK
    assert len(await site.recordings()) == 7


async def test_what_has_reached_its_age_goes_first(site: Site) -> None:
    for days in (40, 50):
        await site.recording(days, size=500_000)
    for n in range(6):
        await site.recording(minutes(60 - n), size=500_000)
    sweeper = site.sweeper(
        probe=partial(folder_usage, site.folder / "blobs", CAPACITY),
        high_water=HIGH,
        low_water=LOW,
        days={"recordings": 30},
    )
    await sweeper.round()
    assert site.seen.states == [SpaceState.OK]
    assert await site.audited("", "retention.pressure") == []


async def test_the_order_and_its_end(site: Site) -> None:
    """Recordings without an alarm, then those with one, then clips; never what is held, nor
    pictures, nor what is younger than ten minutes."""
    young = await site.recording(minutes(5), size=1_000)
    plain = await site.recording(minutes(30), size=1_000, camera="yard")
    near = await site.recording(minutes(60), size=1_000)
    alarm = await site.alarm(minutes(60))
    recent = await site.alarm(minutes(9), camera="yard")
    held = await site.recording(minutes(600), size=1_000)
    held_us = site.at_us(minutes(600))
    span = HeldSpan("gate", held_us, held_us)
    await site.database.retention("acme").add_hold(span, "a case", "key:k1")
    small = 2 * (len(b"a picture") + len(clip_keys(alarm.id)) * len(b"part of a clip"))

    # One byte above the low mark after the step before: each time exactly one thing has to go.
    steps = [
        (4_000 + small, {young, near, held}),
        (3_000 + small, {young, held}),
        (2_000 + small, {young, held}),
    ]
    for size, expected in steps:
        assert site.size() == size
        capacity = int((size - 1) / LOW)
        sweeper = site.sweeper(
            probe=partial(folder_usage, site.folder / "blobs", capacity),
            high_water=LOW + 1e-9,
            low_water=LOW,
        )
        await sweeper.round()
        assert await site.recordings() == expected
    assert plain not in site.files()
    left = {young, held, *clip_keys(recent.id), *(f"alarms/{a.id}.jpg" for a in (alarm, recent))}
    assert site.files() == left
    assert await site.alarms() == {alarm.id, recent.id}
    # Now there is nothing left that may go.
    assert await _space(site, capacity=2_000) is SpaceState.EXHAUSTED
    assert site.files() == left


async def test_what_cannot_be_removed_does_not_stand_in_the_way(site: Site, stuck: Stuck) -> None:
    oldest = await site.recording(minutes(100), size=500_000, camera="yard")
    for n in range(7):
        await site.recording(minutes(60 - n), size=500_000)
    stuck.refused = frozenset({oldest})
    await _space(site)
    # Two had to go: they are the next in age.
    assert oldest in await site.recordings()
    assert len(await site.recordings()) == 6
    (run,) = await site.database.retention("acme").runs()
    assert [(c.cause, c.removed, c.failures) for c in run.counts] == [(RemovalCause.SPACE, 2, 1)]


async def test_a_disk_that_is_not_measured_loses_nothing(site: Site) -> None:
    await site.recording(minutes(60), size=500_000)
    await site.sweeper(probe=None, high_water=HIGH, low_water=LOW).round()
    await site.sweeper(probe=lambda: folder_usage(site.folder, 1)).round()
    assert len(await site.recordings()) == 1
    assert site.seen.states == [SpaceState.OK, SpaceState.OK]


def test_what_is_measured(site: Site) -> None:
    folder = f"file://{site.folder}/blobs"
    probe = usage_probe(Settings(blobs=BlobSettings(url=folder)))
    assert probe is not None
    # The folder is not there yet: it will be on the disk of the one above.
    assert probe().total == disk_usage(site.folder).total > 0
    limited = usage_probe(
        Settings(blobs=BlobSettings(url=folder), retention=RetentionSettings(capacity_mb=5))
    )
    assert limited is not None
    assert (limited().used, limited().total) == (0, 5_000_000)
    assert usage_probe(Settings(blobs=BlobSettings(url="memory://x"))) is None


@pytest.mark.parametrize("marks", [(0.8, 0.8), (0.8, 0.9)])
def test_marks_have_an_order(marks: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="low_water must be below high_water"):
        RetentionSettings(high_water=marks[0], low_water=marks[1])
