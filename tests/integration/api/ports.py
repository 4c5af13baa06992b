"""The parts behind the ports, as simple as can be, for tests of the HTTP layer.

Records, Redis, blobs and vectors are real in these tests; only what needs Ray and a model is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cluster.stores.vectors.tenant import (
    Match,
    TenantVectors,
    VectorClient,
    ensure_collection,
    open_vectors,
)
from pipelines.domain import (
    CameraKey,
    Detections,
    LetterboxedFrame,
    Sighting,
    SightingFilter,
    WorkOwner,
)
from pipelines.errors import InputError, ModelError, UnavailableError
from serve.api.ports import Vector

COLLECTION = "sightings"


@dataclass
class Model:
    name: str = "still"
    input_size: tuple[int, int] = (640, 384)
    sha256: str = "0" * 64
    runtime: str = "none"
    precision: str = "fp32"
    labels: tuple[str, ...] = ("person",)
    error: str | None = None


@dataclass
class StillDetector:
    """Sees the same things in every picture, given as fractions of its size."""

    model: Model = field(default_factory=Model)
    sees: list[tuple[str, float, tuple[float, float, float, float]]] = field(default_factory=list)
    away: bool = False
    frames: list[LetterboxedFrame] = field(default_factory=list)
    owners: list[WorkOwner] = field(default_factory=list)

    async def detect_image(self, image: LetterboxedFrame, owner: WorkOwner) -> Detections:
        if self.away:
            raise UnavailableError("The detector is not there right now.")
        self.frames.append(image)
        self.owners.append(owner)
        scale = np.array(image.letterbox.source * 2, np.float32)
        return Detections(
            np.array([np.array(box) * scale for _, _, box in self.sees], np.float32).reshape(-1, 4),
            np.array([sure for _, sure, _ in self.sees], np.float32),
            tuple(label for label, _, _ in self.sees),
        )

    async def info(self) -> Model:
        if self.away:
            raise UnavailableError("The detector is not there right now.")
        return self.model

    async def load(self, weights: str) -> Model:
        if self.away:
            raise UnavailableError("The detector is not there right now.")
        if not weights.endswith(".pt"):
            raise ModelError(f"{weights} is no model.", hint="Give a .pt file.")
        self.model = replace(self.model, name=weights.rpartition("/")[2])
        return self.model


class ColourEmbedder:
    """The vector of a picture is its mean colour; there is no text side."""

    dim = 3

    async def embed_image(self, pixels: npt.NDArray[np.uint8], owner: WorkOwner) -> Vector:
        mean = pixels.reshape(-1, 3).mean(axis=0) + 1
        return np.asarray(mean / np.linalg.norm(mean), np.float32)

    async def embed_text(self, text: str, owner: WorkOwner) -> Vector:
        raise InputError("This embedder has no text side.", hint="Search by a picture.")

    async def info(self) -> object:
        return self


@dataclass
class Controller:
    """Remembers what it was told."""

    told: list[tuple[str, str | None]] = field(default_factory=list)
    away: bool = False
    hangs: bool = False

    async def changed(self, tenant: str, camera: str | None) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise UnavailableError("The controller is not there right now.")
        self.told.append((tenant, camera))


@dataclass
class Hosts:
    """Agent hosts by name, each with the pictures it holds."""

    pictures: dict[tuple[str, CameraKey], bytes] = field(default_factory=dict)

    async def snapshot(self, host: str, key: CameraKey, quality: int = 85) -> bytes:
        try:
            return self.pictures[host, key]
        except KeyError:
            raise UnavailableError("The agent host has no frame yet.") from None


@dataclass
class Jobs:
    """Remembers what was started and stopped; `ended` says which died by themselves, and how."""

    started: dict[str, list[str]] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    away: bool = False

    async def submit(self, submission: str, argv: Sequence[str]) -> None:
        if self.away:
            raise UnavailableError("The job submission is not there right now.")
        self.started[submission] = list(argv)

    async def ending(self, submission: str) -> str | None:
        if self.away:
            raise UnavailableError("The job submission is not there right now.")
        return self.ended.get(submission)

    async def stop(self, submission: str) -> None:
        self.stopped.append(submission)


class VectorMemory:
    """The embedded Qdrant behind the one class that may reach it.

    Opened by the first call, because making its collection takes longer than the rest of a world's
    start, and few tests look for vectors.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._client: VectorClient | None = None
        self._made = False
        self._turn = asyncio.Lock()

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _of(self, tenant: str, cameras: frozenset[str] | None = None) -> TenantVectors:
        async with self._turn:
            if self._client is None:
                self._client = open_vectors(path=self._folder)
            if not self._made:
                await ensure_collection(self._client, COLLECTION, ColourEmbedder.dim)
                self._made = True
        return TenantVectors(self._client, COLLECTION, tenant, cameras)

    async def upsert(self, tenant: str, sighting: Sighting, vector: Vector) -> None:
        await (await self._of(tenant)).upsert([(sighting, vector)])

    async def search(
        self,
        tenant: str,
        vector: Vector,
        limit: int,
        only: SightingFilter,
        cameras: frozenset[str] | None,
    ) -> list[Match]:
        return await (await self._of(tenant, cameras)).search(vector, limit, only)

    async def vector(self, tenant: str, camera: str, track: str) -> Vector:
        return await (await self._of(tenant)).vector(camera, track)
