"""The memory of what was seen: vectors in Qdrant, reachable for one tenant at a time only.

Qdrant itself cannot force a tenant's filter, so this module is the only one that reaches it, and
every call of `TenantVectors` carries the filter.

The embedded engine (`open_vectors(path=…)`) is the server's, in this process. It locks its folder,
so one process owns it (the Memory deployment, one replica). It looks at each vector that passes the
filters, so a search takes longer the more objects there are: with 512 numbers per vector on two
cores, some 20 ms among 100,000 objects. The server builds a graph, and is for more than that.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import numpy as np
import numpy.typing as npt
from pydantic import SecretStr
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from cluster.core.aio import keep_cancellation
from cluster.core.settings import Settings
from cluster.core.tenancy import require_tenant
from cluster.stores.vectors.embedded import EmbeddedQdrant
from cluster.stores.vectors.tokens import CollectionTokens
from pipelines.clock import SystemClock
from pipelines.domain import EVERY_SIGHTING, Frozen, Sighting, SightingFilter
from pipelines.erasure import Target
from pipelines.errors import ConfigError, InputError, NotFoundError, UnavailableError
from pipelines.retention import Window

# A search in the server takes a few milliseconds; this bounds a server that hangs.
TIMEOUT_S = 10
MAX_LIMIT = 1_000
# Links of the search graph inside each tenant; the graph across tenants is switched off, since no
# search ever crosses them. Both as Qdrant advises for many tenants in one collection.
_TENANT_GRAPH = models.HnswConfigDiff(payload_m=16, m=0)
# Of 512 numbers each, 512 kB.
PAGE = 256
_COLLECTION = re.compile(r"atalaia-[a-z0-9-]+-\d+", re.ASCII)  # as `collection_name` makes them
_NAMESPACE = UUID("6f1d4a0e-6c1f-5d0a-9d0f-3c6f2f0b7a11")

VectorClient = AsyncQdrantClient | EmbeddedQdrant
"""For annotations elsewhere, so that only this package imports either."""

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


def open_vectors(
    *,
    url: str | None = None,
    api_key: SecretStr | None = None,
    tokens: CollectionTokens | None = None,
    path: Path | None = None,
) -> VectorClient:
    """A client of a server (`url`), or the engine embedded in this process (`path`).

    Args:
        tokens: sent in the place of `api_key`.

    Raises:
        ConfigError: neither or both are given, or another process has the folder.
    """
    if (url is None) == (path is None):
        raise ConfigError("give either the URL of a Qdrant server or a folder.")
    if url is not None:
        key = api_key.get_secret_value() if api_key and tokens is None else None
        return AsyncQdrantClient(
            url=url,
            api_key=key,
            auth_token_provider=tokens,
            timeout=TIMEOUT_S,
            # It would be a blocking call, here, in the constructor.
            check_compatibility=False,
        )
    assert path is not None
    return EmbeddedQdrant(path)


async def open_collection(settings: Settings, client: VectorClient, name: str) -> VectorClient:
    """The client for work in a collection that `client` has made: `client` itself, or in its place
    one that may do nothing else, where the server checks tokens.

    Raises:
        ConfigError: the tokens cannot be signed, because there is no API key.
    """
    qdrant = settings.qdrant
    if qdrant.url is None or not qdrant.tokens:
        return client
    if qdrant.api_key is None:
        raise ConfigError(
            "qdrant.tokens needs qdrant.api_key, which signs them.",
            hint="Set ATALAIA_QDRANT__API_KEY to the server's.",
        )
    await client.close()
    return open_vectors(
        url=qdrant.url, tokens=CollectionTokens(qdrant.api_key, name, SystemClock())
    )


def connect(settings: Settings) -> VectorClient:
    """The configured client: a server, else the engine in `data_dir`.

    Raises:
        UnavailableError: another process still has the embedded engine's folder.
    """
    if settings.qdrant.url is not None:
        return open_vectors(url=settings.qdrant.url, api_key=settings.qdrant.api_key)
    try:
        return open_vectors(path=settings.qdrant_path)
    except ConfigError as error:
        raise UnavailableError(error.message, hint=error.hint) from error


def collection_name(embedder: str, dim: int) -> str:
    """Vectors of different embedders cannot be compared, so each has a collection of its own.

    Raises:
        ConfigError: `embedder` has no letter or digit, or `dim` is not positive.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", embedder.lower()).strip("-")
    if not slug or dim <= 0:
        raise ConfigError(f"{embedder!r} with {dim} numbers cannot name a collection.")
    return f"atalaia-{slug[:80]}-{dim}"


async def collections(client: VectorClient) -> dict[str, int]:
    """The collections that Atalaia made, each with the length of its vectors. Raises
    UnavailableError."""
    with _qdrant_errors():
        if isinstance(client, EmbeddedQdrant):
            names = await client.collections()
        else:
            names = [one.name for one in (await client.get_collections()).collections]
        ours = sorted(name for name in names if _COLLECTION.fullmatch(name))
        return {name: (await _params(client, name)).size for name in ours}


async def ensure_collection(client: VectorClient, name: str, dim: int) -> None:
    """Make the collection and its indexes where they are missing. Several may call it at once.

    Raises:
        ConfigError: it exists for vectors of another length or distance.
        UnavailableError: Qdrant is away.
    """
    with _qdrant_errors():
        if not await client.collection_exists(name):
            await _create(client, name, dim)
        found = await _params(client, name)
        if (found.size, found.distance) != (dim, models.Distance.COSINE):
            raise ConfigError(
                f"the collection {name} holds vectors of {found.size} numbers "
                f"({found.distance.value}), not {dim} (Cosine).",
                hint="Remove it, or name the embedder anew.",
            )
        await _create_indexes(client, name)


class TenantVectors:
    """What one tenant remembers. No method can see or change another tenant's points.

    Args:
        client: from `open_vectors`; stays the caller's to close.
        collection: made by `ensure_collection`.
        tenant: whose memory.
        cameras: those whose sightings alone are found; None: every camera.

    Raises:
        InputError: `tenant` is no slug.
    """

    def __init__(
        self,
        client: VectorClient,
        collection: str,
        tenant: str,
        cameras: frozenset[str] | None = None,
    ) -> None:
        require_tenant(tenant)
        self.tenant = tenant
        self._cameras = cameras
        self._client = client
        self._collection = collection
        self._dim: int | None = None

    async def upsert(self, points: Sequence[tuple[Sighting, Vector]]) -> None:
        """Remember sightings with their vectors; the same track again replaces what was known.

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
        with _qdrant_errors():
            await self._client.upsert(self._collection, structs, wait=True)

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
        with _qdrant_errors():
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
        with _qdrant_errors():
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
            with _qdrant_errors():
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
        with _qdrant_errors():
            points, _ = await self._client.scroll(
                self._collection, scroll_filter=self._named(ids), limit=len(ids), with_vectors=True
            )
        return [self._remembered(point) for point in points]

    async def count(self, camera: str | None = None) -> int:
        """How many objects are remembered. Raises UnavailableError."""
        with _qdrant_errors():
            answer = await self._client.count(
                self._collection,
                count_filter=self._filter(SightingFilter(camera=camera)),
                exact=True,
            )
        return answer.count

    async def erase(self, camera: str | None = None) -> None:
        """Forget everything of a camera, or of the whole tenant. Raises UnavailableError."""
        with _qdrant_errors():
            await self._delete(self._filter(SightingFilter(camera=camera)))

    async def known(self, targets: Sequence[Target]) -> list[Target]:
        """Those of some objects that are remembered. Raises UnavailableError."""
        ids = {_point_id(self.tenant, t.camera, t.track): t for t in targets}
        if not ids:
            return []
        with _qdrant_errors():
            found, _ = await self._client.scroll(
                self._collection, scroll_filter=self._named(list(ids)), limit=len(ids)
            )
        return [ids[str(point.id)] for point in found]

    async def forget(self, targets: Sequence[Target]) -> None:
        """Forget some objects; those that are not remembered are no error. Raises
        UnavailableError."""
        ids = [_point_id(self.tenant, t.camera, t.track) for t in targets]
        if ids:
            with _qdrant_errors():
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
        with _qdrant_errors():
            found, _ = await self._client.scroll(
                self._collection, scroll_filter=inside, limit=limit
            )
            if found:
                await self._delete(self._named([str(point.id) for point in found]))
        return len(found)

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
            with _qdrant_errors():
                self._dim = (await _params(self._client, self._collection)).size
        return self._dim


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


async def _params(client: VectorClient, name: str) -> models.VectorParams:
    if isinstance(client, EmbeddedQdrant):
        return await client.params(name)
    params = (await client.get_collection(name)).config.params.vectors
    if not isinstance(params, models.VectorParams):
        raise ConfigError("the collection was not made by Atalaia: it has several vectors a point.")
    return params


async def _create(client: VectorClient, name: str, dim: int) -> None:
    try:
        await client.create_collection(
            name,
            vectors_config=models.VectorParams(size=dim, distance=models.Distance.COSINE),
            hnsw_config=_TENANT_GRAPH,
        )
    except (UnexpectedResponse, ValueError):
        # Another one was faster, or something is wrong; only the first leaves a collection.
        if not await client.collection_exists(name):
            raise


async def _create_indexes(client: VectorClient, name: str) -> None:
    await client.create_payload_index(
        name,
        "tenant",
        models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    )
    for field in ("camera", "label", "colour"):
        await client.create_payload_index(name, field, models.PayloadSchemaType.KEYWORD)
    for field in ("first_seen_us", "last_seen_us"):
        await client.create_payload_index(name, field, models.PayloadSchemaType.INTEGER)


@contextmanager
def _qdrant_errors() -> Iterator[None]:
    """Raise UnavailableError in place of the client's errors, which differ between its modes."""
    try:
        with keep_cancellation():
            yield
    except UnexpectedResponse as error:
        raise UnavailableError(
            f"Qdrant refused: {error.status_code} {error.reason_phrase}."
        ) from error
    except (ApiException, QdrantException, OSError) as error:
        raise UnavailableError(f"Qdrant cannot be used: {type(error).__name__}.") from error
