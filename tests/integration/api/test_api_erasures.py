"""Erasure as a program asks for it, and as the runner of the cluster answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from typer.testing import CliRunner, Result

from cluster.cli.main import app
from cluster.core.settings import Settings
from cluster.erasure.receipt import ReceiptKeys, verify
from cluster.erasure.runner import ErasureRunner
from cluster.stores.db import Database
from pipelines.erasure import Target
from pipelines.errors import NotFoundError
from tests.factories import make_alarm, make_sighting
from tests.integration.api.erasing import fill, open_runner
from tests.integration.api.test_api_stream import follow, take
from tests.integration.api.world import LIVEKIT_SECRET, World, logged, problem

ANY_ID = UUID(int=7)
OBJECT = {"camera": "gate", "track": "track-1"}


@pytest.fixture
async def filled(world: World) -> World:
    await fill(world)
    return world


@pytest.fixture
async def runner(filled: World, tmp_path: Path) -> AsyncIterator[ErasureRunner]:
    async with open_runner(filled, tmp_path) as runner:
        yield runner


async def ask(client: httpx.AsyncClient, subject: dict[str, Any], **more: Any) -> httpx.Response:
    body = {"subject": subject, "reason": "request 2026/118", **more}
    return await client.post("/v1/erasures", json=body)


async def test_find_look_erase_and_show_the_receipt(
    filled: World, runner: ErasureRunner, acme: httpx.AsyncClient
) -> None:
    """What a data-protection officer does, from the object to the receipt."""
    found = (await acme.get("/v1/objects/track-1", params={"camera": "gate"})).json()
    answer = await ask(acme, {"object": found["track"], "camera": found["camera"]})
    assert answer.status_code == 202
    address = answer.headers["location"]
    asked = answer.json()
    assert (asked["state"], asked["objects"], asked["receipt"]) == ("queued", 1, None)
    assert [step["state"] for step in asked["steps"]] == ["pending"] * 7
    await runner.round()
    done = (await acme.get(address)).json()
    assert (done["state"], {step["state"] for step in done["steps"]}) == ("done", {"done"})
    verify(done["receipt"], ReceiptKeys.of(filled.deps.settings).public)
    assert {count["kind"]: count["removed"] for count in done["removed"]} == {
        "sql.objects": 1, "sql.paths": 1, "sql.alarms": 1, "redis.alarms": 1,
        "vectors.objects": 1, "blobs.pictures": 1, "blobs.alarm_pictures": 1,
    }  # fmt: skip
    problem(await acme.get("/v1/objects/track-1"), 404, "not-found")
    assert (await acme.get("/v1/alarms")).json()["alarms"] == []
    problem(await acme.get("/v1/snapshots/objects/gate/1.jpg"), 404, "not-found")
    shown = (await acme.get("/v1/compliance")).json()["erasures"]
    assert [(one["id"], one["state"]) for one in shown] == [(done["id"], "done")]
    entries = [e for e in await logged(filled, "acme") if e.action.startswith("erasure.")]
    assert [(e.action, e.object_id, e.outcome) for e in reversed(entries)] == [
        ("erasure.start", done["id"], "done"),
        ("erasure.done", done["id"], "done"),
    ]
    assert entries[-1].details == {"kind": "objects", "objects": 1}
    problem(await ask(acme, {"object": "track-1", "camera": "gate"}), 404, "not-found")
    assert (await filled.database.tracks("globex").object("track-1")).sighting.tenant == "globex"


async def test_an_alarm_that_a_page_still_follows(
    filled: World, runner: ErasureRunner, acme: httpx.AsyncClient
) -> None:
    """Replicas remember the last alarms of the stream; not those that were erased."""
    late = make_alarm(2, track="track-1", snapshot="alarms/late.jpg")
    address = f"/v1/alarms/{late.id}/snapshot"
    await filled.blobs("acme").put("alarms/late.jpg", b"a picture")
    async with follow(acme) as events:
        await anext(events)
        await filled.stream("acme").publish(late)
        await take(events, 1)
        assert (await acme.get(address)).content == b"a picture"
        await ask(acme, {"objects": [OBJECT]})
        await runner.round()
        problem(await acme.get(address), 404, "not-found")
        problem(await acme.get(f"/v1/alarms/{late.id}"), 404, "not-found")
    with pytest.raises(NotFoundError):
        await filled.blobs("acme").stat("alarms/late.jpg")


async def test_several_objects_and_one_without_its_camera(
    filled: World, acme: httpx.AsyncClient
) -> None:
    assert (await ask(acme, {"objects": [OBJECT]})).json()["objects"] == 1
    assert (await ask(acme, {"object": "track-1"})).json()["objects"] == 1
    other = make_sighting(1, camera="yard")
    await filled.database.tracks("acme").record_objects([other])
    problem(await ask(acme, {"object": "track-1"}), 409, "conflict")
    listed = (await acme.get("/v1/erasures", params={"limit": 1})).json()["erasures"]
    assert [(one["kind"], one["objects"], one["state"]) for one in listed] == [
        ("objects", 1, "queued")
    ]


@pytest.mark.parametrize(
    ("subject", "more"),
    [
        ({}, {}),
        ({"object": "a", "tenant": True}, {}),
        ({"objects": []}, {}),
        ({"objects": [OBJECT], "camera": "gate"}, {}),
        ({"objects": [OBJECT] * 501}, {}),
        ({"object": "a\u0000"}, {}),
        ({"object": "a", "camera": "Gate"}, {}),
        ({"tenant": False}, {}),
        ({"object": "a"}, {"reason": "  "}),
        ({"object": "a"}, {"reason": "r" * 501}),
        ({"object": "a"}, {"reason": "two\nlines"}),
        ({"tenant": True}, {"confirm": "c" * 41}),
    ],
)
async def test_what_is_no_request(
    acme: httpx.AsyncClient, subject: dict[str, Any], more: dict[str, Any]
) -> None:
    problem(await ask(acme, subject, **more), 422)


async def test_a_whole_tenant_needs_its_name_and_leaves_the_receipt_to_the_operator(
    filled: World, runner: ErasureRunner, acme: httpx.AsyncClient, platform: httpx.AsyncClient
) -> None:
    for typed in ({}, {"confirm": "globex"}, {"confirm": "Acme"}):
        refused = problem(await ask(acme, {"tenant": True}, **typed), 422, "invalid-input")
        assert "confirm" in refused["detail"]
    answer = await ask(acme, {"tenant": True}, confirm="acme")
    assert answer.status_code == 202
    problem(await ask(acme, {"tenant": True}, confirm="acme"), 409, "conflict")
    problem(await ask(acme, {"object": "track-1"}), 409, "conflict")
    await runner.round()
    [listed] = (await platform.get("/v1/erasures")).json()["erasures"]
    done = (await platform.get(f"/v1/erasures/{listed['id']}")).json()
    assert (done["kind"], done["state"]) == ("tenant", "done")
    assert done["receipt"]["tenant"] == "acme"
    verify(done["receipt"], ReceiptKeys.of(filled.deps.settings).public)
    tenants = (await platform.get("/v1/tenants")).json()["tenants"]
    assert [tenant["id"] for tenant in tenants] == ["globex"]
    again = await platform.post("/v1/tenants", json={"id": "acme"})
    assert "was erased" in problem(again, 409, "conflict")["detail"]
    assert await _principal(filled.database, filled.keys["acme"]) is None


async def _principal(database: Database, key: str) -> object:
    return await database.platform().find_key(key)


async def test_an_erasure_that_there_is_not(
    acme: httpx.AsyncClient, platform: httpx.AsyncClient
) -> None:
    for client in (acme, platform):
        problem(await client.get(f"/v1/erasures/{ANY_ID}"), 404, "not-found")
        problem(await client.get("/v1/erasures/none"), 422)


async def test_an_operator_cannot_erase(filled: World, settings: Settings) -> None:
    del settings
    client = await filled.client("acme operator")
    problem(await ask(client, {"object": "track-1"}), 403, "forbidden")
    problem(await client.get("/v1/erasures"), 403, "forbidden")
    erased = await filled.database.tracks("acme").erased([Target("gate", "track-1")])
    assert erased == set()


async def test_the_command_line_shows_and_checks(
    filled: World,
    runner: ErasureRunner,
    acme: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.delenv("ATALAIA_CONFIG", raising=False)
    for name, value in {
        "ATALAIA_DATA_DIR": str(tmp_path / "cli"),
        "ATALAIA_API__URL": filled.url,
        "ATALAIA_KEY": filled.keys["acme"],
        "ATALAIA_LIVEKIT__API_SECRET": LIVEKIT_SECRET,
    }.items():
        monkeypatch.setenv(name, value)

    async def atalaia(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["erasure", *words])

    erasure = (await ask(acme, {"objects": [OBJECT]})).json()["id"]
    before = await atalaia("show", erasure, "--receipt", str(tmp_path / "receipt.json"))
    assert "is queued" in before.stdout
    assert not (tmp_path / "receipt.json").exists()
    await runner.round()
    assert "sql.alarms: 1 removed" in (await atalaia("show", erasure)).stdout
    assert erasure in (await atalaia("list")).stdout
    assert json.loads((await atalaia("list", "--json")).stdout)[0]["state"] == "done"
    assert (await atalaia("show", erasure, "--receipt", str(tmp_path / "r.json"))).exit_code == 0
    checked = await atalaia("verify", str(tmp_path / "r.json"))
    assert (checked.exit_code, "verified: 1 objects of acme" in checked.stdout) == (0, True)
    shown = (await atalaia("key")).stdout.split()[1]
    monkeypatch.setenv("ATALAIA_LIVEKIT__API_SECRET", "another-secret-of-at-least-32-chars")
    assert (await atalaia("verify", str(tmp_path / "r.json"))).exit_code == 2
    by_key = await atalaia("verify", str(tmp_path / "r.json"), "--public-key", shown)
    assert by_key.exit_code == 0
    changed = (tmp_path / "r.json").read_text().replace("request 2026", "request 2025")
    (tmp_path / "r.json").write_text(changed)
    refused = await atalaia("verify", str(tmp_path / "r.json"), "--public-key", shown)
    assert (refused.exit_code, "was changed" in refused.output) == (2, True)
