"""The memory of what was seen: vectors in Qdrant, reachable for one tenant at a time only.

Qdrant itself cannot force a tenant's filter, so this module is the only one that reaches points,
and every call of `TenantVectors` carries the filter.

The embedded engine (`open_vectors(path=…)`) is the server's, in this process. It locks its folder,
so one process owns it (the Memory deployment, one replica). It looks at each vector that passes the
filters, so a search takes longer the more objects there are: with 512 numbers per vector on two
cores, some 20 ms among 100,000 objects. The server builds a graph, and is for more than that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import numpy as np
import numpy.typing as npt
from qdrant_client import models

from cluster.core.tenancy import require_tenant
from cluster.stores.vectors.client import VectorClient as VectorClient
from cluster.stores.vectors.client import connect as connect
from cluster.stores.vectors.client import open_collection as open_collection
from cluster.stores.vectors.client import open_vectors as open_vectors
from cluster.stores.vectors.collection import collection_name as collection_name
from cluster.stores.vectors.collection import collections as collections
from cluster.stores.vectors.collection import dimension
from cluster.stores.vectors.collection import ensure_collection as ensure_collection
from cluster.stores.vectors.errors import QdrantTimeoutError, qdrant_errors
from pipelines.domain import EVERY_SIGHTING, Frozen, Sighting, SightingFilter
from pipelines.erasure import Target
from pipelines.errors import InputError, NotFoundError
from pipelines.retention import Window

MAX_LIMIT = 1_000
# A server refuses a request of more than 32 MB, which 3,000 vectors of 512 numbers exceed: a number
# takes up to 22 characters of JSON, a sighting some 600. A request of this size has 300 of them.
BATCH_BYTES = 4_000_000
_NUMBER_BYTES, _SIGHTING_BYTES = 22, 1_000
# While the server merges and indexes, what it has stored becomes visible late; a healthy one takes
# some milliseconds. Two of these fit into what the embedder waits for the memory.
APPLY_S = 4
# Of 512 numbers each, 512 kB.
PAGE = 256
_NAMESPACE = UUID("6f1d4a0e-6c1f-5d0a-9d0f-3c6f2f0b7a11")

Vector = Sequence[float] | npt.NDArray[np.float32]
"""float32 (dim,); its length does not matter, only its direction (cosine)."""


class Match(Frozen):
    """A remembered object and how near it is: cosine similarity, -1..1."""

    score: float
    sighting: Sighting


class Remembered(NamedTuple):
    """A remembered object with its vector, float32 (dim,), of length 1."""

    sighting: Sighting
    vector: npt.NDArray[np.float32]


class TenantVectors:
    """What one tenant remembers. No method can see or change another tenant's points.

    Args:
        client: from `open_vectors`; stays the caller's to close.
        collection: made by `ensure_collection`.
        tenant: whose memory.
        cameras: those whose sightings alone are found; None: every camera.
        dim: numbers of a vector; None: the collection is asked once.

    Raises:
        InputError: `tenant` is no slug.
    """

    def __init__(
        self,
        client: VectorClient,
        collection: str,
        tenant: str,
        cameras: frozenset[str] | None = None,
        dim: int | None = None,
    ) -> None:
        require_tenant(tenant)
        self.tenant = tenant
        self._cameras = cameras
        self._client = client
        self._collection = collection
        self._dim = dim

    async def upsert(self, points: Sequence[tuple[Sighting, Vector]]) -> None:
        """Remember sightings with their vectors; the same track again replaces what was known.

        They are in the server's log when this returns, and can be found as soon as it has applied
        them: at once, except while it is busy indexing. Many go in several requests, so that some
        may be remembered when it raises UnavailableError; the same call again mends that.

        Raises:
            InputError: a vector has the wrong length, is zero or not finite, or a sighting is
                another tenant's. Nothing is remembered then.
            UnavailableError: Qdrant is away, or the collection is missing.
        """
        if not points:
            return
        if any(sighting.tenant != self.tenant for sighting, _ in points):
            raise InputError("a sighting belongs to another tenant.")
        dim = await self._dimension()
        structs = [
            models.PointStruct(
                id=_point_id(sighting.tenant, sighting.camera, sighting.track),
                vector=_checked(vector, dim),
                payload=sighting.model_dump(mode="json"),
            )
            for sighting, vector in points
        ]
        size = batch_size(dim)
        for start in range(0, len(structs), size):
            await self._store(structs[start : start + size], last=start + size >= len(structs))

    async def search(
        self,
        vector: Vector,
        limit: int = 20,
        only: SightingFilter = EVERY_SIGHTING,
    ) -> list[Match]:
        """The nearest remembered objects, nearest first.

        Args:
            vector: float32 (dim,).
            limit: 1..MAX_LIMIT.
            only: among these.

        Raises:
            InputError: the vector or the limit cannot be used.
            UnavailableError: Qdrant is away, or the collection is missing.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise InputError(f"limit must be between 1 and {MAX_LIMIT}.")
        query = _checked(vector, await self._dimension())
        with qdrant_errors():
            answer = await self._client.query_points(
                self._collection,
                query=query,
                query_filter=self._filter(only),
                limit=limit,
                with_payload=True,
            )
        return [self._match(point) for point in answer.points]

    async def vector(self, camera: str, track: str) -> npt.NDArray[np.float32]:
        """The vector of a remembered object, float32 (dim,), of length 1.

        Raises:
            NotFoundError: this object of this camera is not remembered.
            UnavailableError: Qdrant is away, or the collection is missing.
        """
        inside = self._filter(EVERY_SIGHTING)
        assert isinstance(inside.must, list)
        point = _point_id(self.tenant, camera, track)
        inside.must.append(models.HasIdCondition(has_id=[point]))
        with qdrant_errors():
            points = await self._client.scroll(
                self._collection,
                scroll_filter=inside,
                limit=1,
                with_vectors=True,
            )
        if not points[0]:
            raise NotFoundError(
                f"nothing is remembered of the object {track}.",
                hint="It is, some seconds after it came into sight, where the embedder keeps up.",
            )
        return np.asarray(points[0][0].vector, np.float32)

    async def pages(self, size: int = PAGE) -> AsyncIterator[list[Remembered]]:
        """Everything that is remembered, by id, in pages. Raises UnavailableError."""
        offset: Any = None
        while True:
            with qdrant_errors():
                points, offset = await self._client.scroll(
                    self._collection,
                    scroll_filter=self._filter(EVERY_SIGHTING),
                    limit=size,
                    with_vectors=True,
                    offset=offset,
                )
            if points:
                yield [self._remembered(point) for point in points]
            if offset is None:
                return

    async def read(self, targets: Sequence[Target]) -> list[Remembered]:
        """Those of some objects that are remembered. Raises UnavailableError."""
        ids = [_point_id(self.tenant, t.camera, t.track) for t in targets]
        if not ids:
            return []
        with qdrant_errors():
            points, _ = await self._client.scroll(
                self._collection, scroll_filter=self._named(ids), limit=len(ids), with_vectors=True
            )
        return [self._remembered(point) for point in points]

    async def count(self, camera: str | None = None) -> int:
        """How many objects are remembered. Raises UnavailableError."""
        with qdrant_errors():
            answer = await self._client.count(
                self._collection,
                count_filter=self._filter(SightingFilter(camera=camera)),
                exact=True,
            )
        return answer.count

    async def erase(self, camera: str | None = None) -> None:
        """Forget everything of a camera, or of the whole tenant. Raises UnavailableError."""
        with qdrant_errors():
            await self._delete(self._filter(SightingFilter(camera=camera)))

    async def known(self, targets: Sequence[Target]) -> list[Target]:
        """Those of some objects that are remembered. Raises UnavailableError."""
        ids = {_point_id(self.tenant, t.camera, t.track): t for t in targets}
        if not ids:
            return []
        with qdrant_errors():
            found, _ = await self._client.scroll(
                self._collection, scroll_filter=self._named(list(ids)), limit=len(ids)
            )
        return [ids[str(point.id)] for point in found]

    async def forget(self, targets: Sequence[Target]) -> None:
        """Forget some objects; those that are not remembered are no error. Raises
        UnavailableError."""
        ids = [_point_id(self.tenant, t.camera, t.track) for t in targets]
        if ids:
            with qdrant_errors():
                await self._delete(self._named(ids))

    async def remove(self, camera: str, window: Window, limit: int) -> int:
        """Forget at most `limit` objects of a camera that lie within a window.

        Returns:
            How many; fewer than `limit`: none is left.

        Raises:
            UnavailableError: Qdrant is away, or the collection is missing.
        """
        inside = self._filter(SightingFilter(camera=camera))
        assert isinstance(inside.must, list)
        began = models.Range(gte=window.from_us)
        ended = models.Range(lt=window.until_us)
        inside.must.append(models.FieldCondition(key="first_seen_us", range=began))
        inside.must.append(models.FieldCondition(key="last_seen_us", range=ended))
        with qdrant_errors():
            found, _ = await self._client.scroll(
                self._collection, scroll_filter=inside, limit=limit
            )
            if found:
                await self._delete(self._named([str(point.id) for point in found]))
        return len(found)

    async def _store(self, points: Sequence[models.PointStruct], last: bool) -> None:
        """Wait until the last batch is applied, which comes after all before it, but not for long:
        stored they are as soon as the server has acknowledged them."""
        if last and await self._applied(points):
            return
        with qdrant_errors():
            await self._client.upsert(self._collection, points, wait=False, timeout=APPLY_S)

    async def _applied(self, points: Sequence[models.PointStruct]) -> bool:
        """Store, and whether the server said within `APPLY_S` that it has."""
        try:
            with qdrant_errors():
                await self._client.upsert(self._collection, points, wait=True, timeout=APPLY_S)
        except QdrantTimeoutError:
            return False
        return True

    async def _delete(self, which: models.Filter) -> None:
        selector = models.FilterSelector(filter=which)
        await self._client.delete(self._collection, points_selector=selector, wait=True)

    def _named(self, ids: Sequence[str]) -> models.Filter:
        """The tenant's condition, and the ids of points."""
        named = models.HasIdCondition(has_id=list(ids))
        return models.Filter(must=[_equals("tenant", self.tenant), named])

    def _filter(self, only: SightingFilter) -> models.Filter:
        """The tenant's condition, and the others that are given."""
        must: list[Any] = [_equals("tenant", self.tenant)]
        if self._cameras is not None:
            # No camera has an empty name: of no camera, nothing is found.
            among = models.MatchAny(any=sorted(self._cameras) or [""])
            must.append(models.FieldCondition(key="camera", match=among))
        for key in ("camera", "label", "colour"):
            if (wanted := getattr(only, key)) is not None:
                must.append(_equals(key, wanted))
        if only.since_us is not None:
            still = models.Range(gte=only.since_us)
            must.append(models.FieldCondition(key="last_seen_us", range=still))
        if only.until_us is not None:
            already = models.Range(lt=only.until_us)
            must.append(models.FieldCondition(key="first_seen_us", range=already))
        return models.Filter(must=must)

    def _match(self, point: models.ScoredPoint) -> Match:
        sighting = Sighting.model_validate(point.payload)
        if sighting.tenant != self.tenant:
            raise AssertionError("Qdrant answered with another tenant's point")
        return Match(score=point.score, sighting=sighting)

    def _remembered(self, point: models.Record) -> Remembered:
        sighting = Sighting.model_validate(point.payload)
        if sighting.tenant != self.tenant:
            raise AssertionError("Qdrant answered with another tenant's point")
        return Remembered(sighting, np.asarray(point.vector, np.float32))

    async def _dimension(self) -> int:
        if self._dim is None:
            self._dim = await dimension(self._client, self._collection)
        return self._dim


def batch_size(dim: int) -> int:
    """Points of one request, so that it stays below `BATCH_BYTES`; at least one."""
    return max(1, BATCH_BYTES // (_NUMBER_BYTES * dim + _SIGHTING_BYTES))


def _point_id(tenant: str, camera: str, track: str) -> str:
    # Slugs hold no slash, so the three parts cannot be split in two ways.
    return str(uuid5(_NAMESPACE, f"{tenant}/{camera}/{track}"))


def _equals(key: str, value: str) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _checked(vector: Vector, dim: int) -> list[float]:
    array = np.asarray(vector, dtype=np.float32)
    if array.shape != (dim,):
        raise InputError(f"expected a vector of shape ({dim},), got {array.shape}.")
    if not np.isfinite(array).all() or not array.any():
        raise InputError("a vector must be finite and not zero.")
    values: list[float] = array.tolist()
    return values
