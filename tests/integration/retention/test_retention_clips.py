"""A clip is judged by what it shows: it outlives its alarm where a hold touches that."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from cluster.clips.clips import clip_key, clip_keys
from cluster.stores.db import RemovalCause
from pipelines.domain import Alarm
from pipelines.retention import HeldSpan, RetentionKind, Usage
from tests.integration.retention.site import Site, Stuck

K = RetentionKind
S = 1_000_000


async def _hold(site: Site, alarm: Alarm, from_s: int, to_s: int, camera: str = "gate") -> UUID:
    """Hold a time, in seconds after an alarm."""
    at_us = alarm.capture_us
    span = HeldSpan(camera, at_us + from_s * S, at_us + to_s * S)
    return (await site.database.retention("acme").add_hold(span, "a case", "key:k1")).id


async def _described(site: Site, days_ago: float = 40) -> Alarm:
    """An alarm whose clip shows the 5 s before it and the 10 s after it."""
    alarm = await site.alarm(days_ago)
    at_us = alarm.capture_us
    await site.describe_clip(alarm.id, at_us - 5 * S, at_us + 10 * S)
    return alarm


def _full(site: Site) -> Usage:
    """A disk that no removal brings below its mark."""
    return Usage(site.size() + 1_000, 1_000)


# What removes a clip: its own age, that of its alarm, a full disk.
WAYS = ("clips", "alarms", "space")


async def _sweep(site: Site, way: str) -> None:
    if way == "space":
        await site.sweeper(probe=lambda: _full(site), high_water=0.5, low_water=0.1).round()
    else:
        await site.sweeper(days={way: 30}).round()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("hold", "kept"), [((9, 60), True), ((-30, -5), True), ((11, 60), False), ((-30, -6), False)]
)
async def test_a_hold_keeps_a_clip_that_shows_the_held_time(
    site: Site, way: str, hold: tuple[int, int], kept: bool
) -> None:
    alarm = await _described(site)
    await _hold(site, alarm, *hold)
    await _hold(site, alarm, 0, 10, camera="yard")
    await _sweep(site, way)
    assert site.clips() == (set(clip_keys(alarm.id)) if kept else set())
    # The alarm's moment is not held.
    assert (alarm.id in await site.alarms()) == (way != "alarms")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("from_s", "kept"), [(300, True), (361, False)])
async def test_where_it_is_unknown_what_a_clip_shows_it_may_show_most(
    site: Site, way: str, from_s: int, kept: bool
) -> None:
    alarm = await site.alarm(40)  # its description cannot be understood
    await _hold(site, alarm, from_s, from_s + 9)
    await _sweep(site, way)
    assert bool(site.clips()) == kept


async def test_a_held_clip_goes_when_the_hold_ends(site: Site) -> None:
    alarm = await _described(site)
    hold = await _hold(site, alarm, 9, 60)
    for key in clip_keys(alarm.id):
        site.age_file("acme", key, alarm.capture_us + 60 * S)
    sweeper = site.sweeper(days={"alarms": 30})
    # The second time there is no alarm any more that says whose the clip is.
    for _ in range(2):
        await sweeper.round()
        assert await site.alarms() == set()
        assert site.clips() == set(clip_keys(alarm.id))
    await site.database.retention("acme").release_hold(hold, "key:k1")
    await sweeper.round()
    assert site.clips() == set()


@pytest.mark.parametrize("camera", ["gate", "yard", None])
async def test_any_hold_keeps_files_of_which_the_camera_is_unknown(
    site: Site, camera: str | None
) -> None:
    lost = uuid4()
    keys = {f"alarms/{lost}.jpg", clip_key(lost, "mp4")}
    for key in keys:
        await site.blobs["acme"].put(key, b"nobody's")
        site.age_file("acme", key, site.at_us(40))
    retention = site.database.retention("acme")
    span = HeldSpan(camera, site.at_us(90), site.at_us(80))
    hold = await retention.add_hold(span, "a case", "key:k1")
    sweeper = site.sweeper(days={"clips": 30, "snapshots": 30})
    await sweeper.round()
    assert site.files() == keys
    await retention.release_hold(hold.id, "key:k1")
    site.clock.advance(86_400)  # such pictures are looked for once a day
    await sweeper.round()
    assert site.files() == set()


async def test_a_description_that_cannot_be_read_now_keeps_its_clip_and_no_other(
    site: Site, stuck: Stuck
) -> None:
    alarms = [await _described(site, 40 + n / 10) for n in range(4)]
    for alarm in alarms:
        await _hold(site, alarm, 11, 20)
    stuck.unreadable = frozenset({clip_key(alarms[1].id, "clip.json")})
    await site.sweeper(days={"clips": 30}).round()
    assert site.clips() == set(clip_keys(alarms[1].id))
    (run,) = await site.database.retention("acme").runs()
    (count,) = run.counts
    assert (run.complete, count.removed, count.failures) == (False, 3, 1)


async def test_older_holds_on_an_alarm_keep_what_any_rolls_could_have_recorded(site: Site) -> None:
    """They are as long as the rolls that the camera had when the hold was set."""
    alarm = await site.alarm(40)
    at_us, second = alarm.capture_us, 1 / 86_400
    near = [await site.recording(40 - 250 * second), await site.recording(40 + 50 * second)]
    far = await site.recording(40 + 200 * second)
    span = HeldSpan("gate", at_us - 5 * S, at_us + 10 * S)
    await site.database.retention("acme").add_hold(span, "a case", "key:k1", alarm=alarm.id)
    assert {far, *near} == await site.recordings()
    await site.sweeper(days=dict.fromkeys(K, 30)).round()
    assert await site.recordings() == set(near)
    assert await site.alarms() == {alarm.id}


async def test_to_make_space_clips_are_listed_once(site: Site, stuck: Stuck) -> None:
    for n in range(150):
        key = clip_key(UUID(int=n << 120), "mp4")
        await stuck.put(key, bytes(10))
        site.age_file("acme", key, site.at_us(200 - n))
    await site.sweeper().round()  # for the quota all files are listed once a day
    site.clock.advance(600)
    stuck.listings = 0
    sweeper = site.sweeper(probe=lambda: Usage(site.size(), 1_500), high_water=0.5, low_water=0.1)
    await sweeper.round()
    # The youngest are left, and what is listed is listed once for all steps of 64.
    assert site.clips() == {clip_key(UUID(int=n << 120), "mp4") for n in range(135, 150)}
    assert stuck.listings == 1
    run = (await site.database.retention("acme").runs())[0]
    assert [(c.kind, c.cause, c.removed) for c in run.counts] == [
        (K.CLIPS, RemovalCause.SPACE, 135)
    ]


async def test_more_clips_than_are_known_at_once(
    site: Site, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.retention.relief.CLIPS_KNOWN", 70)
    monkeypatch.setattr("cluster.retention.listed._IDS", 30)
    keys = [clip_key(UUID(int=n << 120), "mp4") for n in range(150)]
    for n, key in enumerate(keys):
        await stuck.put(key, bytes(10))
        site.age_file("acme", key, site.at_us(200 - n))
    stuck.refused = frozenset({keys[3]})
    sweeper = site.sweeper(probe=lambda: Usage(1_500, 1_500), high_water=0.5, low_water=0.1)
    await sweeper.round()
    # 135 of 1,500 bytes each ten: one that cannot be removed is made up for by the next.
    assert site.clips() == {keys[3], *keys[136:]}
    assert stuck.listings > 1
