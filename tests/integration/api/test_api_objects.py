"""`/v1/objects`, `/v1/tracks` and `/v1/analytics`: what was seen, its way, and sums of it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from pipelines.domain import AlarmSource
from tests.factories import T0_US, make_alarm, make_camera, make_path, make_sighting
from tests.integration.api.world import World, problem

S = 1_000_000
T0 = "2023-11-14T22:13:20.000000Z"
"""Of `tests.factories`, as RFC 3339."""
DAY = {"since": "2023-11-14T00:00:00Z", "until": "2023-11-15T00:00:00Z"}


@pytest.fixture(autouse=True)
async def seen(world: World) -> None:
    """Three people and a car, from 0, 10, 20 and 3600 s after T0, each for 2 s."""
    tracks = world.database.tracks("acme")
    await tracks.record_objects(
        [
            make_sighting(0, colour="red", snapshot="objects/gate/0.jpg"),
            make_sighting(10, camera="yard", confidence=0.7),
        ]
    )
    await tracks.record_objects(
        [make_sighting(20), make_sighting(3600, label="car", colour="red")], AlarmSource.BATCH
    )
    await tracks.record_paths(
        [make_path(track="track-0", start_us=T0_US + n * 5 * S) for n in range(3)]
    )


async def listed(client: httpx.AsyncClient, **params: Any) -> list[Any]:
    response = await client.get("/v1/objects", params=params)
    assert response.status_code == 200, response.text
    objects: list[Any] = response.json()["objects"]
    return objects


async def test_an_object_as_it_is_listed(acme: httpx.AsyncClient) -> None:
    [*_, first] = await listed(acme)

    assert first == {
        "camera": "gate",
        "track": "track-0",
        "class": "person",
        "colour": "red",
        "confidence": 0.9,
        "box": [0.1, 0.2, 0.3, 0.4],
        "first_seen": T0,
        "last_seen": "2023-11-14T22:13:22.000000Z",
        "source": "live",
        "snapshot": "/v1/snapshots/objects/gate/0.jpg",
        "recording": "/v1/recordings?camera=gate"
        "&from=2023-11-14T22:13:19.000000Z&to=2023-11-14T22:13:23.000000Z",
    }
    assert (await acme.get("/v1/objects/track-0")).json() == first


@pytest.mark.parametrize(
    ("params", "numbers"),
    [
        ({}, [3600, 20, 10, 0]),
        ({"camera": "gate"}, [3600, 20, 0]),
        ({"class": "car"}, [3600]),
        ({"colour": "red"}, [3600, 0]),
        ({"source": "batch"}, [3600, 20]),
        ({"since": "2023-11-14T22:13:32.000000Z"}, [3600, 20, 10]),
        ({"until": "2023-11-14T22:13:40Z"}, [10, 0]),
        ({"until": "2023-11-14T22:13:20-03:00", "since": "2023-11-14T22:13:20+01:00"}, None),
        ({"limit": 2}, [3600, 20]),
        ({"colour": "green"}, []),
    ],
)
async def test_filters(
    acme: httpx.AsyncClient, params: dict[str, Any], numbers: list[int] | None
) -> None:
    """Newest first."""
    expected = [3600, 20, 10, 0] if numbers is None else numbers
    found = [item["track"] for item in await listed(acme, **params)]
    assert found == [f"track-{number}" for number in expected]


async def test_pages(acme: httpx.AsyncClient) -> None:
    found: list[str] = []
    cursor = None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        body = (await acme.get("/v1/objects", params=params)).json()
        found += [item["track"] for item in body["objects"]]
        if (cursor := body["next_cursor"]) is None:
            break
    assert found == ["track-3600", "track-20", "track-10", "track-0"]


@pytest.mark.parametrize(
    "params",
    [
        {"colour": "reddish"},
        {"since": "yesterday"},
        {"since": "2023-11-14T22:13:20"},
        {"cursor": "x"},
        {"limit": 0},
        {"camera": "No Slug"},
        {"source": "dream"},
    ],
)
async def test_wrong_filters(acme: httpx.AsyncClient, params: dict[str, Any]) -> None:
    problem(await acme.get("/v1/objects", params=params), 422)


async def test_the_way_of_a_track(acme: httpx.AsyncClient) -> None:
    body = (await acme.get("/v1/tracks/track-0")).json()

    assert (body["camera"], body["class"], body["colour"]) == ("gate", "person", "red")
    assert len(body["points"]) == 18
    assert body["points"][0] == {"at": T0, "box": [0.1, 0.2, 0.2, 0.6]}
    assert body["points"][7] == {
        "at": "2023-11-14T22:13:25.200000Z",
        "box": [0.11, 0.2, 0.21, 0.6],
    }
    assert body["next_since"] is None
    later = (await acme.get("/v1/tracks/track-0", params={"since": body["points"][7]["at"]})).json()
    assert later["points"] == body["points"][7:]


async def test_a_long_way_comes_in_parts(acme: httpx.AsyncClient, world: World) -> None:
    """A car that stands for two hours; every point once."""
    await world.database.tracks("acme").record_objects([make_sighting(5, track="parked")])
    paths = [make_path(track="parked", start_us=T0_US + n * 5 * S) for n in range(1_440)]
    await world.database.tracks("acme").record_paths(paths)

    found: list[Any] = []
    params: dict[str, str] = {}
    while True:
        body = (await acme.get("/v1/tracks/parked", params=params)).json()
        found += body["points"]
        if body["next_since"] is None:
            break
        params = {"since": body["next_since"]}
    assert len(found) == 6 * 1_440
    assert len({point["at"] for point in found}) == len(found)


@pytest.mark.parametrize("path", ["/v1/objects", "/v1/tracks"])
async def test_names(acme: httpx.AsyncClient, world: World, path: str) -> None:
    """What is not there; what two cameras have; and a class with a space in it."""
    problem(await acme.get(f"{path}/track-1"), 404, "not-found")
    problem(await acme.get(f"{path}/{'x' * 256}"), 422)
    problem(await acme.get(f"{path}/a%00b"), 404, "not-found")
    light = "0190b1c2d3e-8f-0-traffic%20light"
    await world.database.tracks("acme").record_objects(
        [make_sighting(0, camera="yard"), make_sighting(1, track=light)]
    )
    problem(await acme.get(f"{path}/track-0"), 409, "conflict")
    body = (await acme.get(f"{path}/track-0", params={"camera": "yard"})).json()
    assert body["camera"] == "yard"
    body = (await acme.get(f"{path}/{light.replace('%', '%25')}")).json()
    assert body["track"] == light


# ---------------------------------------------------------------- analytics


async def test_counts_per_hour(acme: httpx.AsyncClient) -> None:
    body = (await acme.get("/v1/analytics/counts", params=DAY)).json()

    assert body == {
        "tz": "UTC",
        "since": "2023-11-14T00:00:00.000000Z",
        "until": "2023-11-15T00:00:00.000000Z",
        "counts": [
            {"hour": hour, "camera": camera, "class": label, "count": count}
            for hour, camera, label, count in [
                ("2023-11-14T22:00:00+00:00", "gate", "person", 2),
                ("2023-11-14T22:00:00+00:00", "yard", "person", 1),
                ("2023-11-14T23:00:00+00:00", "gate", "car", 1),
            ]
        ],
    }


async def test_counts_in_a_time_zone_and_narrowed(acme: httpx.AsyncClient) -> None:
    """22:13 UTC is 03:43 in India, 23:13 is 04:43."""
    params = DAY | {"tz": "Asia/Kolkata", "camera": "gate"}
    body = (await acme.get("/v1/analytics/counts", params=params)).json()
    assert [(item["hour"], item["class"], item["count"]) for item in body["counts"]] == [
        ("2023-11-15T03:00:00+05:30", "person", 2),
        ("2023-11-15T04:00:00+05:30", "car", 1),
    ]
    body = (await acme.get("/v1/analytics/counts", params=params | {"class": "car"})).json()
    assert [item["count"] for item in body["counts"]] == [1]


async def test_a_day_until_now_is_the_default(acme: httpx.AsyncClient, world: World) -> None:
    now_us = world.deps.clock.now_us()
    await world.database.tracks("acme").record_objects(
        [
            make_sighting(1, first_seen_us=now_us - 3_600 * S, last_seen_us=now_us),
            make_sighting(2, first_seen_us=now_us - 86_500 * S, last_seen_us=now_us),
        ]
    )
    body = (await acme.get("/v1/analytics/counts")).json()
    assert [item["count"] for item in body["counts"]] == [1]


async def test_a_heat_map(acme: httpx.AsyncClient) -> None:
    """Track 0 is in sight three times for a second, 5 s apart, with its foot at 0.15 to 0.2 of the
    width and 0.6 of the height; the last of each six points counts for 2 s, of all for 0.2 s."""
    params = DAY | {"camera": "gate", "grid": "4x2"}
    body = (await acme.get("/v1/analytics/heatmap", params=params)).json()

    assert (body["columns"], body["rows"], body["camera"]) == (4, 2, "gate")
    assert body["seconds"] == [[0, 0, 0, 0], [pytest.approx(3 * 1.0 + 2 * 2.0 + 0.2), 0, 0, 0]]
    narrow = params | {"until": "2023-11-14T22:13:20.5Z"}
    body = (await acme.get("/v1/analytics/heatmap", params=narrow)).json()
    assert body["seconds"][1][0] == pytest.approx(0.5)
    body = (await acme.get("/v1/analytics/heatmap", params=params | {"class": "car"})).json()
    assert body["seconds"] == [[0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("counts", {"tz": "Mars/Olympus"}),
        ("counts", {"tz": "../etc/passwd"}),
        ("counts", {"tz": ""}),
        ("counts", {"since": "2023-11-15T00:00:00Z", "until": "2023-11-14T00:00:00Z"}),
        ("counts", {"since": "2023-01-01T00:00:00Z", "until": "2023-11-14T00:00:00Z"}),
        ("heatmap", {}),
        ("heatmap", {"camera": "gate", "grid": "0x3"}),
        ("heatmap", {"camera": "gate", "grid": "3"}),
        ("heatmap", {"camera": "gate", "grid": "1000x1000"}),
    ],
)
async def test_wrong_questions(acme: httpx.AsyncClient, path: str, params: dict[str, str]) -> None:
    problem(await acme.get(f"/v1/analytics/{path}", params=params), 422)


ANALYTICS = ["counts", "heatmap"]


@pytest.mark.parametrize("path", ANALYTICS)
async def test_a_camera_that_never_was_is_no_empty_street(
    acme: httpx.AsyncClient, world: World, path: str
) -> None:
    """And one of another tenant is none either, in every word."""
    address, params = f"/v1/analytics/{path}", DAY | {"camera": "vault"}
    nobodys = problem(await acme.get(address, params=params), 404, "not-found")
    globex, tracks = world.database.tenant("globex"), world.database.tracks("globex")
    await globex.add_camera(make_camera("globex", "vault"))
    await globex.record_alarms([make_alarm(1, tenant="globex", camera="vault")])
    await tracks.record_objects([make_sighting(1, tenant="globex", camera="vault")])
    await tracks.record_paths([make_path(tenant="globex", camera="vault")])

    theirs = problem(await acme.get(address, params=params), 404, "not-found")

    assert theirs == nobodys


@pytest.mark.parametrize("path", ANALYTICS)
async def test_a_camera_that_saw_nothing_or_was_removed_is_answered(
    acme: httpx.AsyncClient, world: World, path: str
) -> None:
    address, params = f"/v1/analytics/{path}", DAY | {"camera": "hall"}
    records = world.database.tenant("acme")
    await records.add_camera(make_camera(id="hall"))
    assert (await acme.get(address, params=params)).status_code == 200

    await records.remove_camera("hall")

    problem(await acme.get(address, params=params), 404, "not-found")
    await records.record_alarms([make_alarm(1, camera="hall")])
    assert (await acme.get(address, params=params)).status_code == 200
