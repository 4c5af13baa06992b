"""`/v1/cameras/{camera}/rules`."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.factories import make_camera
from tests.integration.api.ports import Model
from tests.integration.api.world import World, problem

SQUARE = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]
RULES: list[dict[str, Any]] = [
    {"kind": "zone_entry", "polygon": SQUARE},
    {"kind": "line_cross", "line": [[0.5, 0], [0.5, 1]], "direction": "left_to_right"},
    {"kind": "loiter", "polygon": SQUARE, "seconds": 20},
    {"kind": "count", "polygon": SQUARE, "n": 5, "seconds": 10},
]
SCHEDULE = {
    "timezone": "America/Sao_Paulo",
    "windows": [{"days": ["mon", "fri"], "start": "22:00", "end": "06:00"}],
}


@pytest.fixture(autouse=True)
async def gate(world: World) -> None:
    await world.database.tenant("acme").add_camera(make_camera())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["kind"])
async def test_every_kind_is_stored_and_given_back(
    acme: httpx.AsyncClient, world: World, rule: dict[str, Any]
) -> None:
    sent = rule | {
        "id": "mine",
        "name": "Mine",
        "classes": ["person"],
        "min_confidence": 0.6,
        "schedule": SCHEDULE,
        "cooldown_s": 5,
    }

    response = await acme.post("/v1/cameras/gate/rules", json=sent)

    assert response.status_code == 201, response.text
    assert response.headers["location"] == "/v1/cameras/gate/rules/mine"
    assert response.json() == sent | {"warnings": []}
    assert (await acme.get("/v1/cameras/gate/rules")).json() == {"rules": [sent]}
    assert world.controller.told == [("acme", "gate")]
    [stored] = await world.database.tenant("acme").rules("gate")
    assert stored.model_dump(mode="json") == sent
    assert not type(stored).__name__.startswith("New")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["kind"])
async def test_an_id_is_made_up_where_none_is_given(
    acme: httpx.AsyncClient, rule: dict[str, Any]
) -> None:
    ids = {(await acme.post("/v1/cameras/gate/rules", json=rule)).json()["id"] for _ in range(2)}

    assert len(ids) == 2
    assert all(id.startswith(rule["kind"].replace("_", "-")) for id in ids)


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("Yard at night", "yard-at-night"),
        ("Pátio à noite", "patio-a-noite"),
        ("  24h / loading-dock!  ", "24h-loading-dock"),
        ("a" * 120, "a" * 31),
    ],
)
async def test_an_id_is_made_from_the_name(acme: httpx.AsyncClient, name: str, id: str) -> None:
    rule = RULES[0] | {"name": name}
    first, second = [
        (await acme.post("/v1/cameras/gate/rules", json=rule)).json() for _ in range(2)
    ]

    assert first["id"] == id
    assert re.fullmatch(re.escape(id) + "-[0-9a-f]{8}", second["id"])
    assert len(second["id"]) <= 40


async def test_a_name_without_a_letter_gives_an_id_of_its_kind(acme: httpx.AsyncClient) -> None:
    added = (await acme.post("/v1/cameras/gate/rules", json=RULES[1] | {"name": "门口"})).json()

    assert re.fullmatch("line-cross-[0-9a-f]{8}", added["id"])
    assert added["name"] == "门口"


async def test_classes_become_those_of_the_model(acme: httpx.AsyncClient, world: World) -> None:
    world.detector.model = Model(labels=("person", "car", "traffic light"))
    sent = RULES[0] | {"classes": ["People", "person", "traffic_lights", "CAR"]}

    added = await acme.post("/v1/cameras/gate/rules", json=sent)

    assert added.json()["classes"] == ["person", "traffic light", "car"]
    assert (await acme.get("/v1/cameras/gate/rules")).json()["rules"] == [
        {name: value for name, value in added.json().items() if name != "warnings"}
    ]


async def test_a_class_that_the_model_lacks_is_refused(
    acme: httpx.AsyncClient, world: World
) -> None:
    world.detector.model = Model(labels=("person", "car", "bicycle"))
    sent = RULES[0] | {"classes": ["person", "bycicle", "unicorn"]}

    refused = problem(await acme.post("/v1/cameras/gate/rules", json=sent), 422, "invalid-input")

    first, second = refused["errors"]
    assert (first["pointer"], second["pointer"]) == ("#/classes/1", "#/classes/2")
    assert "did you mean bicycle" in first["detail"]
    assert "person, car, bicycle" in first["detail"]
    assert "no such class" in second["detail"]
    assert (await acme.get("/v1/cameras/gate/rules")).json() == {"rules": []}
    assert world.controller.told == []


async def test_a_rule_at_the_edge_is_added_with_a_warning(acme: httpx.AsyncClient) -> None:
    sent = {"kind": "line_cross", "line": [[0.002, 0.2], [0.002, 0.9]], "id": "edge"}

    added = await acme.post("/v1/cameras/gate/rules", json=sent)

    assert added.status_code == 201
    [warning] = added.json()["warnings"]
    assert "left edge of the picture" in warning
    [rule] = (await acme.get("/v1/cameras/gate/rules")).json()["rules"]
    assert rule["id"] == "edge"


async def test_many_unknown_classes_cost_little(acme: httpx.AsyncClient, world: World) -> None:
    """Each is refused, but only the first few are compared with the model's, which are listed
    once."""
    world.detector.model = Model(labels=tuple(f"thing {n}" for n in range(1_000)))
    sent = RULES[0] | {"classes": [f"thingy {n}" for n in range(100)]}

    answer = await acme.post("/v1/cameras/gate/rules", json=sent)

    details = [error["detail"] for error in problem(answer, 422, "invalid-input")["errors"]]
    assert len(details) == 100
    assert [n for n, detail in enumerate(details) if "did you mean" in detail] == [0, 1, 2, 3, 4]
    assert [n for n, detail in enumerate(details) if "it knows" in detail] == [0]
    more = await acme.post("/v1/cameras/gate/rules", json=sent | {"classes": ["x"] * 101})
    assert "100" in problem(more, 422)["errors"][0]["detail"]


async def test_a_rule_does_not_wait_for_a_detector(acme: httpx.AsyncClient, world: World) -> None:
    """The classes are taken as they are: nothing is known that they could be checked against."""
    world.detector.away = True
    sent = RULES[0] | {"classes": ["unicorn"]}

    assert (await acme.post("/v1/cameras/gate/rules", json=sent)).status_code == 201


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({}, "kind"),
        ({"kind": "teleport"}, "kind"),
        ({"kind": "zone_entry"}, "polygon"),
        ({"kind": "zone_entry", "polygon": [[0, 0], [1, 1]]}, "polygon"),
        ({"kind": "zone_entry", "polygon": [[0, 0], [1, 1], [1, 0], [0, 1]]}, "crosses itself"),
        ({"kind": "zone_entry", "polygon": [[0, 0], [0, 0], [0, 0]]}, "nothing"),
        ({"kind": "zone_entry", "polygon": [[0, 0], [1.2, 0], [1, 1]]}, "#/polygon/1/0"),
        ({"kind": "zone_entry", "polygon": SQUARE * 20}, "polygon"),
        ({"kind": "line_cross", "line": [[0.5, 0.5], [0.5, 0.5]]}, "move them apart"),
        ({"kind": "line_cross", "line": [[0, 0], [1, 1]], "direction": "up"}, "direction"),
        ({"kind": "loiter", "polygon": SQUARE}, "seconds"),
        ({"kind": "loiter", "polygon": SQUARE, "seconds": 0}, "seconds"),
        ({"kind": "count", "polygon": SQUARE, "n": 0}, "n"),
        ({"kind": "zone_entry", "polygon": SQUARE, "id": "NOT A SLUG"}, "#/id"),
        ({"kind": "zone_entry", "polygon": SQUARE, "min_confidence": 2}, "min_confidence"),
        ({"kind": "zone_entry", "polygon": SQUARE, "colour": "red"}, "colour"),
        (
            {
                "kind": "zone_entry",
                "polygon": SQUARE,
                "schedule": {"timezone": "Mars/Olympus", "windows": [{}]},
            },
            "unknown time zone",
        ),
    ],
)
async def test_a_wrong_rule_is_explained(
    acme: httpx.AsyncClient, world: World, rule: dict[str, Any], words: str
) -> None:
    response = await acme.post("/v1/cameras/gate/rules", json=rule)

    problem(response, 422, "invalid-input")
    assert words in response.text
    assert world.controller.told == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e-9"])
async def test_a_corner_must_be_a_number_in_the_picture(
    acme: httpx.AsyncClient, number: str
) -> None:
    content = f'{{"kind": "zone_entry", "polygon": [[0, 0], [1, {number}], [1, 1]]}}'

    response = await acme.post(
        "/v1/cameras/gate/rules", content=content, headers={"content-type": "application/json"}
    )

    problem(response, 422)


async def test_an_id_is_taken_once_per_camera(acme: httpx.AsyncClient, world: World) -> None:
    await world.database.tenant("acme").add_camera(make_camera(id="yard"))
    rule = RULES[0] | {"id": "mine"}

    assert (await acme.post("/v1/cameras/gate/rules", json=rule)).status_code == 201
    problem(await acme.post("/v1/cameras/gate/rules", json=rule), 409, "conflict")
    assert (await acme.post("/v1/cameras/yard/rules", json=rule)).status_code == 201


async def test_removing_a_rule(acme: httpx.AsyncClient, world: World) -> None:
    await acme.post("/v1/cameras/gate/rules", json=RULES[0] | {"id": "mine"})

    assert (await acme.delete("/v1/cameras/gate/rules/mine")).status_code == 204

    assert (await acme.get("/v1/cameras/gate/rules")).json() == {"rules": []}
    assert world.controller.told == [("acme", "gate")] * 2
    problem(await acme.delete("/v1/cameras/gate/rules/mine"), 404, "not-found")


async def test_rules_need_their_camera(acme: httpx.AsyncClient) -> None:
    problem(await acme.get("/v1/cameras/yard/rules"), 404, "not-found")
    problem(await acme.post("/v1/cameras/yard/rules", json=RULES[0]), 404, "not-found")
    problem(await acme.delete("/v1/cameras/yard/rules/mine"), 404, "not-found")


async def test_ids_of_the_systems_own_alarms_are_reserved(acme: httpx.AsyncClient) -> None:
    """Else a rule's alarms could not be told from them."""
    response = await acme.post("/v1/cameras/gate/rules", json=RULES[0] | {"id": "system-black"})
    assert problem(response, 422, "invalid-input")["errors"][0]["pointer"] == "#/id"
    named = await acme.post("/v1/cameras/gate/rules", json=RULES[0] | {"name": "System: black"})
    assert named.json()["id"].startswith("zone-entry-")
    ours = await acme.post("/v1/cameras/gate/rules", json=RULES[0] | {"name": "Systems"})
    assert ours.json()["id"] == "systems"
