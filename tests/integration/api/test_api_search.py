"""`/v1/search`: by picture or by text, narrowed, and only in one's own memory."""

from __future__ import annotations

import io
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from pipelines.domain import WorkOwner
from serve.api.ports import Vector
from tests.factories import make_sighting
from tests.integration.api.world import World, problem

RED, GREEN, BLUE = (250, 5, 5), (5, 250, 5), (5, 5, 250)


def picture(colour: tuple[int, int, int], size: tuple[int, int] = (64, 64)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


async def vector(world: World, colour: tuple[int, int, int]) -> Vector:
    return await world.deps.embedder.embed_image(
        np.full((4, 4, 3), colour, np.uint8), WorkOwner("acme")
    )


async def search(client: httpx.AsyncClient, shown: Any = RED, **params: Any) -> list[Any]:
    response = await client.post("/v1/search", files={"image": picture(shown)}, params=params)
    assert response.status_code == 200, response.text
    matches: list[Any] = response.json()["matches"]
    return matches


@pytest.fixture(autouse=True)
async def seen(world: World) -> None:
    for number, (colour, fields) in enumerate(
        [
            (RED, {"snapshot": "tracks/red.jpg", "colour": "red"}),
            (GREEN, {"camera": "yard", "colour": "green"}),
            (BLUE, {"label": "car"}),
        ]
    ):
        sighting = make_sighting(number * 10, **fields)
        await world.memory.upsert("acme", sighting, await vector(world, colour))
        await world.database.tracks("acme").record_objects([sighting])


async def test_the_most_alike_comes_first(acme: httpx.AsyncClient) -> None:
    matches = await search(acme, RED)

    assert matches[0]["track"] == "track-0"
    assert matches[0]["score"] > 0.999
    assert {key: matches[0][key] for key in matches[0] if key != "score"} == {
        "camera": "gate",
        "class": "person",
        "first_seen": "2023-11-14T22:13:20.000000Z",
        "last_seen": "2023-11-14T22:13:22.000000Z",
        "track": "track-0",
        "snapshot": "/v1/snapshots/tracks/red.jpg",
        "colour": "red",
        "recording": "/v1/recordings?camera=gate"
        "&from=2023-11-14T22:13:19.000000Z&to=2023-11-14T22:13:23.000000Z",
    }
    assert matches[1]["snapshot"] is None
    assert len(matches) == 3


async def test_the_picture_of_a_match(acme: httpx.AsyncClient, world: World) -> None:
    await world.blobs("acme").put("tracks/red.jpg", b"\xff\xd8red")
    [first, *_] = await search(acme, RED)

    response = await acme.get(first["snapshot"])

    assert (response.status_code, response.content) == (200, b"\xff\xd8red")
    assert response.headers["content-type"] == "image/jpeg"


@pytest.mark.parametrize(
    ("params", "tracks"),
    [
        ({"camera": "yard"}, {"track-10"}),
        ({"class": "car"}, {"track-20"}),
        ({"class": "dog"}, set()),
        ({"colour": "green"}, {"track-10"}),
        ({"colour": "green", "camera": "gate"}, set()),
        ({"camera": "yard", "class": "car"}, set()),
        ({"since": "2023-11-14T22:13:35Z"}, {"track-20"}),
        ({"until": "2023-11-14T22:13:25Z"}, {"track-0"}),
        ({"limit": 1}, {"track-0"}),
    ],
)
async def test_filters(acme: httpx.AsyncClient, params: dict[str, Any], tracks: set[str]) -> None:
    assert {match["track"] for match in await search(acme, **params)} == tracks


async def test_a_large_picture_is_scaled_down_first(acme: httpx.AsyncClient) -> None:
    response = await acme.post("/v1/search", files={"image": picture(RED, (5_000, 20))})

    assert response.json()["matches"][0]["track"] == "track-0"


async def test_like_an_object_that_was_seen(acme: httpx.AsyncClient, world: World) -> None:
    """Without a body; the object itself is no answer, its twin in another camera is."""
    twin = make_sighting(0, camera="yard")
    await world.memory.upsert("acme", twin, await vector(world, (250, 20, 20)))

    response = await acme.post("/v1/search", params={"like": "track-0", "limit": 2})

    assert response.status_code == 200, response.text
    [first, second] = response.json()["matches"]
    assert (first["camera"], first["track"]) == ("yard", "track-0")
    assert first["score"] > 0.99
    assert second["track"] in ("track-10", "track-20")


async def test_like_by_json_and_narrowed(acme: httpx.AsyncClient) -> None:
    response = await acme.post(
        "/v1/search", json={"like": "track-0"}, params={"class": "car", "limit": 1}
    )

    assert [match["track"] for match in response.json()["matches"]] == ["track-20"]


async def test_like_what_is_not_known(acme: httpx.AsyncClient, world: World) -> None:
    problem(await acme.post("/v1/search", params={"like": "track-1"}), 404, "not-found")
    problem(await acme.post("/v1/search", params={"like": "a/b"}), 422)
    # In the records, but not in the memory: the embedder did not keep up.
    await world.database.tracks("acme").record_objects([make_sighting(1)])
    body = problem(await acme.post("/v1/search", params={"like": "track-1"}), 404, "not-found")
    assert body["hint"]


async def test_like_a_name_that_two_cameras_have(acme: httpx.AsyncClient, world: World) -> None:
    await world.database.tracks("acme").record_objects([make_sighting(0, camera="yard")])

    problem(await acme.post("/v1/search", params={"like": "track-0"}), 409, "conflict")
    which = {"like": "track-0", "like_camera": "gate"}
    assert (await acme.post("/v1/search", params=which)).status_code == 200


async def test_text_needs_a_text_side(acme: httpx.AsyncClient) -> None:
    body = problem(await acme.post("/v1/search", json={"text": "a red car"}), 422)

    assert body["hint"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 422),
        (b"null", 422),
        (b"{}", 422),
        (b'{"text": ""}', 422),
        (b'{"text": 7}', 422),
        (b'{"text": "a", "like": "b"}', 422),
        (b'{"like": "a b"}', 422),
        (b'{"text": "a", "tenant": "globex"}', 422),
        (b'{"text": "' + b"x" * 501 + b'"}', 422),
        (b'{"text": "\\ud800"}', 400),
    ],
)
async def test_a_wrong_text_query(acme: httpx.AsyncClient, content: bytes, status: int) -> None:
    response = await acme.post(
        "/v1/search", content=content, headers={"content-type": "application/json"}
    )

    problem(response, status)


@pytest.mark.parametrize("files", [{"picture": b"x"}, {"image": b""}, {"image": b"text"}])
async def test_a_wrong_form(acme: httpx.AsyncClient, files: dict[str, bytes]) -> None:
    response = await acme.post("/v1/search", files={k: ("a", v) for k, v in files.items()})

    assert response.status_code in (415, 422)
    problem(response, response.status_code)


async def test_too_many_files(acme: httpx.AsyncClient) -> None:
    files = [("image", ("a", picture(RED))), ("image", ("b", picture(RED)))]

    problem(await acme.post("/v1/search", files=files), 400)


@pytest.mark.parametrize("kind", ["text/plain", "", "image/png"])
async def test_another_type_of_body(acme: httpx.AsyncClient, kind: str) -> None:
    response = await acme.post("/v1/search", content=b"x", headers={"content-type": kind})

    problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize(
    "key", ["../globex/tracks/red.jpg", "..%2fglobex%2fx.jpg", "/etc/passwd", "tracks/none.jpg"]
)
async def test_a_picture_key_stays_inside_the_tenant(
    acme: httpx.AsyncClient, world: World, key: str
) -> None:
    await world.blobs("globex").put("tracks/red.jpg", b"secret of globex")
    await world.blobs("globex").put("x.jpg", b"secret of globex")

    response = await acme.get(f"/v1/snapshots/{key}")

    assert 400 <= response.status_code < 500
    assert b"secret" not in response.content


async def test_only_pictures_are_given_as_pictures(world: World, acme: httpx.AsyncClient) -> None:
    """A recording of an hour would be read into memory as a whole."""
    key = "recordings/gate/2026/01/31/1.mp4"
    await world.blobs("acme").put(key, b"film")
    response = await acme.get(f"/v1/snapshots/{key}")
    assert response.status_code == 422
    assert response.json()["errors"][0]["parameter"] == "key"
