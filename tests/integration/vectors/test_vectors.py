from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from cluster.stores.vectors.tenant import (
    MAX_LIMIT,
    TenantVectors,
    Vector,
    VectorClient,
    collection_name,
    ensure_collection,
    open_vectors,
)
from pipelines.domain import SightingFilter
from pipelines.erasure import Target
from pipelines.errors import ConfigError, InputError, NotFoundError, UnavailableError
from pipelines.retention import Window
from tests.factories import T0_US, make_sighting
from tests.integration.vectors.conftest import DIM, drop
from tests.ports import free_port

S = 1_000_000


def axis(number: int) -> list[float]:
    return [1.0 if i == number else 0.0 for i in range(DIM)]


@pytest.fixture
def acme(client: VectorClient, collection: str) -> TenantVectors:
    return TenantVectors(client, collection, "acme")


async def _tracks(
    vectors: TenantVectors, vector: Vector, limit: int = 20, **only: object
) -> list[str]:
    matches = await vectors.search(vector, limit, SightingFilter.model_validate(only))
    return [match.sighting.track for match in matches]


async def test_the_nearest_comes_first_by_direction(acme: TenantVectors) -> None:
    sightings = [make_sighting(n, snapshot=f"crops/{n}.jpg") for n in range(3)]
    near = np.array(axis(0), np.float32) * 50 + np.array(axis(1), np.float32)
    await acme.upsert(list(zip(sightings, [axis(0), near, axis(1)], strict=True)))
    matches = await acme.search(axis(0))
    assert [match.sighting for match in matches] == sightings
    assert matches[0].score == pytest.approx(1)
    assert matches[1].score == pytest.approx(50 / np.sqrt(2501))
    assert matches[2].score == pytest.approx(0, abs=1e-6)
    assert len(await acme.search(axis(0), limit=2)) == 2


async def test_the_same_track_again_replaces_what_was_known(acme: TenantVectors) -> None:
    await acme.upsert([(make_sighting(1), axis(0))])
    later = make_sighting(1, last_seen_us=T0_US + 90 * S)
    await acme.upsert([(later, axis(1))])
    assert await acme.count() == 1
    (match,) = await acme.search(axis(1))
    assert (match.sighting, match.score) == (later, pytest.approx(1))
    await acme.upsert([(make_sighting(1, camera="hall"), axis(0))])
    assert await acme.count() == 2, "the same track key at another camera is another object"
    await acme.upsert([])


async def test_filters(acme: TenantVectors) -> None:
    await acme.upsert(
        [
            (make_sighting(0, camera="gate", label="person"), axis(0)),
            (make_sighting(10, camera="gate", label="car"), axis(0)),
            (make_sighting(20, camera="hall", label="person"), axis(0)),
        ]
    )

    async def numbers(**options: object) -> set[str]:
        return {t.removeprefix("track-") for t in await _tracks(acme, axis(0), **options)}

    assert await numbers() == {"0", "10", "20"}
    assert await numbers(camera="gate") == {"0", "10"}
    assert await numbers(label="person") == {"0", "20"}
    assert await numbers(camera="gate", label="person") == {"0"}
    # Sighting n was in sight from second n to n + 2.
    assert await numbers(since_us=T0_US + 12 * S) == {"10", "20"}
    assert await numbers(since_us=T0_US + 12 * S + 1) == {"20"}
    assert await numbers(until_us=T0_US + 10 * S) == {"0"}
    assert await numbers(since_us=T0_US + 1 * S, until_us=T0_US + 11 * S) == {"0", "10"}
    assert await numbers(camera="nowhere") == set()


@pytest.mark.parametrize(
    ("cameras", "found"),
    [
        (None, {"0", "10", "20"}),
        ({"gate", "hall"}, {"0", "10", "20"}),
        ({"hall", "nowhere"}, {"20"}),
        (set(), set()),
    ],
)
async def test_of_some_cameras(
    client: VectorClient, collection: str, cameras: set[str] | None, found: set[str]
) -> None:
    """Those alone are there, whatever else is asked for."""
    limited = frozenset(cameras) if cameras is not None else None
    acme = TenantVectors(client, collection, "acme", limited)
    seen = [make_sighting(0), make_sighting(10), make_sighting(20, camera="hall")]
    await acme.upsert([(sighting, axis(0)) for sighting in seen])
    tracks = {track.removeprefix("track-") for track in await _tracks(acme, axis(0))}
    assert tracks == found
    assert await acme.count() == len(found)
    of_gate = await _tracks(acme, axis(0), limit=1, camera="gate")
    assert bool(of_gate) == ("0" in found)
    for sighting in seen:
        if sighting.track.removeprefix("track-") in found:
            assert (await acme.vector(sighting.camera, sighting.track)).any()
        else:
            with pytest.raises(NotFoundError):
                await acme.vector(sighting.camera, sighting.track)


async def test_by_colour(acme: TenantVectors) -> None:
    await acme.upsert(
        [
            (make_sighting(0, colour="red"), axis(0)),
            (make_sighting(1, colour="blue"), axis(0)),
            (make_sighting(2), axis(0)),
        ]
    )
    assert await _tracks(acme, axis(0), colour="red") == ["track-0"]
    assert await _tracks(acme, axis(0), colour="green") == []


async def test_the_vector_of_an_object(acme: TenantVectors) -> None:
    """As it was given, but for its length."""
    await acme.upsert([(make_sighting(0), np.array(axis(1), np.float32) * 3)])
    assert (await acme.vector("gate", "track-0")).tolist() == pytest.approx(axis(1))
    for camera, track in (("hall", "track-0"), ("gate", "track-1")):
        with pytest.raises(NotFoundError):
            await acme.vector(camera, track)


async def test_single_objects_are_forgotten(acme: TenantVectors) -> None:
    await acme.upsert([(make_sighting(n, camera="gate"), axis(0)) for n in range(3)])
    await acme.upsert([(make_sighting(1, camera="hall"), axis(0))])
    first, second = Target("gate", "track-0"), Target("gate", "track-1")
    unknown = Target("gate", "track-9")
    assert set(await acme.known([first, second, unknown])) == {first, second}
    for _ in range(2):
        await acme.forget([first, second, unknown])
    assert await acme.known([first, second]) == await acme.known([]) == []
    await acme.forget([])
    assert (await acme.count("gate"), await acme.count("hall")) == (1, 1)


async def test_erasing(acme: TenantVectors) -> None:
    await acme.upsert([(make_sighting(n, camera="gate"), axis(0)) for n in range(3)])
    await acme.upsert([(make_sighting(9, camera="hall"), axis(0))])
    assert (await acme.count(), await acme.count("gate")) == (4, 3)
    await acme.erase("gate")
    assert await _tracks(acme, axis(0)) == ["track-9"]
    await acme.erase()
    assert await acme.count() == 0


@pytest.mark.parametrize(
    "vector",
    [
        [],
        [1.0] * (DIM - 1),
        [1.0] * (DIM + 1),
        np.ones((DIM, 1), np.float32),
        [0.0] * DIM,
        [float("nan")] + [1.0] * (DIM - 1),
        [float("inf")] + [1.0] * (DIM - 1),
    ],
)
async def test_a_vector_that_cannot_be_used(acme: TenantVectors, vector: Vector) -> None:
    with pytest.raises(InputError, match="vector"):
        await acme.search(vector)
    with pytest.raises(InputError, match="vector"):
        await acme.upsert([(make_sighting(0), axis(0)), (make_sighting(1), vector)])
    assert await acme.count() == 0, "all or nothing"


@pytest.mark.parametrize("limit", [0, -1, MAX_LIMIT + 1])
async def test_a_limit_that_cannot_be_used(acme: TenantVectors, limit: int) -> None:
    with pytest.raises(InputError, match="limit"):
        await acme.search(axis(0), limit)


async def test_the_collection_is_made_once_and_checked(client: VectorClient) -> None:
    name = collection_name("other", DIM)
    await asyncio.gather(*(ensure_collection(client, name, DIM) for _ in range(3)))
    vectors = TenantVectors(client, name, "acme")
    await vectors.upsert([(make_sighting(0), axis(0))])
    await ensure_collection(client, name, DIM)
    assert await vectors.count() == 1
    with pytest.raises(ConfigError, match="holds vectors of 8 numbers"):
        await ensure_collection(client, name, DIM + 1)
    await drop(client, name)


def test_names_of_collections() -> None:
    assert collection_name("HSV strips/v1", 512) == "atalaia-hsv-strips-v1-512"
    assert collection_name("hsv", 512) != collection_name("hsv", 256)
    for embedder, dim in (("", 8), ("///", 8), ("x", 0)):
        with pytest.raises(ConfigError):
            collection_name(embedder, dim)


async def test_a_missing_collection_is_unavailable(client: VectorClient) -> None:
    vectors = TenantVectors(client, "atalaia-missing-8", "acme")
    for call in (vectors.search(axis(0)), vectors.count(), vectors.erase()):
        with pytest.raises(UnavailableError):
            await call


async def test_no_server_is_unavailable() -> None:
    client = open_vectors(url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UnavailableError) as caught:
        await ensure_collection(client, "atalaia-x-8", DIM)
    assert caught.value.retryable
    await client.close()


async def test_the_embedded_engine_keeps_its_points_and_its_folder(tmp_path: Path) -> None:
    first = open_vectors(path=tmp_path)
    await ensure_collection(first, "atalaia-x-8", DIM)
    await TenantVectors(first, "atalaia-x-8", "acme").upsert([(make_sighting(0), axis(0))])
    with pytest.raises(ConfigError, match="another process uses"):
        open_vectors(path=tmp_path)
    await first.close()
    second = open_vectors(path=tmp_path)
    vectors = TenantVectors(second, "atalaia-x-8", "acme")
    assert await _tracks(vectors, axis(0)) == ["track-0"]
    await second.close()


_REMEMBERS = """
import asyncio, os, signal, sys
from pathlib import Path
from cluster.stores.vectors.tenant import TenantVectors, ensure_collection, open_vectors
from tests.factories import make_sighting

async def main():
    client = open_vectors(path=Path(sys.argv[1]))
    await ensure_collection(client, "atalaia-x-8", 8)
    vectors = TenantVectors(client, "atalaia-x-8", "acme")
    for number in range(30):
        await vectors.upsert([(make_sighting(number), [1.0] * 8)])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_was_remembered_survives_a_killed_process(tmp_path: Path) -> None:
    killed = await asyncio.create_subprocess_exec(sys.executable, "-c", _REMEMBERS, str(tmp_path))
    assert await killed.wait() == -signal.SIGKILL
    client = open_vectors(path=tmp_path)
    await ensure_collection(client, "atalaia-x-8", DIM)
    vectors = TenantVectors(client, "atalaia-x-8", "acme")
    assert await vectors.count() == 30
    assert len(await vectors.search([1.0] * DIM, 100, SightingFilter(camera="gate"))) == 30
    await client.close()
    await client.close()
    with pytest.raises(UnavailableError, match="closed"):
        await vectors.count()


async def test_the_best_are_those_of_a_plain_product(acme: TenantVectors) -> None:
    """Exactly, filtered too, though the embedded engine and a server's graph go other ways."""
    chance = np.random.default_rng(7)
    rows = chance.normal(size=(300, DIM)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    seen = [make_sighting(n, camera=f"cam-{n % 3}") for n in range(300)]
    await acme.upsert(list(zip(seen, rows, strict=True)))
    query = chance.normal(size=DIM).astype(np.float32)
    for camera in (None, "cam-1"):
        order = [n for n in np.argsort(-(rows @ query)) if camera in (None, f"cam-{n % 3}")]
        found = await _tracks(acme, query, limit=10, camera=camera)
        assert found == [f"track-{n}" for n in order[:10]]


async def test_tasks_of_one_loop_may_share_the_client(acme: TenantVectors) -> None:
    """As in the Memory deployment: many calls at once in one event loop."""
    await asyncio.gather(
        *(acme.upsert([(make_sighting(n), axis(n % DIM))]) for n in range(40)),
        *(acme.search(axis(n % DIM)) for n in range(40)),
    )
    assert await acme.count() == 40


def test_where_vectors_are_must_be_one_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_vectors()
    with pytest.raises(ConfigError):
        open_vectors(url="http://h", path=tmp_path)


async def test_what_lies_within_a_window_is_forgotten_in_parts(
    client: VectorClient, collection: str
) -> None:
    acme = TenantVectors(client, collection, "acme")
    # Each is in sight for two seconds, from its number on.
    seen = [make_sighting(n) for n in range(10)] + [make_sighting(0, camera="yard")]
    await acme.upsert([(sighting, [1.0] * DIM) for sighting in seen])
    # 2, 3 and 4 begin at or after second 2 and end before second 7.
    window = Window(T0_US + 2_000_000, T0_US + 7_000_000)
    assert await acme.remove("gate", window, 2) == 2
    assert await acme.remove("gate", window, 2) == 1
    assert await acme.remove("gate", window, 2) == 0
    matches = await acme.search([1.0] * DIM, 50, SightingFilter(camera="gate"))
    left = {match.sighting.track for match in matches}
    assert left == {f"track-{n}" for n in (0, 1, 5, 6, 7, 8, 9)}
    assert await acme.count("yard") == 1
