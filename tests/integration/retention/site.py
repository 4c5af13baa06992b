"""What retention looks after, and how tests fill and read it."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid5

from cluster.clips.clips import ClipFile, clip_key, clip_keys
from cluster.clips.exports import manifest_key
from cluster.clips.manifest import Manifest
from cluster.core.retention_settings import RetentionSettings
from cluster.recording.footage import FootageGuard
from cluster.retention.disk import UsageProbe
from cluster.retention.stores import TenantMemory, TenantStores
from cluster.retention.sweeper import Sweeper
from cluster.stores.audit.events import AuditQuery
from cluster.stores.blobs.tenant import ListedBlob, TenantBlobs
from cluster.stores.db import AlarmQuery, Database, ObjectQuery, RetentionRun
from cluster.stores.vectors.tenant import (
    TenantVectors,
    VectorClient,
    ensure_collection,
    open_vectors,
)
from pipelines.clock import ManualClock
from pipelines.domain import PATH_CELL_US, Alarm, Segment
from pipelines.errors import UnavailableError
from pipelines.identity import object_snapshot_key
from pipelines.retention import DAY_US, SpaceState, Usage
from pipelines.times import moment_of
from tests.factories import (
    CIPHER,
    NAMESPACE,
    make_alarm,
    make_analysed,
    make_camera,
    make_path,
    make_sighting,
)

COLLECTION, DIM = "sightings", 4
MINUTE_US = 60_000_000


class Stuck(TenantBlobs):
    """A storage that refuses to remove some files, and to read others.

    Attributes:
        listings: how many folders were listed.
    """

    refused: frozenset[str] = frozenset()
    unreadable: frozenset[str] = frozenset()
    listings = 0

    async def get(self, key: str) -> bytes:
        if key in self.unreadable:
            raise UnavailableError("the blob storage cannot be used: PermissionError.")
        return await super().get(key)

    async def delete(self, key: str) -> None:
        if key in self.refused:
            raise UnavailableError("the blob storage cannot be used: PermissionError.")
        await super().delete(key)

    def pages(
        self, folder: str, firsts: str, *, after: str = ""
    ) -> AsyncGenerator[list[ListedBlob], None]:
        self.listings += 1
        return super().pages(folder, firsts, after=after)


@dataclass
class Seen:
    """What the sweeper told its observer."""

    runs: list[RetentionRun] = field(default_factory=list)
    states: list[SpaceState] = field(default_factory=list)

    def run(self, run: RetentionRun) -> None:
        self.runs.append(run)

    def space(self, usage: Usage | None, state: SpaceState) -> None:
        del usage
        self.states.append(state)


@dataclass
class Site:
    """Times are given as days before now, which is the clock's start."""

    folder: Path
    clock: ManualClock
    database: Database
    vectors: VectorClient
    blobs: dict[str, TenantBlobs]
    seen: Seen = field(default_factory=Seen)

    # ------------------------------------------------------------ filling

    def at_us(self, days_ago: float) -> int:
        return self.clock.now_us() - round(days_ago * DAY_US)

    async def alarm(
        self, days_ago: float, tenant: str = "acme", camera: str = "gate", *, clip: bool = True
    ) -> Alarm:
        """An alarm with its picture and its clip."""
        at_us = self.at_us(days_ago)
        found = make_alarm(0, tenant, camera=camera)
        id = uuid5(NAMESPACE, f"{tenant}/{camera}/{at_us}")
        stages = found.stages.model_copy(update={"capture_us": at_us})
        alarm = found.model_copy(
            update={"id": id, "stages": stages, "snapshot": f"alarms/{id}.jpg"}
        )
        await self.blobs[tenant].put(f"alarms/{id}.jpg", b"a picture")
        for key in clip_keys(id) if clip else ():
            await self.blobs[tenant].put(key, b"part of a clip")
        await self.database.tenant(tenant).record_alarms([alarm])
        return alarm

    async def describe_clip(
        self, alarm: UUID, from_us: int, to_us: int, tenant: str = "acme"
    ) -> None:
        """Let a clip say what it shows; before, nobody knows."""
        file = ClipFile(
            from_us=from_us, to_us=to_us, gaps=(), codec="h264", width=640, height=360,
            audio=False, masked=False, size=1, sha256="0" * 64, sources=(),
        )  # fmt: skip
        data = file.model_dump_json().encode()
        await self.blobs[tenant].put(clip_key(alarm, "clip.json"), data)

    async def recording(
        self,
        days_ago: float,
        tenant: str = "acme",
        camera: str = "gate",
        *,
        size: int = 100,
        length_us: int = MINUTE_US,
    ) -> str:
        """A file of a minute that ended then; its key."""
        end_us = self.at_us(days_ago)
        key = f"recordings/{camera}/{end_us}.mp4"
        await self.blobs[tenant].put(key, bytes(size))
        segment = Segment(
            camera=camera, start_us=end_us - length_us, end_us=end_us, origin_us=end_us,
            codec="h264", width=640, height=360, frames=1, size=size, sha256="0" * 64, blob=key,
        )  # fmt: skip
        await self.database.recordings(tenant).add(segment)
        return key

    async def seen_object(self, days_ago: float, tenant: str = "acme", camera: str = "gate") -> str:
        """An object with its picture, its path and its vector, last seen then; its track."""
        last_us = self.at_us(days_ago)
        track = f"t-{last_us}"
        key = object_snapshot_key(camera, track)
        await self.blobs[tenant].put(key, b"a picture")
        sighting = make_sighting(
            0, tenant, camera=camera, track=track, snapshot=key,
            first_seen_us=last_us - 2_000_000, last_seen_us=last_us,
        )  # fmt: skip
        tracks = self.database.tracks(tenant)
        await tracks.record_objects([sighting])
        path = make_path(
            0, tenant, camera=camera, track=track,
            start_us=last_us - 2_000_000, end_us=last_us,
        )  # fmt: skip
        await tracks.record_paths([path])
        start_us = path.start_us // PATH_CELL_US * PATH_CELL_US
        cell = make_analysed(0, tenant, camera=camera, start_us=start_us, end_us=last_us)
        await tracks.record_analysed([cell])
        await self.vectors_of(tenant).upsert([(sighting, [1.0] * DIM)])
        return track

    async def export(self, days_ago: float, tenant: str = "acme", camera: str = "gate") -> UUID:
        """The manifest of an export of the hour before, made then."""
        made_us = self.at_us(days_ago)
        id = uuid5(NAMESPACE, f"{tenant}/{camera}/{made_us}")
        stretch = {"from": moment_of(made_us - 60 * MINUTE_US), "to": moment_of(made_us)}
        manifest = Manifest.model_validate(
            {
                "id": id, "tenant": tenant, "camera": camera, "asked": stretch,
                "covered": stretch, "gaps": [], "sources": [], "created_at": moment_of(made_us),
                "file": {"sha256": "0" * 64, "size": 1, "frames": 1, "audio": False},
                "created_by": "key:k1",
            }
        )  # fmt: skip
        await self.blobs[tenant].put(manifest_key(id), manifest.model_dump_json().encode())
        self.age_file(tenant, manifest_key(id), made_us)
        return id

    def age_file(self, tenant: str, key: str, at_us: int) -> None:
        """Let a file have been stored then."""
        os.utime(self.folder / "blobs" / tenant / key, (at_us / 1e6, at_us / 1e6))

    # ------------------------------------------------------------ reading

    def clips(self, tenant: str = "acme") -> set[str]:
        return {key for key in self.files(tenant) if key.startswith("clips/")}

    async def analysed(self, tenant: str = "acme", camera: str = "gate") -> list[int]:
        """Ends of the kept cells."""
        cells = await self.database.tracks(tenant).analysed(camera, 0, 2**60)
        return [cell.end_us for cell in cells]

    def files(self, tenant: str = "acme") -> set[str]:
        root = self.folder / "blobs" / tenant
        return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}

    def size(self) -> int:
        return sum(p.stat().st_size for p in (self.folder / "blobs").rglob("*") if p.is_file())

    async def alarms(self, tenant: str = "acme") -> set[UUID]:
        page = await self.database.tenant(tenant).alarms(AlarmQuery(limit=500))
        return {record.alarm.id for record in page.items}

    async def recordings(self, tenant: str = "acme") -> set[str]:
        found = await self.database.recordings(tenant).between(None, 0, 2**62, limit=10_000)
        return {segment.blob for segment in found}

    async def objects(self, tenant: str = "acme") -> set[str]:
        page = await self.database.tracks(tenant).objects(ObjectQuery(limit=500))
        return {record.sighting.track for record in page.items}

    async def paths(self, tenant: str = "acme", camera: str = "gate") -> set[str]:
        found = await self.database.tracks(tenant).paths(camera, 0, 2**62)
        return {path.track for path in found}

    async def remembered(self, tenant: str = "acme") -> set[str]:
        matches = await self.vectors_of(tenant).search([1.0] * DIM, 500)
        return {match.sighting.track for match in matches}

    async def audited(self, chain: str, action: str) -> list[dict[str, object]]:
        """Details of what was logged, oldest first."""
        page = await self.database.audit_chain(chain).page(AuditQuery(limit=500))
        found = [e.details for e in page.items if e.action == action]
        return [dict(details) for details in reversed(found)]

    # ------------------------------------------------------------ the sweeper

    def vectors_of(self, tenant: str) -> TenantVectors:
        return TenantVectors(self.vectors, COLLECTION, tenant)

    def sweeper(
        self,
        *,
        probe: UsageProbe | None = None,
        memory: Callable[[str], TenantMemory] | None = None,
        quotas: Mapping[str, int] | None = None,
        guard: FootageGuard | None = None,
        **settings: object,
    ) -> Sweeper:
        """
        Args:
            quotas: bytes of the storage by tenant; who is not named may use a petabyte.
            guard: looked with before each run.
            settings: of the section `retention`.
        """

        async def quota(tenant: str) -> int:
            return (quotas or {}).get(tenant, 10**15)

        async def tenants() -> list[str]:
            return [tenant.slug for tenant in await self.database.platform().tenants()]

        def stores(tenant: str) -> TenantStores:
            return TenantStores(
                tenant=tenant,
                retention=self.database.retention(tenant),
                expiry=self.database.expiry(tenant),
                blobs=self.blobs[tenant],
                memory=(memory or self.vectors_of)(tenant),
                audit=self.database.audit(tenant),
            )

        return Sweeper(
            RetentionSettings.model_validate(settings),
            tenants=tenants,
            stores=stores,
            quota=quota,
            platform_audit=self.database.platform_audit(),
            probe=probe,
            clock=self.clock,
            observe=self.seen,
            pause_s=0,
            look=guard.look if guard else None,
        )


@asynccontextmanager
async def open_site(folder: Path) -> AsyncIterator[Site]:
    """The tenants acme and globex, each with the cameras gate and yard. `folder` has a migrated
    database."""
    clock = ManualClock()
    vectors = open_vectors(path=folder / "qdrant")
    await ensure_collection(vectors, COLLECTION, DIM)
    blobs = {t: TenantBlobs(f"file://{folder}/blobs", t) for t in ("acme", "globex")}
    url = f"sqlite+aiosqlite:///{folder}/atalaia.db"
    async with Database(url, clock=clock, cipher=CIPHER) as database:
        for tenant in blobs:
            await database.platform().ensure_tenant(tenant, tenant.title())
            for camera in ("gate", "yard"):
                await database.tenant(tenant).add_camera(make_camera(tenant, camera))
        yield Site(folder, clock, database, vectors, blobs)
    await vectors.close()
    for each in blobs.values():
        await each.aclose()
