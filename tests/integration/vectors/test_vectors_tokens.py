"""Tokens against a real Qdrant server that checks them, where one is installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from cluster.core.settings import QdrantSettings, Settings
from cluster.stores.vectors.tenant import (
    TenantVectors,
    collection_name,
    ensure_collection,
    open_collection,
    open_vectors,
)
from pipelines.errors import StoreRefusedError
from tests.factories import make_sighting
from tests.integration.vectors.conftest import DIM, running_qdrant

KEY = SecretStr("the-servers-key-of-32-characters")
OURS, OTHER = collection_name("tokens", DIM), collection_name("other", DIM)


@pytest.fixture(scope="module")
def guarded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server with an API key that checks tokens."""
    guards = {
        "QDRANT__SERVICE__API_KEY": KEY.get_secret_value(),
        "QDRANT__SERVICE__JWT_RBAC": "true",
    }
    with running_qdrant(tmp_path_factory.mktemp("qdrant"), **guards) as url:
        yield url


async def test_a_token_serves_one_collection_and_nothing_else(guarded_url: str) -> None:
    maker = open_vectors(url=guarded_url, api_key=KEY)
    for name in (OURS, OTHER):
        await ensure_collection(maker, name, DIM)
    await maker.close()
    settings = Settings(qdrant=QdrantSettings(url=guarded_url, api_key=KEY, tokens=True))
    client = open_collection(settings, OURS)
    acme = TenantVectors(client, OURS, "acme")
    vector = [1.0] + [0.0] * (DIM - 1)
    await acme.upsert([(make_sighting(1), vector)])
    assert len(await acme.search(vector)) == 1
    await acme.erase()
    assert await acme.count() == 0

    with pytest.raises(StoreRefusedError, match="403"):
        await TenantVectors(client, OTHER, "acme").count()
    assert isinstance(client, AsyncQdrantClient)
    size = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    for forbidden in (
        client.delete_collection(OURS),
        client.create_collection("new", vectors_config=size),
        client.create_full_snapshot(),
    ):
        with pytest.raises(UnexpectedResponse, match="403"):
            await forbidden
    await client.close()
