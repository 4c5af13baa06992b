"""Removes recordings and clips to make space, oldest first, in the order of `SpaceStage`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import islice

from cluster.retention.listed import ListedThing, clips, files_of, not_held
from cluster.retention.stores import StoredFile, TenantStores, remove_in_chunks
from cluster.retention.sweep import GaveUp, Place
from cluster.retention.tally import Tally
from cluster.stores.db import RemovalCause
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError
from pipelines.retention import (
    Candidate,
    HeldSpan,
    RetentionKind,
    SpaceStage,
    oldest_worth,
    windows,
)

# Candidates per camera in one step, oldest first.
CANDIDATES = 64
# Clips of one tenant that are known at once, the oldest; when they are gone, all are listed again.
CLIPS_KNOWN = 4_096
# What is younger stays: an alarm may still be on its way to it.
YOUNGEST_US = 600_000_000

K = RetentionKind


@dataclass(frozen=True, slots=True)
class Party:
    """One tenant in a run."""

    stores: TenantStores
    tally: Tally

    @property
    def tenant(self) -> str:
        return self.stores.tenant


@dataclass(slots=True)
class _Known:
    """What is known of one tenant in a run.

    Attributes:
        refused: keys of what could not be removed.
        clips: the oldest clips, by the key of their first file, oldest first.
        more: whether there are other clips, younger than those.
        out: something went wrong; the tenant takes no part any more.
    """

    refused: set[str] = field(default_factory=set)
    clips: dict[str, ListedThing] = field(default_factory=dict)
    more: bool = True
    out: bool = False


class Relief:
    """One time of making space, for one loop.

    Args:
        parties: whose things may go.
        cause: why, for the tallies.

    Attributes:
        freed: bytes of what was removed, by kind.
    """

    def __init__(self, parties: Sequence[Party], clock: Clock, cause: RemovalCause) -> None:
        self.freed = {K.RECORDINGS: 0, K.CLIPS: 0}
        self._parties = parties
        self._clock = clock
        self._cause = cause
        self._known = {party.tenant: _Known() for party in parties}

    async def step(self, stage: SpaceStage, need: int) -> bool:
        """Remove some of a stage: as much as is needed, in bytes, or a batch. Returns False if
        there is nothing left of it."""
        lists = list[list[Candidate]]()
        for party in self._parties:
            with self._alone(party, stage):
                lists += await self._candidates(stage, party)
        chosen = oldest_worth(lists, need, CANDIDATES)
        for party in self._parties:
            with self._alone(party, stage):
                own = [c for c in chosen if c.tenant == party.tenant]
                if stage is SpaceStage.CLIPS:
                    await self._remove_clips(party, own)
                else:
                    await self._remove_recordings(party, own)
        return bool(chosen)

    @contextmanager
    def _alone(self, party: Party, stage: SpaceStage) -> Iterator[None]:
        """Top of one tenant's part of the work: what goes wrong there stops no other. The tenant
        takes no part in the rest of the run."""
        known = self._known[party.tenant]
        try:
            yield
        except GaveUp:
            known.out = True  # what failed is counted
        except AtalaiaError as error:
            party.tally.fail(_kind_of(stage), error, self._cause)
            known.out = True
        except Exception as error:  # noqa: BLE001 - logged there, with its trace
            party.tally.give_up(error)
            known.out = True

    async def _candidates(self, stage: SpaceStage, party: Party) -> list[list[Candidate]]:
        """The oldest of a tenant, list by list."""
        if self._known[party.tenant].out:
            return []
        if stage is SpaceStage.CLIPS:
            return [await self._oldest_clips(party)]
        holds = await party.stores.retention.held()
        with_alarm = stage is SpaceStage.RECORDINGS_WITH_ALARM
        return [
            await self._recordings(party, camera, holds, with_alarm=with_alarm)
            for camera in await party.stores.expiry.cameras(K.RECORDINGS)
        ]

    # ------------------------------------------------------------ recordings

    async def _recordings(
        self, party: Party, camera: str, holds: Sequence[HeldSpan], *, with_alarm: bool
    ) -> list[Candidate]:
        """The oldest files of a camera that no hold keeps."""
        refused = self._known[party.tenant].refused
        found = list[Candidate]()
        for window in windows(self._clock.now_us() - YOUNGEST_US, holds, camera):
            if len(found) >= CANDIDATES:
                break
            old = await party.stores.expiry.recordings(
                camera, window, CANDIDATES + len(refused), with_alarm=with_alarm
            )
            found += [
                Candidate(o.end_us, party.tenant, camera, o.start_us, o.size, o.blob)
                for o in old
                if o.blob not in refused
            ]
        return found[:CANDIDATES]

    async def _remove_recordings(self, party: Party, chosen: Sequence[Candidate]) -> None:
        """Files first. Raises GaveUp; UnavailableError: the rows stay for now."""

        async def files(candidate: Candidate) -> Sequence[StoredFile]:
            return [StoredFile(candidate.key, candidate.size or None)]

        def failed(candidate: Candidate, error: AtalaiaError) -> None:
            self._refuse(party, K.RECORDINGS, candidate.key, error)

        async with aclosing(remove_in_chunks(party.stores.blobs, chosen, files, failed)) as chunks:
            async for chunk in chunks:
                if chunk.refused:
                    raise GaveUp
                for camera, gone in _by_camera(chunk.gone).items():
                    await party.stores.expiry.remove_recordings(
                        camera, [candidate.start_us for candidate, _ in gone]
                    )
                    for _, size in gone:
                        self._freed(party, K.RECORDINGS, size)

    # ------------------------------------------------------------ clips

    async def _oldest_clips(self, party: Party) -> list[Candidate]:
        known = self._known[party.tenant]
        if known.more and len(known.clips) < CANDIDATES:
            await self._list_clips(party, known)
        return [
            Candidate(thing.age_us, party.tenant, thing.camera, thing.start_us, thing.size, key)
            for key, thing in islice(known.clips.items(), CANDIDATES)
        ]

    async def _list_clips(self, party: Party, known: _Known) -> None:
        """Find the oldest clips that no hold keeps."""
        until_us = self._clock.now_us() - YOUNGEST_US
        listing, oldest = clips(party.stores), list[ListedThing]()
        known.more = False
        async with aclosing(listing.batches(party.stores, Place("", left=False))) as batches:
            async for groups in batches:
                things = [t for t in await listing.things(groups) if t.age_us < until_us]
                things = [t for t in things if t.files[0].key not in known.refused]
                oldest += await self._not_held(party, things)
                if len(oldest) > CLIPS_KNOWN:
                    oldest = nsmallest(CLIPS_KNOWN, oldest, key=_age)
                    known.more = True
        known.clips = {thing.files[0].key: thing for thing in sorted(oldest, key=_age)}

    async def _not_held(self, party: Party, things: Sequence[ListedThing]) -> list[ListedThing]:
        def failed(thing: ListedThing, error: AtalaiaError) -> None:
            self._refuse(party, K.CLIPS, thing.files[0].key, error)

        return await not_held(party.stores, things, failed)

    async def _remove_clips(self, party: Party, chosen: Sequence[Candidate]) -> None:
        """Raises GaveUp, UnavailableError."""
        known = self._known[party.tenant]
        # Holds are read again: the list may be minutes old.
        things = await self._not_held(party, [known.clips.pop(c.key) for c in chosen])

        def failed(thing: ListedThing, error: AtalaiaError) -> None:
            self._refuse(party, K.CLIPS, thing.files[0].key, error)

        async with aclosing(
            remove_in_chunks(party.stores.blobs, things, files_of, failed)
        ) as chunks:
            async for chunk in chunks:
                if chunk.refused:
                    raise GaveUp
                for _, size in chunk.gone:
                    self._freed(party, K.CLIPS, size)

    # ------------------------------------------------------------ what became of it

    def _refuse(self, party: Party, kind: RetentionKind, key: str, error: AtalaiaError) -> None:
        self._known[party.tenant].refused.add(key)
        party.tally.fail(kind, error, self._cause, key=key)

    def _freed(self, party: Party, kind: RetentionKind, size: int) -> None:
        party.tally.add(kind, 1, size, self._cause)
        self.freed[kind] += size


def _by_camera(gone: Sequence[tuple[Candidate, int]]) -> dict[str, list[tuple[Candidate, int]]]:
    found: dict[str, list[tuple[Candidate, int]]] = {}
    for candidate, size in gone:
        found.setdefault(candidate.camera, []).append((candidate, size))
    return found


def _age(thing: ListedThing) -> int:
    return thing.age_us


def _kind_of(stage: SpaceStage) -> RetentionKind:
    return K.CLIPS if stage is SpaceStage.CLIPS else K.RECORDINGS
