"""What the API shares between tenants, each bound to one of them.

Routes get these from their `TenantScope` and so never name a tenant. The stores of
`cluster.stores` that are made for one tenant need no such binding.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import numpy as np
import numpy.typing as npt
from starlette.datastructures import UploadFile

from cluster.clips.pictures import Hider
from cluster.media.resolution import CameraAddresses
from cluster.stores.bus import CameraStatus, CameraStatusBoard
from cluster.stores.db import Principal, VisibleCameras
from pipelines.domain import Alarm, Detections, LetterboxedFrame, SightingFilter, WorkOwner
from pipelines.errors import NotFoundError
from serve.api.alarm_feed import AlarmFeeds, Subscription
from serve.api.announce import Announcer
from serve.api.images import ImageDecoder, Rgb
from serve.api.media_links import SHOWS_NOTHING, MediaLinks, Shows
from serve.api.ports import (
    DetectorPort,
    EmbedderPort,
    JobsPort,
    LoadedModel,
    MemoryPort,
    ScoredSighting,
    Vector,
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TenantDetector:
    """The detector, which shares its time among tenants."""

    port: DetectorPort
    tenant: str

    async def info(self) -> LoadedModel:
        """Raises UnavailableError."""
        return await self.port.info()

    async def detect_image(self, image: LetterboxedFrame) -> Detections:
        """As `DetectorPort.detect_image`, at the tenant's cost."""
        return await self.port.detect_image(image, WorkOwner(self.tenant))


@dataclass(frozen=True, slots=True)
class TenantEmbedder:
    """The embedder, which shares its time among tenants. Errors are those of `EmbedderPort`."""

    port: EmbedderPort
    tenant: str

    async def embed_image(self, pixels: npt.NDArray[np.uint8]) -> Vector:
        """The vector of a picture, at the tenant's cost."""
        return await self.port.embed_image(pixels, WorkOwner(self.tenant))

    async def embed_text(self, text: str) -> Vector:
        """The vector of a text, where the model has a text side."""
        return await self.port.embed_text(text, WorkOwner(self.tenant))


@dataclass(frozen=True, slots=True)
class TenantDecoder:
    """The threads that decode uploads, which tenants share."""

    decoder: ImageDecoder
    tenant: str

    async def decode(
        self, upload: UploadFile, prepare: Callable[[Rgb], _T], max_side: int | None = None
    ) -> _T:
        """As `ImageDecoder.decode`, in the tenant's part of the queue."""
        return await self.decoder.decode(upload, prepare, max_side, tenant=self.tenant)


@dataclass(frozen=True, slots=True)
class TenantMemory:
    """The memory of what the caller's cameras saw. Errors are those of `MemoryPort`."""

    port: MemoryPort
    tenant: str
    visible: VisibleCameras

    async def search(
        self, vector: Vector, limit: int, only: SightingFilter
    ) -> Sequence[ScoredSighting]:
        """The sightings most like `vector`, best first."""
        if only.camera is None:
            cameras = await self.visible.all()
        else:
            cameras = await self.visible.among({only.camera})
        return await self.port.search(self.tenant, vector, limit, only, cameras)

    async def vector(self, camera: str, track: str) -> Vector:
        """The vector of an object. Raises NotFoundError: nothing is remembered."""
        if not await self.visible.among({camera}):
            raise NotFoundError(f"nothing is remembered of the object {track}.")
        return await self.port.vector(self.tenant, camera, track)


@dataclass(frozen=True, slots=True)
class TenantStatuses:
    """How the caller's cameras do."""

    board: CameraStatusBoard
    tenant: str
    visible: VisibleCameras

    async def all(self) -> dict[str, CameraStatus]:
        """By camera id, of those that have reported. Raises UnavailableError."""
        known = await self.board.get_all(self.tenant)
        cameras = await self.visible.all()
        return known if cameras is None else {id: known[id] for id in cameras & known.keys()}

    async def of(self, camera: str) -> CameraStatus | None:
        """None where the camera has not reported. Raises UnavailableError."""
        if not await self.visible.among({camera}):
            return None
        return (await self.board.get_all(self.tenant)).get(camera)


@dataclass(frozen=True, slots=True)
class TenantAddresses:
    """Which addresses the tenant's cameras may have; its look-ups wait only for each other."""

    addresses: CameraAddresses
    tenant: str

    async def check(self, host: str, port: int) -> None:
        """Raises UnreadableCameraError, as `CameraAddresses.resolve`."""
        await self.addresses.resolve(host, port, self.tenant)


@dataclass(frozen=True, slots=True)
class TenantAlarmFeed:
    """The alarms of the caller's cameras as they happen."""

    feeds: AlarmFeeds
    tenant: str
    visible: VisibleCameras

    def subscribe(
        self, after: str | None, *, at_most: int
    ) -> AbstractAsyncContextManager[Subscription]:
        """As `AlarmFeeds.subscribe`. `Subscription.entries` takes what a client may see."""
        return self.feeds.subscribe(self.tenant, after, at_most=at_most)

    def listeners(self) -> int:
        """As `AlarmFeeds.listeners`."""
        return self.feeds.listeners(self.tenant)

    async def recent(self, alarm: UUID) -> Alarm | None:
        """One of the last alarms, whether or not it has reached the records."""
        found = self.feeds.recent(self.tenant, alarm)
        if found is None or not await self.visible.among({found.camera}):
            return None
        return found


@dataclass(frozen=True, slots=True)
class TenantAnnouncer:
    """Tells the controller of changes to the tenant's cameras."""

    announcer: Announcer
    tenant: str

    async def changed(self, camera: str) -> None:
        """Does not raise where the controller is away."""
        await self.announcer.changed(self.tenant, camera)


@dataclass(frozen=True, slots=True)
class TenantHider:
    """The threads that anonymise pictures, which tenants share."""

    hider: Hider
    tenant: str

    async def run(self, call: Callable[[], _T]) -> _T:
        """As `Hider.run`, when it is the tenant's turn."""
        return await self.hider.run(self.tenant, call)


@dataclass(frozen=True, slots=True)
class TenantLinks:
    """Signs links to the tenant's blobs, in the name of who asks."""

    links: MediaLinks
    tenant: str
    principal: Principal

    def link(
        self,
        key: str,
        media_type: str,
        camera: str,
        filename: str = "",
        *,
        shows: Shows = SHOWS_NOTHING,
    ) -> str:
        """Address of a blob of a camera, relative to the API. It works no longer than a limited
        caller sees the camera. `shows`: of pictures, whom."""
        who = self.principal
        seen = "" if who.groups is None else camera
        return self.links.link(
            self.tenant, key, media_type, filename, by=who, camera=seen, shows=shows
        )


@dataclass(frozen=True, slots=True)
class TenantProcesses:
    """The processes of the tenant's jobs, by the names under which they were started."""

    port: JobsPort
    tenant: str

    async def start(self, submission: str, module: str, *options: str) -> None:
        """Run a module of ours with `options`. Raises UnavailableError."""
        argv = [sys.executable, "-m", module, "--tenant", self.tenant, *options]
        await self.port.submit(submission, argv)

    async def ending(self, submission: str) -> str | None:
        """Why it is over, in words; None while it waits or runs. Raises UnavailableError."""
        return await self.port.ending(submission)

    async def stop(self, submission: str) -> None:
        """End it, if it runs. Raises UnavailableError."""
        await self.port.stop(submission)
