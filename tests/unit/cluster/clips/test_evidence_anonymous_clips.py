"""Anonymised clips in the storage: made once, of what applies, and of nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cluster.clips.anonymous import AnonymousClips, Hiding
from cluster.clips.clips import Clip, ClipFile, ClipReason, ClipState, clip_key, clip_keys
from cluster.clips.scratch import Scratch
from cluster.clips.stitch import Stitcher
from cluster.stores.blobs.tenant import TenantBlobs
from pipelines.anonymisation import Hide, HideRule, HideStyle, persons_in
from pipelines.errors import UnavailableError
from tests.blob_lists import listing
from tests.factories import T0_US, make_alarm
from tests.recorded import picture_us, segments_of
from tests.walker import SIZE, walk_paths, walk_units

FRAMES = 30
NOW_US = T0_US + 3_600_000_000
ALARM = make_alarm(1)


@dataclass
class Shelf:
    """A storage with the clip of an alarm, and what makes anonymised ones."""

    blobs: TenantBlobs
    clips: AnonymousClips
    clip: Clip

    async def make(self, rule: HideRule, *, applies: bool = True, at_most: int = 8) -> Clip:
        span = (T0_US, picture_us(T0_US, FRAMES))
        persons = persons_in(rule, walk_paths(FRAMES, T0_US), span=span, now_us=NOW_US)

        async def still() -> bool:
            return applies

        return await self.clips.clip(
            ALARM, self.clip, Hiding(rule, persons), self.blobs, still=still, at_most=at_most
        )

    async def stored(self) -> set[str]:
        return {blob.key for blob in await listing(self.blobs, f"clips/{ALARM.id}")}


def rule(hide: Hide = Hide.PERSONS) -> HideRule:
    return HideRule(hide, HideStyle.MOSAIC, False, ("person",))


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    [file] = segments_of(tmp_path, walk_units(FRAMES, T0_US), per_segment=FRAMES, size=SIZE)
    with Stitcher(tmp_path / "clip.mp4", 0, NOW_US) as stitcher:
        stitcher.add(file.path, file.origin_us)
        made = stitcher.close()
    assert made is not None
    described = ClipFile(
        from_us=made.from_us, to_us=made.to_us, gaps=(), codec="h264", width=SIZE[0],
        height=SIZE[1], audio=False, masked=False, size=made.size, sha256=made.sha256, sources=(),
    )  # fmt: skip
    async with TenantBlobs(f"file://{tmp_path}/blobs", "acme") as blobs:
        await blobs.put_file(clip_key(ALARM.id, "mp4"), made.path)
        scratch = Scratch(tmp_path / "scratch", 2)
        clips = AnonymousClips(scratch)
        yield Shelf(blobs, clips, Clip(ClipState.READY, described.span, file=described))
        await clips.aclose()
        scratch.close()


async def test_it_is_made_once_for_all_who_ask(shelf: Shelf) -> None:
    made = await asyncio.gather(*(shelf.make(rule()) for _ in range(5)))
    assert {clip.state for clip in made} == {ClipState.READY}
    version = await shelf.blobs.stat(clip_key(ALARM.id, "hidden.mp4"))
    again = await shelf.make(rule())
    assert again == made[0]
    assert await shelf.blobs.stat(clip_key(ALARM.id, "hidden.mp4")) == version
    assert shelf.clips.in_the_making("acme") == 0


async def test_another_rule_makes_another_one_in_its_place(shelf: Shelf) -> None:
    persons, heads = await shelf.make(rule()), await shelf.make(rule(Hide.HEADS))
    assert persons.file is not None
    assert heads.file is not None
    assert persons.file.hidden != heads.file.hidden
    assert persons.file.sha256 != heads.file.sha256
    assert (await shelf.make(rule())).file == persons.file
    # Retention and erasure find all of it by the id of the alarm.
    assert await shelf.stored() <= set(clip_keys(ALARM.id))


async def test_a_rule_that_was_replaced_meanwhile_makes_none(shelf: Shelf) -> None:
    clip = await shelf.make(rule(), applies=False)
    assert (clip.state, clip.reason) == (ClipState.PENDING, ClipReason.BEING_MADE)
    assert await shelf.stored() == {clip_key(ALARM.id, "mp4")}


async def test_a_tenant_has_so_many_in_the_making(shelf: Shelf) -> None:
    clip = await shelf.make(rule(), at_most=0)
    assert (clip.state, clip.reason) == (ClipState.PENDING, ClipReason.BEING_MADE)
    assert clip.file is None


async def test_a_clip_that_is_not_the_described_one_is_not_used(shelf: Shelf) -> None:
    assert shelf.clip.file is not None
    await shelf.blobs.put(clip_key(ALARM.id, "mp4"), b"x" * shelf.clip.file.size)
    with pytest.raises(UnavailableError, match="replaced"):
        await shelf.make(rule())
    assert await shelf.stored() == {clip_key(ALARM.id, "mp4")}


async def test_only_a_clip_that_is_ready_can_be_anonymised(shelf: Shelf) -> None:
    shelf.clip = replace(shelf.clip, file=None)
    with pytest.raises(AssertionError, match="ready"):
        await shelf.make(rule())
