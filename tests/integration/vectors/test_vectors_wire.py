"""What the client sends to a Qdrant server, read off the wire.

Not every machine can have a server, so this checks the requests against Qdrant's HTTP API;
`test_vectors.py` runs against a real server where one is on PATH.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import jwt
import pytest
from pydantic import SecretStr

from cluster.core.settings import QdrantSettings, Settings
from cluster.stores.vectors.tenant import (
    TenantVectors,
    batch_size,
    ensure_collection,
    open_collection,
    open_vectors,
)
from pipelines.domain import SightingFilter
from pipelines.erasure import Target
from pipelines.errors import ConfigError, NotFoundError, UnavailableError
from tests.factories import make_sighting
from tests.integration.vectors.recorder import NAME, Recorder, recording

TENANT = {"key": "tenant", "match": {"value": "acme"}}


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with recording() as recorder:
        yield recorder


async def test_the_collection_is_made_for_many_tenants(recorder: Recorder) -> None:
    client = open_vectors(url=recorder.url)
    await ensure_collection(client, NAME, 4)
    await client.close()
    (made,) = recorder.bodies("PUT", NAME)
    assert made["vectors"] == {"size": 4, "distance": "Cosine"}
    assert made["hnsw_config"] == {"m": 0, "payload_m": 16}
    indexes = {b["field_name"]: b["field_schema"] for b in recorder.bodies("PUT", "/index")}
    assert indexes == {
        "tenant": {"type": "keyword", "is_tenant": True},
        "camera": {"type": "keyword", "enable_hnsw": False},
        "label": {"type": "keyword", "enable_hnsw": False},
        "colour": {"type": "keyword", "enable_hnsw": False},
        "first_seen_us": {"type": "integer", "enable_hnsw": False},
        "last_seen_us": {"type": "integer", "enable_hnsw": False},
    }


async def test_every_request_about_points_names_the_tenant(recorder: Recorder) -> None:
    client = open_vectors(url=recorder.url)
    acme = TenantVectors(client, NAME, "acme")
    await acme.upsert([(make_sighting(1), [1, 0, 0, 0])])
    await acme.search([1, 0, 0, 0])
    await acme.search(
        [1, 0, 0, 0],
        only=SightingFilter(camera="gate", label="person", since_us=1, until_us=9),
    )
    await acme.count()
    with pytest.raises(NotFoundError):
        await acme.vector("gate", "track-1")
    await TenantVectors(client, NAME, "acme", frozenset({"gate", "hall"})).search([1, 0, 0, 0])
    await acme.erase()
    await acme.erase("gate")
    assert await acme.known([Target("gate", "track-1")]) == []
    await acme.forget([Target("gate", "track-1")])
    await client.close()
    (upsert,) = recorder.bodies("PUT", "/points")
    assert [point["payload"]["tenant"] for point in upsert["points"]] == ["acme"]
    filters = [
        body["filter"]
        for end in ("/query", "/count", "/scroll", "/delete")
        for body in recorder.bodies("POST", end)
    ]
    assert len(filters) == 9
    assert {"key": "camera", "match": {"any": ["gate", "hall"]}} in filters[2]["must"]
    assert all(TENANT in conditions["must"] for conditions in filters)
    assert all(set(conditions) == {"must"} for conditions in filters), "no way round by should"
    assert {"key": "last_seen_us", "range": {"gte": 1.0}} in filters[1]["must"]
    assert {"key": "first_seen_us", "range": {"lt": 9.0}} in filters[1]["must"]


async def test_a_refusal_is_unavailable(recorder: Recorder) -> None:
    client = open_vectors(url=recorder.url)
    with pytest.raises(UnavailableError, match="404"):
        await TenantVectors(client, "atalaia-missing-4", "acme").count()
    await client.close()


async def test_once_the_collection_is_made_requests_carry_a_token_for_it(
    recorder: Recorder,
) -> None:
    key = SecretStr("the-servers-key-of-32-characters")
    settings = Settings(qdrant=QdrantSettings(url=recorder.url, api_key=key, tokens=True))
    maker = open_vectors(url=recorder.url, api_key=key)
    await ensure_collection(maker, NAME, 4)
    made = len(recorder.headers)
    await maker.close()
    client = open_collection(settings, NAME)
    await TenantVectors(client, NAME, "acme").count()
    await client.close()
    assert {headers.get("api-key") for headers in recorder.headers[:made]} == {
        key.get_secret_value()
    }
    (counting,) = recorder.headers[made:]
    assert "api-key" not in counting
    kind, _, token = counting["authorization"].partition(" ")
    claims = jwt.decode(token, key.get_secret_value(), algorithms=["HS256"])
    assert kind == "Bearer"
    assert claims.pop("exp") > time.time()
    assert claims == {"access": [{"collection": NAME, "access": "rw"}]}


async def test_without_a_key_no_token_can_be_signed() -> None:
    settings = Settings(qdrant=QdrantSettings(url="http://127.0.0.1:1", tokens=True))
    with pytest.raises(ConfigError, match="api_key"):
        open_collection(settings, NAME)


async def test_an_index_with_a_graph_of_its_own_is_made_anew(recorder: Recorder) -> None:
    """As versions before left it; those that are as they should be stay."""
    keyword = {"data_type": "keyword", "points": 7}
    plain = {"type": "keyword", "enable_hnsw": False, "on_disk": False}
    number = {"type": "integer", "enable_hnsw": False, "lookup": True, "range": True}
    recorder.answers["GET", f"/collections/{NAME}/exists"] = {"exists": True}
    recorder.answers["GET", f"/collections/{NAME}"] |= {
        "payload_schema": {
            "tenant": keyword | {"params": {"type": "keyword", "is_tenant": True}},
            "camera": keyword | {"params": plain},
            "label": keyword,
            "colour": keyword | {"params": {"type": "keyword"}},
            "first_seen_us": {"data_type": "integer", "points": 7, "params": number},
        }
    }
    client = open_vectors(url=recorder.url)
    await ensure_collection(client, NAME, 4)
    await client.close()
    asked = [body["field_name"] for body in recorder.bodies("PUT", "/index")]
    assert asked == ["label", "colour", "last_seen_us"]
    assert "wait=false" in recorder.queries[-1], "nobody waits for an index over many points"
    assert f"/collections/{NAME}" not in recorder.paths("PUT")


async def test_many_points_go_in_batches_and_only_the_last_is_waited_for(
    recorder: Recorder,
) -> None:
    size = batch_size(4)
    points = [(make_sighting(i), [1, 0, 0, 0]) for i in range(size * 2 + 1)]
    client = open_vectors(url=recorder.url)
    await TenantVectors(client, NAME, "acme", dim=4).upsert(points)
    await client.close()
    sent = [len(body["points"]) for body in recorder.bodies("PUT", "/points")]
    assert sent == [size, size, 1]
    assert [query.partition("&")[0] for query in recorder.queries] == [
        "wait=false", "wait=false", "wait=true"
    ]  # fmt: skip


@pytest.mark.parametrize("dim", [3, 512, 4096])
def test_a_batch_stays_below_what_a_server_takes(dim: int) -> None:
    """32 MB: the default of Qdrant's `service.max_request_size_mb`."""
    worst = [-1.2345678901234567e-05] * dim
    sighting = make_sighting(1).model_dump_json()
    point = len(json.dumps(worst)) + len(sighting) + 100
    assert 1 <= batch_size(dim) * point < 32_000_000


async def test_with_the_length_known_the_collection_is_not_fetched(recorder: Recorder) -> None:
    client = open_vectors(url=recorder.url)
    await TenantVectors(client, NAME, "acme", dim=4).search([1, 0, 0, 0])
    await client.close()
    assert [path for _, path, _ in recorder.requests] == [f"/collections/{NAME}/points/query"]
