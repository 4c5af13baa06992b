"""`/v1/coverage`: totals and gaps of the cameras that the caller sees."""

from __future__ import annotations

import httpx
import pytest

from pipelines.ledger import Cover, Stretch
from tests.factories import make_camera
from tests.integration.api.world import World, problem

S = 1_000_000
# 22:15 on 14 November 2023.
T0 = 1_700_000_100 * S


@pytest.fixture
async def acme(world: World) -> httpx.AsyncClient:
    """A gate that was away for 90 s, twice; and a yard that was switched off."""
    await world.database.tenant("acme").add_camera(make_camera(id="gate"))
    await world.database.tenant("acme").add_camera(make_camera(id="yard"))
    away = [(300, 390), (600, 690)]
    gate = [Stretch(T0, T0 + 900 * S, Cover.UNOBSERVED)]
    gate += [Stretch(T0 + a * S, T0 + b * S, Cover.CAMERA) for a, b in away]
    for a, b in ((0, 300), (390, 600), (690, 900)):
        gate.append(Stretch(T0 + a * S, T0 + b * S, Cover.ANALYSED))
    off = [Stretch(T0, T0 + 600 * S, Cover.OFF), Stretch(T0 + 600 * S, T0 + 900 * S, Cover.ROOM)]
    await world.database.coverage("acme").add({"gate": gate, "yard": off})
    return await world.client("acme viewer")


RANGE = {"since": "2023-11-14T22:15:00Z", "until": "2023-11-14T22:30:00Z"}


async def test_totals_and_gaps(acme: httpx.AsyncClient) -> None:
    body = (await acme.get("/v1/coverage", params=RANGE | {"camera": "gate"})).json()
    assert body["cameras"] == [
        {
            "camera": "gate",
            "expected_s": 900,
            "analysed_s": 720,
            "blind_s": 180,
            "off_s": 0,
            "causes": {"camera": 180},
        }
    ]
    assert body["gaps"] == [
        {
            "camera": "gate",
            "cause": "camera",
            "since": "2023-11-14T22:20:00.000000Z",
            "until": "2023-11-14T22:21:30.000000Z",
        },
        {
            "camera": "gate",
            "cause": "camera",
            "since": "2023-11-14T22:25:00.000000Z",
            "until": "2023-11-14T22:26:30.000000Z",
        },
    ]
    assert body["next_cursor"] is None


async def test_times_are_widened_to_quarters_of_an_hour(acme: httpx.AsyncClient) -> None:
    params = {"since": "2023-11-14T22:20:00Z", "until": "2023-11-14T22:20:01Z"}
    body = (await acme.get("/v1/coverage", params=params)).json()
    assert (body["since"], body["until"]) == (
        "2023-11-14T22:15:00.000000Z",
        "2023-11-14T22:30:00.000000Z",
    )
    assert [camera["off_s"] for camera in body["cameras"]] == [0, 600]


async def test_the_last_moment_there_is_can_be_asked_for(acme: httpx.AsyncClient) -> None:
    body = (await acme.get("/v1/coverage", params={"until": "9999-12-31T23:59:59Z"})).json()
    assert body["until"] == "9999-12-31T23:59:59.999999Z"
    assert body["gaps"] == []


async def test_pages_hold_every_gap_once(acme: httpx.AsyncClient) -> None:
    found, params = list[tuple[str, str]](), dict(RANGE) | {"limit": "1"}
    while True:
        body = (await acme.get("/v1/coverage", params=params)).json()
        found += [(gap["camera"], gap["since"][11:19]) for gap in body["gaps"]]
        if body["next_cursor"] is None:
            break
        assert len(body["gaps"]) == 1
        params["cursor"] = body["next_cursor"]
    assert found == [("gate", "22:20:00"), ("gate", "22:25:00"), ("yard", "22:25:00")]


async def test_since_the_controller_is_away_nobody_looks(
    acme: httpx.AsyncClient, world: World
) -> None:
    """By now, which is years later: what was on stays blind, what was off stays off."""
    now_us = world.deps.clock.now_us()
    today = [
        Stretch(now_us - 1_200 * S, now_us - 600 * S, Cover.ANALYSED),
        Stretch(now_us - 600 * S, now_us - 300 * S, Cover.OFF),
    ]
    await world.database.coverage("acme").add({"gate": today[:1], "yard": today})
    body = (await acme.get("/v1/coverage")).json()
    gate, yard = body["cameras"]
    assert 600 <= gate["causes"]["unobserved"] < 1_200
    assert yard["causes"] == {}
    assert [(gap["camera"], gap["cause"]) for gap in body["gaps"]] == [("gate", "unobserved")]


@pytest.mark.parametrize(
    "params",
    [
        {"since": "2023-11-14T22:15:00Z", "until": "2023-11-14T22:15:00Z"},
        {"since": "2023-11-01T00:00:00Z", "until": "2023-11-09T00:00:00Z"},
        {"since": "2023-01-01T00:00:00Z", "until": "2023-11-09T00:00:00Z", "camera": "gate"},
        RANGE | {"cursor": "broken"},
        RANGE | {"limit": "0"},
    ],
)
async def test_what_makes_no_sense_is_refused(
    acme: httpx.AsyncClient, params: dict[str, str]
) -> None:
    problem(await acme.get("/v1/coverage", params=params), 422)


async def test_a_camera_that_is_not_there(acme: httpx.AsyncClient) -> None:
    problem(await acme.get("/v1/coverage", params=RANGE | {"camera": "vault"}), 404, "not-found")
