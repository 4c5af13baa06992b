"""`/v1/alarms`: listing, paging, acknowledging, pictures."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from pipelines.domain import Stages
from tests.factories import T0_US, make_alarm
from tests.integration.api.world import World, problem

STAGES = Stages(
    capture_us=T0_US,
    received_us=T0_US + 20_000,
    queued_us=T0_US + 21_500,
    detected_us=T0_US + 61_500,
    ruled_us=T0_US + 62_000,
    published_us=T0_US + 63_000,
)


async def ids(client: httpx.AsyncClient, **params: Any) -> list[str]:
    response = await client.get("/v1/alarms", params=params)
    assert response.status_code == 200, response.text
    return [alarm["id"] for alarm in response.json()["alarms"]]


async def test_an_alarm_looks_as_the_contract_says(acme: httpx.AsyncClient, world: World) -> None:
    alarm = make_alarm(stages=STAGES, snapshot="alarms/1.jpg")
    await world.database.tenant("acme").record_alarms([alarm])

    body = (await acme.get("/v1/alarms")).json()

    expected = {
        "id": str(alarm.id),
        "camera": "gate",
        "rule": "yard",
        "kind": "zone_entry",
        "class": "person",
        "confidence": 0.87,
        "box": [0.1, 0.2, 0.3, 0.4],
        "track": "track-0",
        "at": "2023-11-14T22:13:20.000000Z",
        "state": "new",
        "acknowledged_by": None,
        "acknowledged_at": None,
        "source": "live",
        "snapshot": f"/v1/alarms/{alarm.id}/snapshot",
        "latency_ms": {
            "receive": 20.0,
            "queue": 1.5,
            "detect": 40.0,
            "rule": 0.5,
            "publish": 1.0,
            "total": 63.0,
        },
    }
    assert body == {"alarms": [expected], "next_cursor": None}
    assert (await acme.get(f"/v1/alarms/{alarm.id}")).json() == expected


async def test_stages_that_an_alarm_did_not_pass_are_null(
    acme: httpx.AsyncClient, world: World
) -> None:
    stages = Stages(capture_us=T0_US, detected_us=T0_US + 5_000, published_us=T0_US + 6_000)
    plain = make_alarm(1)
    await world.database.tenant("acme").record_alarms([make_alarm(2, stages=stages), plain])

    first, second = (await acme.get("/v1/alarms")).json()["alarms"]

    assert {a["id"]: a["latency_ms"] for a in (first, second)} == {
        str(make_alarm(2).id): {
            "receive": None,
            "queue": None,
            "detect": 5.0,
            "rule": None,
            "publish": 1.0,
            "total": 6.0,
        },
        str(plain.id): dict.fromkeys(
            ("receive", "queue", "detect", "rule", "publish", "total"), None
        ),
    }
    assert first["snapshot"] is None


async def test_pages_are_whole_and_without_repetition(
    acme: httpx.AsyncClient, world: World
) -> None:
    records = world.database.tenant("acme")
    await records.record_alarms([make_alarm(n) for n in range(25)])
    seen: list[str] = []
    cursor: str | None = None

    for page in range(3):
        params = {"limit": 10} | ({"cursor": cursor} if cursor else {})
        body = (await acme.get("/v1/alarms", params=params)).json()
        seen += [alarm["id"] for alarm in body["alarms"]]
        cursor = body["next_cursor"]
        await records.record_alarms([make_alarm(100 + page)])

    assert cursor is None
    assert seen == [str(make_alarm(n).id) for n in reversed(range(25))]


async def test_filters(acme: httpx.AsyncClient, world: World) -> None:
    await world.database.tenant("acme").record_alarms(
        [
            make_alarm(0),
            make_alarm(1, camera="yard"),
            make_alarm(2, rule="line"),
            make_alarm(3),
        ]
    )
    await acme.post(f"/v1/alarms/{make_alarm(3).id}/ack")

    def one(number: int, **fields: Any) -> str:
        return str(make_alarm(number, **fields).id)

    assert await ids(acme, camera="yard") == [one(1, camera="yard")]
    assert await ids(acme, rule="line") == [one(2)]
    assert await ids(acme, state="acknowledged") == [one(3)]
    assert await ids(acme, state="new", camera="gate") == [one(2), one(0)]
    # `since` is inclusive, `until` is not; other offsets are the same moments.
    assert await ids(acme, since="2023-11-14T22:13:22Z") == [one(3), one(2)]
    assert await ids(acme, until="2023-11-14T22:13:22Z") == [one(1, camera="yard"), one(0)]
    assert await ids(acme, since="2023-11-14T19:13:22-03:00", until="2023-11-14T22:13:23Z") == [
        one(2)
    ]
    assert await ids(acme, since="0001-01-01T00:00:00Z", limit=1) == [one(3)]
    assert await ids(acme, until="0001-01-01T00:00:00+14:00") == []


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"state": "old"}, "state"),
        ({"camera": "A B"}, "camera"),
        ({"rule": "'; DROP TABLE alarms; --"}, "rule"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2023-11-14T22:13:22"}, "since"),
        ({"until": "2023-13-14T22:13:22Z"}, "until"),
        ({"cursor": "x" * 201}, "cursor"),
    ],
)
async def test_a_wrong_filter_is_named(
    acme: httpx.AsyncClient, params: dict[str, Any], parameter: str
) -> None:
    body = problem(await acme.get("/v1/alarms", params=params), 422, "invalid-input")

    assert [error["parameter"] for error in body["errors"]] == [parameter]  # type: ignore[attr-defined]


@pytest.mark.parametrize("cursor", ["x", "AAAA", "%00", "💥", "a b"])
async def test_a_broken_cursor_is_refused(acme: httpx.AsyncClient, cursor: str) -> None:
    problem(await acme.get("/v1/alarms", params={"cursor": cursor}), 422, "invalid-input")


async def test_acknowledging_twice_keeps_the_first(acme: httpx.AsyncClient, world: World) -> None:
    alarm = make_alarm()
    await world.database.tenant("acme").record_alarms([alarm])

    first = (await acme.post(f"/v1/alarms/{alarm.id}/ack")).json()
    second = (await acme.post(f"/v1/alarms/{alarm.id}/ack")).json()

    assert first["state"] == "acknowledged"
    assert first["acknowledged_by"] == "key:" + world.keys["acme"].split("_")[1]
    assert first["acknowledged_at"].endswith("Z")
    assert second == first


async def test_an_alarm_that_nobody_raised(acme: httpx.AsyncClient) -> None:
    for path in ("", "/snapshot"):
        problem(await acme.get(f"/v1/alarms/{uuid4()}{path}"), 404, "not-found")
    problem(await acme.post(f"/v1/alarms/{uuid4()}/ack"), 404, "not-found")
    problem(await acme.get("/v1/alarms/7"), 422, "invalid-input")


async def test_the_picture_of_an_alarm(acme: httpx.AsyncClient, world: World) -> None:
    alarm = make_alarm(snapshot="alarms/1.jpg")
    bare = make_alarm(1)
    gone = make_alarm(2, snapshot="alarms/2.jpg")
    await world.database.tenant("acme").record_alarms([alarm, bare, gone])
    await world.blobs("acme").put("alarms/1.jpg", b"\xff\xd8picture")

    response = await acme.get(f"/v1/alarms/{alarm.id}/snapshot")

    assert response.status_code == 200
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["cache-control"].startswith("private")
    assert response.content == b"\xff\xd8picture"
    problem(await acme.get(f"/v1/alarms/{bare.id}/snapshot"), 404, "not-found")
    problem(await acme.get(f"/v1/alarms/{gone.id}/snapshot"), 404, "not-found")
