"""The collection of an embedder: laid out for many tenants, and made where it is missing."""

from __future__ import annotations

import re

from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

from cluster.stores.vectors.client import VectorClient
from cluster.stores.vectors.embedded import EmbeddedQdrant
from cluster.stores.vectors.errors import CollectionLostError, qdrant_errors
from pipelines.errors import ConfigError, UnavailableError

_COLLECTION = re.compile(r"atalaia-[a-z0-9-]+-\d+", re.ASCII)  # as `collection_name` makes them

# Links of the search graph inside each tenant; the graph across tenants is switched off, since no
# search ever crosses them. Both as Qdrant advises for many tenants in one collection.
_TENANT_GRAPH = models.HnswConfigDiff(payload_m=16, m=0)

# `payload_m` has the server build a graph for each value of each indexed field, unless the index
# says no. With all of them, 200,000 vectors of 20 tenants were not indexed after five minutes (one
# integer field took 233 s), and a search took 143 ms (p50); with the tenant's alone 93,000 were
# indexed in two and a half, and a search took 8.9 ms.
_KEYWORD = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, enable_hnsw=False)
_INTEGER = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, enable_hnsw=False)
_INDEXES: dict[str, models.KeywordIndexParams | models.IntegerIndexParams] = {
    "tenant": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    "camera": _KEYWORD,
    "label": _KEYWORD,
    "colour": _KEYWORD,
    "first_seen_us": _INTEGER,
    "last_seen_us": _INTEGER,
}


def collection_name(embedder: str, dim: int) -> str:
    """Vectors of different embedders cannot be compared, so each has a collection of its own.

    Raises:
        ConfigError: `embedder` has no letter or digit, or `dim` is not positive.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", embedder.lower()).strip("-")
    if not slug or dim <= 0:
        raise ConfigError(f"{embedder!r} with {dim} numbers cannot name a collection.")
    return f"atalaia-{slug[:80]}-{dim}"


async def ensure_collection(client: VectorClient, name: str, dim: int) -> None:
    """Make the collection and its indexes where they are missing. Several may call it at once.

    An index that an older version made, with graphs of its own, is asked for anew, without.

    Raises:
        ConfigError: it exists for vectors of another length or distance.
        StoreRefusedError: Qdrant refuses the key or the request.
        UnavailableError: Qdrant is away.
    """
    with qdrant_errors():
        if not await client.collection_exists(name):
            await _create(client, name, dim)
        if isinstance(client, EmbeddedQdrant):
            params, indexes = await client.params(name), {}
        else:
            info = await client.get_collection(name)
            params, indexes = _single(info.config.params.vectors), info.payload_schema
        _check(name, params, dim)
        for field, wanted in _INDEXES.items():
            if not _has(indexes.get(field), wanted):
                # Nobody waits until an index over many points is built; searches work meanwhile.
                await client.create_payload_index(name, field, wanted, wait=False)


async def collections(client: VectorClient) -> dict[str, int]:
    """The collections that Atalaia made, each with the length of its vectors.

    Raises:
        UnavailableError: Qdrant is away.
        StoreRefusedError: it refuses the key.
        ConfigError: one of them was not made by Atalaia.
    """
    with qdrant_errors():
        if isinstance(client, EmbeddedQdrant):
            names = await client.collections()
        else:
            names = [one.name for one in (await client.get_collections()).collections]
    ours = sorted(name for name in names if _COLLECTION.fullmatch(name))
    return {name: await dimension(client, name) for name in ours}


async def dimension(client: VectorClient, name: str) -> int:
    """The length of its vectors. Raises UnavailableError, StoreRefusedError, ConfigError."""
    with qdrant_errors():
        if isinstance(client, EmbeddedQdrant):
            return (await client.params(name)).size
        return _single((await client.get_collection(name)).config.params.vectors).size


async def check_collection(client: VectorClient, name: str) -> None:
    """Ask Qdrant whether the collection can be used, now.

    Raises:
        CollectionLostError: it is not there.
        UnavailableError: Qdrant is away, or says that the collection has failed.
        StoreRefusedError: it refuses the key.
    """
    with qdrant_errors():
        if isinstance(client, EmbeddedQdrant):
            if not await client.collection_exists(name):
                raise CollectionLostError(f"there is no collection {name}.")
            return
        info = await client.get_collection(name)
    if info.status is models.CollectionStatus.RED:
        raise UnavailableError(
            "Qdrant says that the collection has failed.", hint="The server's log says why."
        )


def _check(name: str, found: models.VectorParams, dim: int) -> None:
    if (found.size, found.distance) != (dim, models.Distance.COSINE):
        raise ConfigError(
            f"the collection {name} holds vectors of {found.size} numbers "
            f"({found.distance.value}), not {dim} (Cosine).",
            hint="Remove it, or name the embedder anew.",
        )


def _single(params: object) -> models.VectorParams:
    if not isinstance(params, models.VectorParams):
        raise ConfigError("the collection was not made by Atalaia: it has several vectors a point.")
    return params


def _has(
    found: models.PayloadIndexInfo | None,
    wanted: models.KeywordIndexParams | models.IntegerIndexParams,
) -> bool:
    """Whether an index is there with what we ask of it; the server adds values of its own."""
    if found is None or found.data_type.value != wanted.type.value:
        return False
    has = found.params.model_dump() if found.params is not None else {}
    return all(has.get(key) == value for key, value in wanted.model_dump(exclude_none=True).items())


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
