"""What the HTTP layer needs of the rest of the cluster, and nothing more.

The implementations that talk to Ray are in `serve.api.ray_ports`; the routes know only these.
Every method raises errors of `pipelines.errors`, never one of the library underneath.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from redis.asyncio import Redis

from cluster.core.settings import Settings
from cluster.media.resolution import CameraAddresses
from cluster.stores.blobs.tenant import BlobStat
from cluster.stores.db import Database
from pipelines.clock import Clock
from pipelines.domain import (
    CameraKey,
    Detections,
    LetterboxedFrame,
    Sighting,
    SightingFilter,
    WorkOwner,
)

Vector = npt.NDArray[np.float32]

Probe = Callable[[], Awaitable[object]]
"""Returns where a dependency answers; raises where it does not. A text is shown with it."""


class LoadedModel(Protocol):
    """The part of a model's description that the API shows."""

    @property
    def name(self) -> str: ...

    @property
    def input_size(self) -> tuple[int, int]:
        """Width and height in input pixels."""
        ...

    @property
    def sha256(self) -> str: ...

    @property
    def runtime(self) -> str: ...

    @property
    def precision(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def error(self) -> str | None:
        """Why the last model that was offered was refused."""
        ...


class ScoredSighting(Protocol):
    """One answer of the memory: how alike, and what was seen."""

    @property
    def score(self) -> float: ...

    @property
    def sighting(self) -> Sighting: ...


class DetectorPort(Protocol):
    async def detect_image(self, image: LetterboxedFrame, owner: WorkOwner) -> Detections:
        """Detections in source pixels.

        Raises:
            UnavailableError: no replica answers, or too many images of this tenant wait.
        """
        ...

    async def info(self) -> LoadedModel: ...

    async def load(self, weights: str) -> LoadedModel:
        """Replace the model on every replica. Raises ModelError: refused, the old one serves on."""
        ...


class EmbedderPort(Protocol):
    async def embed_image(self, pixels: npt.NDArray[np.uint8], owner: WorkOwner) -> Vector:
        """The vector of an RGB picture, uint8 (height, width, 3)."""
        ...

    async def embed_text(self, text: str, owner: WorkOwner) -> Vector:
        """Raises InputError or UnavailableError where the model has no text side."""
        ...

    async def info(self) -> object: ...


class MemoryPort(Protocol):
    async def search(
        self,
        tenant: str,
        vector: Vector,
        limit: int,
        only: SightingFilter,
        cameras: frozenset[str] | None,
    ) -> Sequence[ScoredSighting]:
        """Those of `tenant`'s sightings most like `vector`, best first; with `cameras` of these
        cameras only."""
        ...

    async def vector(self, tenant: str, camera: str, track: str) -> Vector:
        """The vector of an object of `tenant`. Raises NotFoundError: nothing is remembered."""
        ...


class ControllerPort(Protocol):
    async def changed(self, tenant: str, camera: str | None) -> None:
        """Have the controller read the records now. Does not wait for the outcome."""
        ...


class HostsPort(Protocol):
    async def snapshot(self, host: str, key: CameraKey, quality: int = 85) -> bytes:
        """The JPEG of the camera's latest frame, from the agent host that watches it.

        Raises:
            UnavailableError: the host is gone, or has no frame yet.
        """
        ...


class JobsPort(Protocol):
    """Processes of jobs, by a name that the caller makes up."""

    async def submit(self, submission: str, argv: Sequence[str]) -> None:
        """Start `argv` somewhere in the cluster; the job reports to its record by itself."""
        ...

    async def ending(self, submission: str) -> str | None:
        """Why it is over, in words; None while it waits or runs."""
        ...

    async def stop(self, submission: str) -> None:
        """End it, if it runs."""
        ...


class BlobStore(Protocol):
    """The blob storage of one tenant."""

    async def get(self, key: str) -> bytes:
        """Raises NotFoundError where nothing is stored under `key`."""
        ...

    async def put(self, key: str, data: bytes) -> None: ...

    async def put_file(self, key: str, source: Path) -> None: ...

    async def stat(self, key: str) -> BlobStat: ...

    async def read_range(self, key: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (exclusive)."""
        ...


@dataclass(frozen=True, slots=True)
class Deps:
    """All that `create_app` needs. Whoever builds it also closes what is in it.

    Attributes:
        blobs: the blob storage of a tenant.
        addresses: decides which addresses cameras may have.
        probes: further dependencies of `/readyz` by name; database and Redis are always probed.
        replica: which replica of the API this is; empty: the only one.
    """

    settings: Settings
    clock: Clock
    database: Database
    redis: Redis
    detector: DetectorPort
    embedder: EmbedderPort
    memory: MemoryPort
    controller: ControllerPort
    hosts: HostsPort
    jobs: JobsPort
    blobs: Callable[[str], BlobStore]
    addresses: CameraAddresses
    probes: Mapping[str, Probe] = field(default_factory=dict)
    replica: str = ""
