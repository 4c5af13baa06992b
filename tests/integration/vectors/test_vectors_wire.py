"""What the client sends to a Qdrant server, read off the wire.

Not every machine can have a server, so this checks the requests against Qdrant's HTTP API;
`test_vectors.py` runs against a real server where one is on PATH.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from cluster.core.settings import QdrantSettings, Settings
from cluster.stores.vectors.tenant import (
    TenantVectors,
    ensure_collection,
    open_collection,
    open_vectors,
)
from pipelines.domain import SightingFilter
from pipelines.erasure import Target
from pipelines.errors import ConfigError, NotFoundError, UnavailableError
from tests.factories import make_sighting

NAME = "atalaia-x-4"
TENANT = {"key": "tenant", "match": {"value": "acme"}}
_COLLECTION = {
    "status": "green",
    "optimizer_status": "ok",
    "segments_count": 1,
    "payload_schema": {},
    "config": {
        "params": {"vectors": {"size": 4, "distance": "Cosine"}},
        "hnsw_config": {"m": 0, "ef_construct": 100, "full_scan_threshold": 10000},
        "optimizer_config": {
            "deleted_threshold": 0.2,
            "vacuum_min_vector_number": 1000,
            "default_segment_number": 0,
            "flush_interval_sec": 5,
        },
    },
}
_DONE = {"operation_id": 1, "status": "completed"}
_ANSWERS: dict[tuple[str, str], Any] = {
    ("GET", f"/collections/{NAME}/exists"): {"exists": False},
    ("PUT", f"/collections/{NAME}"): True,
    ("GET", f"/collections/{NAME}"): _COLLECTION,
    ("PUT", f"/collections/{NAME}/index"): _DONE,
    ("PUT", f"/collections/{NAME}/points"): _DONE,
    ("POST", f"/collections/{NAME}/points/query"): {"points": []},
    ("POST", f"/collections/{NAME}/points/count"): {"count": 0},
    ("POST", f"/collections/{NAME}/points/scroll"): {"points": []},
    ("POST", f"/collections/{NAME}/points/delete"): _DONE,
}


class Recorder:
    """Answers like an empty Qdrant and keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self.headers: list[dict[str, str]] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def _handle(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                path = self.path.partition("?")[0]
                recorder.requests.append((self.command, path, json.loads(body or b"null")))
                recorder.headers.append({name.lower(): v for name, v in self.headers.items()})
                answer = _ANSWERS.get((self.command, path))
                content = json.dumps({"result": answer, "status": "ok", "time": 0}).encode()
                self.send_response(404 if answer is None else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = _handle

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def bodies(self, method: str, end: str) -> list[Any]:
        return [body for verb, path, body in self.requests if verb == method and path.endswith(end)]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    thread = threading.Thread(target=recorder.server.serve_forever, daemon=True)
    thread.start()
    yield recorder
    recorder.server.shutdown()
    recorder.server.server_close()
    thread.join()


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
        "camera": "keyword",
        "label": "keyword",
        "colour": "keyword",
        "first_seen_us": "integer",
        "last_seen_us": "integer",
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
    client = await open_collection(settings, maker, NAME)
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
    client = open_vectors(url="http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="api_key"):
        await open_collection(settings, client, NAME)
    await client.close()


async def test_where_the_server_checks_none_the_client_stays(recorder: Recorder) -> None:
    settings = Settings(qdrant=QdrantSettings(url=recorder.url))
    client = open_vectors(url=recorder.url)
    assert await open_collection(settings, client, NAME) is client
    await client.close()
