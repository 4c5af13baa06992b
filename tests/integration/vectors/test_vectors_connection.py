"""The memory's connection to a server that fails in each of the ways that a server can."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from cluster.core.settings import QdrantSettings, Settings
from cluster.local.doctor import Level, examine
from cluster.stores.vectors.connection import VectorConnection
from cluster.stores.vectors.errors import CollectionLostError, QdrantTimeoutError
from pipelines.errors import AtalaiaError, StoreRefusedError, UnavailableError
from tests.factories import make_sighting
from tests.integration.vectors.recorder import NAME, Recorder, recording
from tests.ports import free_port

COLLECTION = ("GET", f"/collections/{NAME}")
COUNT = ("POST", f"/collections/{NAME}/points/count")
UPSERT = ("PUT", f"/collections/{NAME}/points")
EXISTS = ("GET", f"/collections/{NAME}/exists")


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    with recording() as recorder:
        yield recorder


def connection_to(url: str) -> VectorConnection:
    settings = Settings(qdrant=QdrantSettings(url=url))
    return VectorConnection(settings, NAME, 4)


@pytest.fixture
async def connection(recorder: Recorder) -> AsyncIterator[VectorConnection]:
    connection = connection_to(recorder.url)
    yield connection
    await connection.aclose()


async def count(connection: VectorConnection) -> int:
    return await connection.call("acme", lambda of: of.count())


async def failure_of(connection: VectorConnection) -> AtalaiaError:
    with pytest.raises(AtalaiaError) as caught:
        await count(connection)
    await connection.aclose()
    return caught.value


# ------------------------------------------------------------ health


async def test_health_asks_the_server_each_time(
    recorder: Recorder, connection: VectorConnection
) -> None:
    await connection.check()
    await connection.check()
    recorder.statuses[COLLECTION] = 503
    with pytest.raises(UnavailableError, match="503"):
        await connection.check()
    del recorder.statuses[COLLECTION]
    await connection.check()


async def test_a_collection_that_has_failed_is_not_healthy(
    recorder: Recorder, connection: VectorConnection
) -> None:
    await connection.check()
    recorder.answers[COLLECTION] = recorder.answers[COLLECTION] | {"status": "red"}
    with pytest.raises(UnavailableError, match="failed"):
        await connection.check()


async def test_a_lost_collection_is_made_again_by_who_needs_it(
    recorder: Recorder, connection: VectorConnection
) -> None:
    assert await count(connection) == 0
    recorder.requests.clear()
    recorder.statuses[COUNT] = 404
    with pytest.raises(CollectionLostError):
        await count(connection)  # tried twice, and still lost: this peer never finds it
    made = [(verb, path) for verb, path, _ in recorder.requests]
    assert made.count(COUNT) == 2
    assert ("PUT", f"/collections/{NAME}") in made
    del recorder.statuses[COUNT]
    assert await count(connection) == 0


async def test_a_lost_collection_is_made_again_by_health(
    recorder: Recorder, connection: VectorConnection
) -> None:
    await connection.check()
    recorder.requests.clear()
    found = recorder.answers.pop(COLLECTION)
    with pytest.raises(CollectionLostError):
        await connection.check()
    assert f"/collections/{NAME}" in recorder.paths("PUT")
    recorder.answers[COLLECTION] = found
    await connection.check()


async def test_no_call_fetches_the_collection_first(
    recorder: Recorder, connection: VectorConnection
) -> None:
    await count(connection)
    recorder.requests.clear()
    await count(connection)
    await connection.call("acme", lambda of: of.search([1, 0, 0, 0]))
    assert [path.rsplit("/", 1)[1] for _, path, _ in recorder.requests] == ["count", "query"]


# ------------------------------------------------------------ servers that hang


async def test_those_who_wait_for_a_server_that_hangs_share_one_attempt(
    recorder: Recorder,
) -> None:
    recorder.hanging.add(EXISTS)
    settings = Settings(qdrant=QdrantSettings(url=recorder.url))
    connection = VectorConnection(settings, NAME, 4, timeout_s=0.5)
    calls = (count(connection) for _ in range(5))
    failures = await asyncio.gather(*calls, return_exceptions=True)
    await connection.aclose()
    assert {type(failure) for failure in failures} == {QdrantTimeoutError}
    assert len(recorder.requests) == 1, "a queue would have asked five times, one after another"


async def test_one_who_gives_up_does_not_take_the_attempt_from_the_others(
    recorder: Recorder, connection: VectorConnection
) -> None:
    impatient = asyncio.create_task(count(connection))
    patient = asyncio.create_task(count(connection))
    await asyncio.sleep(0)
    impatient.cancel()
    assert await patient == 0
    assert impatient.cancelled() or impatient.cancelling()
    assert len(recorder.paths("PUT")) == 7, "one collection with six indexes, made once"


async def test_what_is_stored_but_not_yet_applied_is_acknowledged(
    recorder: Recorder, connection: VectorConnection
) -> None:
    """A server that is busy indexing takes too long to apply them; it has them all the same."""
    recorder.statuses[UPSERT] = 408
    await count(connection)
    recorder.queries.clear()
    with pytest.raises(QdrantTimeoutError):
        await connection.call("acme", lambda of: of.upsert([(make_sighting(1), [1, 0, 0, 0])]))
    assert [query.partition("&")[0] for query in recorder.queries] == ["wait=true", "wait=false"]


# ------------------------------------------------------------ which failure it is


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [
        (401, StoreRefusedError, "refuses the key"),
        (403, StoreRefusedError, "refuses the key"),
        (400, StoreRefusedError, "does not accept"),
        (413, StoreRefusedError, "does not accept"),
        (429, UnavailableError, "too much to do"),
        (500, UnavailableError, "failed"),
        (504, QdrantTimeoutError, "too long"),
    ],
)
async def test_what_a_server_says(
    recorder: Recorder, status: int, kind: type[AtalaiaError], said: str
) -> None:
    recorder.statuses[EXISTS] = status
    failure = await failure_of(connection_to(recorder.url))
    assert type(failure) is kind
    assert said in failure.message
    assert str(status) in failure.message
    assert failure.retryable is (kind is not StoreRefusedError)


async def test_nobody_listens() -> None:
    failure = await failure_of(connection_to(f"http://127.0.0.1:{free_port()}"))
    assert isinstance(failure, UnavailableError)
    assert "cannot be reached" in failure.message


def certificate(folder: Path) -> tuple[Path, Path]:
    """Files of a certificate for 127.0.0.1 that signs itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    secret.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return chain, secret


async def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path))
    with recording(context) as recorder:
        failure = await failure_of(connection_to(recorder.url))
    assert isinstance(failure, StoreRefusedError)
    assert "certificate" in failure.message


async def test_tls_with_a_server_that_has_none(recorder: Recorder) -> None:
    failure = await failure_of(connection_to(recorder.url.replace("http:", "https:")))
    assert isinstance(failure, StoreRefusedError)
    assert "TLS" in failure.message


async def test_another_server_at_the_url(recorder: Recorder) -> None:
    recorder.answers[EXISTS] = ["something else"]
    failure = await failure_of(connection_to(recorder.url))
    assert isinstance(failure, StoreRefusedError)
    assert "no Qdrant" in failure.message


async def test_a_server_that_ends_the_connection() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, family=socket.AF_INET)
    async with server:
        port = server.sockets[0].getsockname()[1]
        failure = await failure_of(connection_to(f"http://127.0.0.1:{port}"))
    assert isinstance(failure, UnavailableError)
    assert "connection to Qdrant was lost" in failure.message


# ------------------------------------------------------------ doctor


def test_doctor_signs_in(recorder: Recorder, tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path,
        qdrant=QdrantSettings(url=recorder.url, api_key=SecretStr("a-key")),
    )
    asked = ("GET", "/collections")
    recorder.answers[asked] = {"collections": []}
    (good,) = (f for f in examine(settings) if f.name == "qdrant")
    recorder.statuses[asked] = 401
    (wrong,) = (f for f in examine(settings) if f.name == "qdrant")
    assert good.level is Level.OK
    assert wrong.level is Level.FAILURE
    assert "refuses the key" in wrong.detail
    assert "ATALAIA_QDRANT__API_KEY" in wrong.remedy
    assert "a-key" not in wrong.detail + wrong.remedy
