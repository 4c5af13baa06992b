"""What is due for masks that were added later: of one tenant and camera, on both databases."""

from __future__ import annotations

from cluster.stores.db import Database
from pipelines.domain import MASK_DELAY_US, Segment, Stages
from tests.factories import T0_US, make_alarm, make_sighting

SINCE_US = T0_US + 3_600_000_000


def segment(start_us: int, *, masked: bool = False, masks_us: int | None = None) -> Segment:
    return Segment(
        camera="gate", start_us=start_us, end_us=start_us + 1, origin_us=start_us, codec="h264",
        width=640, height=360, frames=1, size=1, sha256="0" * 64, blob=f"recordings/{start_us}.mp4",
        masked=masked, masks_us=masks_us,
    )  # fmt: skip


async def test_a_recording_is_due_unless_it_has_all_masks(database: Database) -> None:
    settled_us = SINCE_US + MASK_DELAY_US
    due = [
        segment(T0_US),
        segment(T0_US + 1, masked=True),
        segment(T0_US + 2, masked=True, masks_us=SINCE_US - 1),
        segment(settled_us - 1, masked=True),
        segment(settled_us + 9),
    ]
    done = [segment(T0_US + 3, masked=True, masks_us=SINCE_US), segment(settled_us, masked=True)]
    recordings, remasking = database.recordings("acme"), database.remasking("acme")
    for one in due + done:
        await recordings.add(one)
        await database.recordings("globex").add(one)
    found = await remasking.recordings("gate", SINCE_US, 3)
    found += await remasking.recordings("gate", SINCE_US, 3, after_us=found[-1].start_us)
    assert found == due
    assert (await remasking.counts("gate", SINCE_US)).recordings == len(due)
    assert (await remasking.counts("yard", SINCE_US)).total == 0
    # As `Segment.painted_us` says of each.
    late = [one for one in due + done if one.painted_us is None or one.painted_us < SINCE_US]
    assert late == due
    new = due[0].model_copy(update={"masked": True, "masks_us": SINCE_US, "sha256": "1" * 64})
    assert await remasking.replace(due[0], new)
    assert not await remasking.replace(due[0], new)
    assert await remasking.painted("gate", [T0_US, T0_US + 1]) == {T0_US}
    theirs = await database.recordings("globex").between("gate", T0_US, T0_US + 1, limit=1)
    assert theirs == [due[0]]


async def test_alarms_and_objects_are_due_until_they_are_marked(database: Database) -> None:
    remasking = database.remasking("acme")
    alarms = [
        make_alarm(n, stages=Stages(capture_us=T0_US + n), snapshot=f"alarms/{n}.jpg")
        for n in range(3)
    ]
    await database.tenant("acme").record_alarms(alarms)
    [first] = await remasking.alarms("gate", SINCE_US, 1)
    rest = await remasking.alarms("gate", SINCE_US, 9, after=first)
    assert [due.id for due in [first, *rest]] == [alarm.id for alarm in alarms]
    await database.remasking("globex").mark_alarm(first.id, SINCE_US)
    await remasking.mark_alarm(rest[0].id, SINCE_US)
    assert (await remasking.counts("gate", SINCE_US)).alarms == 2
    assert (await remasking.counts("gate", SINCE_US + 1)).alarms == 3
    tracks = database.tracks("acme")
    sightings = [make_sighting(n, snapshot=f"objects/gate/{n}.jpg") for n in range(3)]
    await tracks.record_objects(sightings)
    [one] = await remasking.objects("gate", SINCE_US, 1)
    others = await remasking.objects("gate", SINCE_US, 9, after=one)
    assert [due.track for due in [one, *others]] == ["track-0", "track-1", "track-2"]
    assert one.box == (0.1, 0.2, 0.3, 0.4)
    assert await remasking.settle_object("gate", one, SINCE_US, keep=True)
    assert await remasking.settle_object("gate", others[0], SINCE_US, keep=False)
    assert [due.track for due in await remasking.objects("gate", SINCE_US, 9)] == ["track-2"]
    assert (await tracks.object("track-1")).sighting.snapshot is None
    # Seen again, it may have another picture.
    await tracks.record_objects(sightings[:1])
    assert (await remasking.counts("gate", SINCE_US)).objects == 2
    assert not await remasking.settle_object("gate", others[0], SINCE_US, keep=True)
