from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from cluster.core.retention_settings import RetentionSettings
from cluster.core.settings import Settings
from cluster.stores.audit.events import AuditQuery
from cluster.stores.db import KindCount, RemovalCause, RetentionRun, StorageUse
from pipelines.domain import Recording
from pipelines.retention import HeldSpan, RetentionKind, SpaceState
from tests.factories import T0_US, make_alarm, make_camera, make_path, make_sighting
from tests.integration.api.world import World, eventually, open_world, problem

KINDS = {kind.value for kind in RetentionKind}
AT = "2023-11-14T22:13:20.000000Z"
"""T0_US in words."""
POLICY = "/v1/policies/retention"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The platform keeps alarms for 180 to 365 days, embeddings for 7 or more, paths for 90 where
    nobody says otherwise."""
    retention = RetentionSettings.model_validate(
        {
            "days": {"paths": 90},
            "min_days": {"alarms": 180, "embeddings": 7},
            "max_days": {"alarms": 365},
        }
    )
    return settings.model_copy(update={"retention": retention})


@pytest.fixture
async def world(settings: Settings, migrated: Path) -> AsyncIterator[World]:
    async with open_world(settings, migrated) as world:
        for tenant in ("acme", "globex"):
            await world.database.tenant(tenant).add_camera(make_camera(tenant))
        yield world


# ------------------------------------------------------------ policy


async def test_without_a_policy_the_platform_decides(acme: httpx.AsyncClient) -> None:
    found = (await acme.get(POLICY)).json()
    assert found["days"] == found["cameras"] == {}
    assert (found["changed_at"], found["changed_by"], found["audit"]) == (None, None, "kept")
    assert found["platform"] == {
        "default": {"paths": 90},
        # Embeddings go with their objects, so that theirs is also the least of objects.
        "least": {"alarms": 180, "embeddings": 7, "objects": 7},
        "most": {"alarms": 365},
    }
    # Clips go with their alarms.
    limited = {"alarms": 365, "clips": 365, "paths": 90}
    assert found["effective"] == dict.fromkeys(KINDS) | limited


async def test_a_policy_is_replaced_as_a_whole(
    acme: httpx.AsyncClient, globex: httpx.AsyncClient
) -> None:
    first = {"days": {"recordings": 30, "paths": None}, "cameras": {"gate": {"recordings": 7.5}}}
    answer = await acme.put(POLICY, json=first)
    assert answer.status_code == 200
    assert answer.json() == (await acme.get(POLICY)).json()
    assert {key: answer.json()[key] for key in first} == first
    assert answer.json()["effective"]["paths"] is None
    assert answer.json()["changed_by"].startswith("key:")
    await acme.put(POLICY, json={"days": {"objects": 8}})
    found = (await acme.get(POLICY)).json()
    assert (found["days"], found["cameras"]) == ({"objects": 8}, {})
    assert found["effective"]["embeddings"] == 8
    assert (await globex.get(POLICY)).json()["changed_at"] is None


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"days": {"alarms": 30}}, "alarms may not be kept for 30 days"),
        ({"days": {"objects": 6}}, "objects may not be kept for 6 days"),
        ({"cameras": {"gate": {"alarms": None}}}, "alarms may not be kept without end"),
        ({"days": {"audit": 30}}, "errors"),
        ({"days": {"recordings": 0}}, "errors"),
        ({"days": {"recordings": 1e9}}, "errors"),
        ({"dayz": {}}, "errors"),
    ],
)
async def test_a_policy_that_is_not_allowed_changes_nothing(
    acme: httpx.AsyncClient, body: object, text: str
) -> None:
    answer = await acme.put(POLICY, json=body)
    problem(answer, 422, "invalid-input")
    assert text in answer.text
    assert (await acme.get(POLICY)).json()["changed_at"] is None


async def test_a_camera_of_a_policy_must_be_known_once(
    acme: httpx.AsyncClient, world: World
) -> None:
    problem(await acme.put(POLICY, json={"cameras": {"gaet": {"paths": 1}}}), 404, "not-found")
    body = {"cameras": {"gate": {"paths": 1}}}
    assert (await acme.put(POLICY, json=body)).is_success
    await world.database.tenant("acme").remove_camera("gate")
    assert (await acme.put(POLICY, json=body)).is_success


# ------------------------------------------------------------ holds


async def test_a_time_is_held_until_the_hold_is_removed(
    acme: httpx.AsyncClient, world: World
) -> None:
    body = {
        "camera": "gate",
        "from": "2023-11-14T19:13:20-03:00",
        "to": "2023-11-14T22:14:20Z",
        "reason": " case 7 ",
    }
    answer = await acme.post("/v1/holds", json=body)
    assert answer.status_code == 201
    hold = answer.json()
    assert (hold["camera"], hold["from"], hold["to"], hold["reason"], hold["alarm"]) == (
        "gate", AT, "2023-11-14T22:14:20.000000Z", "case 7", None,
    )  # fmt: skip
    assert hold["released_at"] is None
    assert (await acme.get(answer.headers["location"])).json() == hold
    assert (await acme.get("/v1/holds")).json() == {"holds": [hold]}
    retention = world.database.retention("acme")
    assert await retention.held() == [HeldSpan("gate", T0_US, T0_US + 60_000_000)]
    for _ in range(2):
        assert (await acme.delete(answer.headers["location"])).status_code == 204
    assert (await acme.get("/v1/holds")).json() == {"holds": []}
    assert await retention.held() == []
    (released,) = (await acme.get("/v1/holds", params={"released": True})).json()["holds"]
    assert released["released_by"] == hold["created_by"]
    assert released | {"released_at": None, "released_by": None} == hold


async def test_an_alarm_is_held_with_what_any_rolls_could_have_recorded(
    acme: httpx.AsyncClient, world: World
) -> None:
    """Those that its camera has now may not be those that it had then."""
    records = world.database.tenant("acme")
    await records.add_camera(
        make_camera(id="yard", recording=Recording(pre_roll_s=2, post_roll_s=3))
    )
    alarms = [make_alarm(1, camera="yard"), make_alarm(1, camera="gone")]
    await records.record_alarms(alarms)
    for alarm in alarms:
        answer = await acme.post("/v1/holds", json={"alarm": str(alarm.id)})
        assert answer.status_code == 201
        assert answer.json()["alarm"] == str(alarm.id)
        assert (await acme.get(answer.headers["location"])).json() == answer.json()
    # 22:13:21 is a second after T0.
    assert (answer.json()["from"], answer.json()["to"]) == (
        "2023-11-14T22:12:21.000000Z", "2023-11-14T22:18:21.000000Z",
    )  # fmt: skip
    at_us = alarms[0].capture_us
    assert set(await world.database.retention("acme").held()) == {
        HeldSpan(camera, at_us - 60_000_000, at_us + 300_000_000) for camera in ("yard", "gone")
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"reason": "why"}, 422),
        ({"from": AT, "to": AT}, 422),
        ({"from": AT, "reason": "why"}, 422),
        ({"from": AT, "to": "2023-11-14T22:13:19Z", "reason": "why"}, 422),
        ({"from": AT, "to": AT, "reason": "a\u0000b"}, 422),
        ({"from": "2023-11-14T22:13:20", "to": AT, "reason": "no offset"}, 422),
        ({"alarm": str(uuid4()), "from": AT, "to": AT, "reason": "why"}, 422),
        ({"alarm": str(uuid4())}, 404),
        ({"camera": "gaet", "from": AT, "to": AT, "reason": "why"}, 404),
    ],
)
async def test_what_cannot_be_held(
    acme: httpx.AsyncClient, body: dict[str, object], status: int
) -> None:
    problem(await acme.post("/v1/holds", json=body), status)
    assert (await acme.get("/v1/holds")).json() == {"holds": []}


async def test_holds_are_bounded(
    acme: httpx.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.stores.db.retention.MAX_OPEN_HOLDS", 3)
    retention = world.database.retention("acme")
    first = await retention.add_hold(HeldSpan(None, 0, 1), "case", "key:k1")
    for n in range(1, 3):
        await retention.add_hold(HeldSpan(None, n, n), "case", "key:k1")
    body = {"from": AT, "to": AT, "reason": "one too many"}
    problem(await acme.post("/v1/holds", json=body), 409, "conflict")
    await acme.delete(f"/v1/holds/{first.id}")
    assert (await acme.post("/v1/holds", json=body)).status_code == 201


# ------------------------------------------------------------ compliance


async def test_compliance_says_what_is_kept_held_and_removed(
    acme: httpx.AsyncClient, world: World
) -> None:
    records, tracks = world.database.tenant("acme"), world.database.tracks("acme")
    await records.record_alarms([make_alarm(0), make_alarm(9, camera="yard")])
    await tracks.record_objects([make_sighting(5)])
    await tracks.record_paths([make_path(5), make_path(3, camera="yard")])
    retention = world.database.retention("acme")
    count = KindCount(kind=RetentionKind.PATHS, cause=RemovalCause.AGE, removed=3, bytes=0)
    for n, counts in enumerate([(count,), (), (count,)]):
        await retention.add_run(
            RetentionRun(
                started_us=T0_US + n, ended_us=T0_US + n + 1, complete=True,
                counts=counts, space=SpaceState.REMOVING,
            )
        )  # fmt: skip
    await acme.post("/v1/holds", json={"from": AT, "to": AT, "reason": "case"})
    assert (await acme.get("/v1/compliance")).json()["storage"] is None
    await retention.set_storage(
        StorageUse(
            recordings=900, files=100, listed_us=T0_US - 5, measured_us=T0_US,
            state=SpaceState.EXHAUSTED,
        )
    )  # fmt: skip
    found = (await acme.get("/v1/compliance")).json()
    assert found["storage"] == {
        "used": 1_000, "limit": 10**9 * 1024 * 1024, "state": "exhausted", "measured_at": AT,
    }  # fmt: skip
    assert found["policy"] == (await acme.get(POLICY)).json()
    assert found["holds"] == (await acme.get("/v1/holds")).json()["holds"]
    assert found["kept"] == {
        "alarms": {"count": 2, "oldest_at": AT},
        "recordings": {"count": 0, "oldest_at": None},
        "objects": {"count": 1, "oldest_at": "2023-11-14T22:13:25.000000Z"},
        "paths": {"count": None, "oldest_at": "2023-11-14T22:13:23.000000Z"},
        "coverage": {"count": 0, "oldest_at": None},
    }
    assert [len(run["counts"]) for run in found["runs"]] == [1, 0, 1]
    assert found["runs"][0] == {
        "started_at": "2023-11-14T22:13:20.000002Z",
        "ended_at": "2023-11-14T22:13:20.000003Z",
        "complete": True,
        "space": "removing",
        "counts": [{"kind": "paths", "cause": "age", "removed": 3, "bytes": 0, "failures": 0}],
        "error": None,
    }


async def test_changes_are_in_the_audit_log(acme: httpx.AsyncClient, world: World) -> None:
    body = {"days": {"recordings": 30, "paths": None}, "cameras": {"gate": {"clips": 1}}}
    await acme.put(POLICY, json=body)
    await acme.put(POLICY, json={"days": {"alarms": 1}})
    made = await acme.post("/v1/holds", json={"from": AT, "to": AT, "reason": "case"})
    await acme.delete(made.headers["location"])
    log = world.database.audit("acme")

    async def written() -> bool:
        return len((await log.page(AuditQuery())).items) >= 4

    await eventually(written)
    entries = list(reversed((await log.page(AuditQuery())).items))
    id = made.json()["id"]
    assert [(e.action, e.object_kind, e.object_id, e.outcome) for e in entries] == [
        ("policy.change", "policy", "retention", "done"),
        ("policy.change", "policy", "retention", "refused"),
        ("hold.add", "hold", id, "done"),
        ("hold.remove", "hold", id, "done"),
    ]
    assert entries[0].details == {
        "days": ["paths=without end", "recordings=30"],
        "cameras": ["gate"],
    }
    assert entries[2].details == {"camera": None, "from": AT, "to": AT, "alarm": None}


async def test_the_platform_has_no_policy_of_its_own(platform: httpx.AsyncClient) -> None:
    for address in (POLICY, "/v1/holds", "/v1/compliance"):
        problem(await platform.get(address), 403, "forbidden")
