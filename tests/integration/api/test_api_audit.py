"""What the API writes into the audit log, what it never writes there, and who may read it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from cluster.core.settings import Settings
from cluster.stores.audit.chain import AuditEntry
from cluster.stores.bus import CameraStatusBoard
from cluster.stores.db import engine, new_key
from pipelines.domain import CameraKey
from serve.api.app import create_app
from serve.api.bound import TenantAddresses
from tests.factories import make_alarm, make_camera, make_status
from tests.integration.api.test_api_search import RED, picture
from tests.integration.api.world import Frail, World, eventually, open_world, problem, served
from tests.unit.cluster.stores.audit.chains import first_fault

PASSWORD = "hunter2"
URL = f"rtsp://viewer:{PASSWORD}@192.0.2.1/?token={PASSWORD}"


async def entries(world: World, chain: str = "acme") -> list[AuditEntry]:
    """The whole chain, oldest first, once everything is written; checked to be whole."""

    async def written() -> bool:
        return world.state.auditor.health().waiting == 0

    await eventually(written)
    log = world.database.audit_chain(chain)
    found = [entry async for page in log.entries() for entry in page]
    assert first_fault(chain, found) is None
    return found


async def told(world: World, chain: str = "acme") -> list[tuple[str, str, str]]:
    """Action, object and outcome of each entry."""
    return [(e.action, e.object_id, e.outcome) for e in await entries(world, chain)]


def key_id(world: World, who: str) -> str:
    return f"key:{world.keys[who].split('_')[1]}"


async def put_status(world: World) -> None:
    """acme's camera `gate` plays, with a picture at its host."""
    status = make_status()
    await CameraStatusBoard(world.redis).put_all("acme", [status])
    world.hosts.pictures["atalaia-host-0", CameraKey("acme", "gate")] = b"jpeg"


# ------------------------------------------------------------ what is written


async def test_an_entry_says_who_did_what_from_where(world: World, acme: httpx.AsyncClient) -> None:
    before_us = world.deps.clock.now_us()
    await acme.post("/v1/cameras", json={"id": "gate", "url": URL, "name": "Gate"})
    [entry] = await entries(world)
    assert (entry.tenant, entry.sequence) == ("acme", 1)
    assert before_us <= entry.at_us <= world.deps.clock.now_us()
    assert entry.actor == key_id(world, "acme")
    assert (entry.action, entry.object_kind, entry.object_id) == ("camera.add", "camera", "gate")
    assert entry.address == "127.0.0.1"
    assert (entry.outcome, entry.reason) == ("done", None)
    assert entry.details == {"fields": ["name", "url"]}


async def test_cameras_masks_and_rules(world: World, acme: httpx.AsyncClient) -> None:
    rule = {"kind": "zone_entry", "polygon": [[0, 0], [1, 0], [1, 1]], "id": "yard"}
    mask = [[0.0, 0.0], [0.3, 0.0], [0.3, 0.2]]
    await acme.post("/v1/cameras", json={"id": "gate", "url": URL})
    await acme.patch("/v1/cameras/gate", json={"url": URL, "detect_fps": 2})
    await acme.patch("/v1/cameras/gate", json={"masks": [mask], "name": "Gate"})
    await acme.post("/v1/cameras/gate/rules", json=rule)
    await acme.delete("/v1/cameras/gate/rules/yard")
    await acme.delete("/v1/cameras/gate")
    assert await told(world) == [
        ("camera.add", "gate", "done"),
        ("camera.change", "gate", "done"),
        ("camera.change", "gate", "done"),
        ("masks.change", "gate", "done"),
        ("rule.add", "gate/yard", "done"),
        ("rule.remove", "gate/yard", "done"),
        ("camera.remove", "gate", "done"),
    ]
    details = [entry.details for entry in await entries(world)]
    assert details[1] == {"fields": ["detect_fps", "url"]}
    assert details[3] == {"fields": ["masks", "name"], "masks": 1}


async def test_looking_is_logged_once_a_minute_and_changing_each_time(
    world: World, acme: httpx.AsyncClient
) -> None:
    await world.database.tenant("acme").add_camera(make_camera())
    alarm = make_alarm(1, snapshot="alarms/1.jpg")
    await world.database.tenant("acme").record_alarms([alarm])
    for key in ("alarms/1.jpg", "tracks/1.jpg"):
        await world.blobs("acme").put(key, b"jpeg")
    await put_status(world)
    for _ in range(3):
        for path in (
            "/v1/cameras/gate/snapshot",
            f"/v1/alarms/{alarm.id}/snapshot",
            "/v1/snapshots/tracks/1.jpg",
            f"/v1/alarms/{alarm.id}/clip",
            "/v1/recordings?camera=gate&from=2026-01-31T08:00:00Z",
            "/v1/audit",
        ):
            assert (await acme.get(path)).status_code == 200
        assert (await acme.post("/v1/cameras/gate/join")).status_code == 200
        assert (await acme.post(f"/v1/alarms/{alarm.id}/ack")).status_code == 200
    found = await told(world)
    assert sorted(found) == sorted(
        [
            ("snapshot.view", "gate", "done"),
            ("snapshot.view", str(alarm.id), "done"),
            ("snapshot.view", "tracks/1.jpg", "done"),
            ("clip.link", str(alarm.id), "done"),
            ("recording.link", "gate", "done"),
            ("audit.read", "", "done"),
            *[("live.join", "gate", "done")] * 3,
            *[("alarm.acknowledge", str(alarm.id), "done")] * 3,
        ]
    )
    [linked] = [e for e in await entries(world) if e.action == "recording.link"]
    assert linked.details == {"from": "2026-01-31T08:00:00Z"}


async def test_two_who_look_are_two_entries(world: World, acme: httpx.AsyncClient) -> None:
    await world.database.tenant("acme").add_camera(make_camera())
    await put_status(world)
    second = await world.database.platform().create_key("acme", "second")
    await acme.get("/v1/cameras/gate/snapshot")
    headers = {"Authorization": f"Bearer {second.secret}"}
    await acme.get("/v1/cameras/gate/snapshot", headers=headers)
    actors = [entry.actor for entry in await entries(world)]
    assert actors == [key_id(world, "acme"), f"key:{second.id}"]


async def test_a_file_is_read_by_whoever_got_the_link(
    world: World, anonymous: httpx.AsyncClient
) -> None:
    await world.blobs("acme").put("clips/1.mp4", b"0123456789")
    url = await world.link("acme", "clips/1.mp4", "video/mp4")
    for start in range(5):
        answer = await anonymous.get(url, headers={"Range": f"bytes={start}-{start}"})
        assert answer.status_code == 206
    await anonymous.head(url)
    other = await world.link("acme viewer", "clips/1.mp4", "video/mp4")
    await anonymous.get(other)
    found = await entries(world)
    assert [(e.action, e.object_id, e.actor) for e in found] == [
        ("media.read", "clips/1.mp4", key_id(world, "acme")),
        ("media.read", "clips/1.mp4", key_id(world, "acme viewer")),
    ]
    assert url.rpartition("/")[2] not in str(found)


async def test_searches_say_what_was_searched(world: World, acme: httpx.AsyncClient) -> None:
    await acme.post("/v1/search", files={"image": picture(RED)}, params={"camera": "gate"})
    await acme.post("/v1/search", json={"text": "a person in red"})
    await acme.post("/v1/search", params={"like": "t-1"})
    found = await entries(world)
    assert [e.action for e in found] == ["search"] * 3
    assert [e.details for e in found] == [
        {"camera": "gate", "by": "picture"},
        {"by": "words", "text": "a person in red"},
        {"like": "t-1", "by": "object"},
    ]
    assert [e.outcome for e in found] == ["done", "refused", "refused"]
    assert found[2].reason == "404 Not Found"


async def test_jobs(world: World, acme: httpx.AsyncClient) -> None:
    await world.database.tenant("acme").add_camera(make_camera())
    answer = await acme.post("/v1/jobs", json={"kind": "reprocess", "camera": "gate"})
    job = answer.json()["id"]
    await acme.delete(f"/v1/jobs/{job}")
    assert await told(world) == [("job.start", job, "done"), ("job.cancel", job, "done")]
    assert (await entries(world))[0].details == {"kind": "reprocess", "camera": "gate"}


async def test_keys_and_tenants_are_in_both_chains(
    world: World, platform: httpx.AsyncClient
) -> None:
    await platform.post("/v1/tenants", json={"id": "initech"})
    issued = (await platform.post("/v1/keys", json={"tenant": "acme", "label": "x"})).json()
    await platform.delete(f"/v1/keys/{issued['id']}")
    root = (await platform.post("/v1/keys", json={"tenant": None, "label": "x"})).json()
    await platform.put("/v1/model", json={"weights": "/models/mine.pt"})
    assert await told(world, "") == [
        ("tenant.add", "initech", "done"),
        ("key.issue", issued["id"], "done"),
        ("key.revoke", issued["id"], "done"),
        ("key.issue", root["id"], "done"),
        ("model.change", "/models/mine.pt", "done"),
    ]
    assert await told(world, "acme") == [
        ("key.issue", issued["id"], "done"),
        ("key.revoke", issued["id"], "done"),
    ]
    assert await told(world, "initech") == [("tenant.add", "initech", "done")]
    assert {e.actor for e in await entries(world, "acme")} == {key_id(world, "platform")}


async def test_what_was_refused_is_logged_with_the_reason(
    world: World, acme: httpx.AsyncClient, platform: httpx.AsyncClient
) -> None:
    for _ in range(5):
        problem(await acme.delete("/v1/cameras/nothing"), 404)
    problem(await acme.post("/v1/tenants", json={"id": "mine"}), 403)
    problem(await platform.get("/v1/cameras/gate/snapshot"), 403)
    problem(await acme.post("/v1/cameras", json={"id": "x", "url": "gopher://h/"}), 422)
    found = [(e.action, e.object_id, (e.reason or "")[:3]) for e in await entries(world)]
    assert found == [
        ("camera.remove", "nothing", "404"),
        ("tenant.add", "", "403"),
        ("camera.add", "x", "422"),
    ]
    assert await told(world, "") == [("snapshot.view", "gate", "refused")]
    assert "mine" not in await world.database.audit_heads()()


async def test_another_address_is_another_entry(world: World) -> None:
    """A stolen key must show, also where its owner looks at the same."""
    await world.database.tenant("acme").add_camera(make_camera())
    await put_status(world)
    api = world.deps.settings.api.model_copy(update={"trusted_proxies": ("127.0.0.1",)})
    settings = world.deps.settings.model_copy(update={"api": api})
    app = create_app(replace(world.deps, settings=settings))
    headers = {"Authorization": f"Bearer {world.keys['acme']}"}
    async with served(app) as url, httpx.AsyncClient(base_url=url, headers=headers) as client:
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            forwarded = {"X-Forwarded-For": address}
            await client.get("/v1/cameras/gate/snapshot", headers=forwarded)
    assert [e.address for e in await entries(world)] == ["192.0.2.1", "192.0.2.2"]


async def test_whoever_tries_ids_does_not_fill_the_log(
    world: World, acme: httpx.AsyncClient
) -> None:
    for _ in range(50):
        problem(await acme.get(f"/v1/alarms/{uuid4()}/snapshot"), 404)
    await world.state.auditor.aclose()
    found = await entries(world)
    assert [e.reason for e in found] == ["404 Not Found"] * 20 + ["404"]
    assert found[-1].details == {"count": 30, "404": 30}


# ------------------------------------------------------------ what is done, whatever is answered


async def _send(app: FastAPI, key: str, method: str, path: str, body: object) -> None:
    """One request without a server, so that the caller decides when it is cancelled."""
    raw, sent = json.dumps(body).encode(), False
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "client": ("192.0.2.9", 1),
        "server": ("127.0.0.1", 80),
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"authorization", f"Bearer {key}".encode()),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(raw)).encode()),
        ],
    }

    async def receive() -> dict[str, object]:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: object) -> None:
        raise AssertionError(f"answered before it was cancelled: {message}")

    await app(scope, receive, send)


async def test_who_hangs_up_after_a_change_is_in_the_log(world: World) -> None:
    """Serve cancels the request then, and the change stays."""
    world.controller.hangs = True
    body = {"id": "gate", "url": URL}
    request = asyncio.create_task(_send(world.app, world.keys["acme"], "POST", "/v1/cameras", body))

    async def kept() -> bool:
        return bool(await world.database.tenant("acme").cameras())

    await eventually(kept)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    [entry] = await entries(world)
    assert (entry.action, entry.object_id, entry.outcome) == ("camera.add", "gate", "done")
    assert (entry.reason, entry.address) == ("aborted before an answer", "192.0.2.9")


async def test_who_hangs_up_before_a_change_is_in_the_log(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    checking = asyncio.Event()

    async def resolves(*_: object) -> None:
        checking.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(TenantAddresses, "check", resolves)
    body = {"id": "gate", "url": URL}
    request = asyncio.create_task(_send(world.app, world.keys["acme"], "POST", "/v1/cameras", body))
    await checking.wait()
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert await told(world) == [("camera.add", "gate", "refused")]
    assert await world.database.tenant("acme").cameras() == []


async def test_changes_while_redis_is_away_are_done_and_logged_each_time(frail: Frail) -> None:
    world = frail.world
    acme = await world.client("acme")
    await world.database.tenant("acme").add_camera(make_camera())
    await asyncio.to_thread(frail.redis.stop)
    for _ in range(2):
        answer = await acme.patch("/v1/cameras/gate", json={"masks": [], "name": "Gate"})
        assert (answer.status_code, answer.json()["name"]) == (200, "Gate")
    assert (
        await told(world)
        == [
            ("camera.change", "gate", "done"),
            ("masks.change", "gate", "done"),
        ]
        * 2
    )
    await asyncio.to_thread(frail.redis.start)


async def test_what_is_not_audited_leaves_no_entry(world: World, acme: httpx.AsyncClient) -> None:
    for path in ("/v1/cameras", "/v1/alarms", "/v1/objects", "/v1/session", "/v1/jobs", "/readyz"):
        assert (await acme.get(path)).status_code == 200
    assert (await acme.post("/v1/detect", files={"image": picture(RED)})).status_code == 200
    problem(await acme.get("/v1/nothing"), 404)
    assert await world.database.audit_heads()() == {}


# ------------------------------------------------------------ refused credentials


async def test_refused_credentials_are_counted_per_address(world: World) -> None:
    wrong = new_key()
    app = create_app(world.deps)
    async with served(app) as url, httpx.AsyncClient(base_url=url, timeout=30) as client:
        for _ in range(35):
            await client.get("/v1/cameras", headers={"Authorization": f"Bearer {wrong}"})
        await client.get("/v1/cameras")
        await client.get("/v1/cameras", headers={"Authorization": f"Bearer {PASSWORD}"})
        problem(await client.get("/media/forged"), 403)
        assert await world.database.audit_heads()() == {}
    # The minute is not over, but the application is.
    [entry] = await entries(world, "")
    assert (entry.action, entry.outcome, entry.actor) == (
        "credential.refused",
        "refused",
        "unknown",
    )
    assert entry.address == "127.0.0.1"
    assert entry.details == {
        "count": 38,
        "blocked": 6,
        "link": 1,
        "missing": 1,
        "wrong": 30,
        "keys": [wrong.split("_")[1]],
    }
    assert wrong.split("_", 2)[2] not in str(entry)
    assert PASSWORD not in str(entry)


# ------------------------------------------------------------ no secret


async def test_no_secret_is_in_the_log(
    world: World, acme: httpx.AsyncClient, platform: httpx.AsyncClient
) -> None:
    """Passwords in every place that takes one, and every secret that is given out."""
    await acme.post("/v1/cameras", json={"id": "gate", "url": URL, "substream_url": URL})
    await acme.patch("/v1/cameras/gate", json={"url": URL})
    await acme.get(f"/v1/snapshots/{URL}.jpg")
    await acme.delete(f"/v1/cameras/{PASSWORD.upper()}:{PASSWORD}@x")
    await acme.post("/v1/search", json={"text": URL})
    await platform.put("/v1/model", json={"weights": f"https://u:{PASSWORD}@models/x.pt"})
    issued = (await platform.post("/v1/keys", json={"tenant": "acme", "label": "x"})).json()
    token = (await acme.post("/v1/cameras/gate/join")).json()["token"]
    await acme.get("/v1/cameras/gate/snapshot", params={"key": world.keys["acme"]})
    for chain in ("acme", ""):
        assert await entries(world, chain)
    async with world.database._engine.connect() as connection:
        rows = str((await connection.execute(text("SELECT * FROM audit"))).all())
    assert rows.count("camera.add") == 1
    secrets = [key.split("_", 2)[2] for key in (*world.keys.values(), issued["key"])]
    for secret in (f":{PASSWORD}@", f"={PASSWORD}", token, "a-livekit-secret", *secrets):
        assert secret not in rows


# ------------------------------------------------------------ reading it


async def test_it_is_read_in_pages_and_by_filters(world: World, acme: httpx.AsyncClient) -> None:
    for n in range(5):
        await acme.post("/v1/cameras", json={"id": f"gate-{n}", "url": URL})
    await acme.delete("/v1/cameras/gate-0")
    await entries(world)
    page = (await acme.get("/v1/audit", params={"limit": 2})).json()
    assert [e["object"] for e in page["entries"]] == [
        {"kind": "camera", "id": "gate-0"},
        {"kind": "camera", "id": "gate-4"},
    ]
    rest = (await acme.get("/v1/audit", params={"limit": 50, "cursor": page["next_cursor"]})).json()
    assert [e["sequence"] for e in rest["entries"]] == [4, 3, 2, 1]
    assert rest["next_cursor"] is None
    assert rest["entries"][0]["prev_hash"] == rest["entries"][1]["hash"]

    async def count(**params: str) -> int:
        return len((await acme.get("/v1/audit", params=params)).json()["entries"])

    assert await count(action="camera.remove") == 1
    assert await count(actor=key_id(world, "acme"), action="camera.add") == 5
    assert await count(actor="key:nobody00") == 0
    assert await count(until="2020-01-01T00:00:00Z") == 0
    assert await count(since=page["entries"][0]["at"], action="camera.remove") == 1
    for wrong in ({"action": "nothing"}, {"limit": "0"}, {"cursor": "x"}, {"actor": "a b"}):
        problem(await acme.get("/v1/audit", params=wrong), 422)


async def test_each_key_sees_its_own_chain_only(
    world: World, acme: httpx.AsyncClient, globex: httpx.AsyncClient, platform: httpx.AsyncClient
) -> None:
    for n in range(4):
        await globex.post("/v1/cameras", json={"id": f"globex-only-{n}", "url": URL})
    await acme.post("/v1/cameras", json={"id": "gate", "url": URL})
    await platform.post("/v1/tenants", json={"id": "initech"})
    for chain in ("acme", "globex", ""):
        await entries(world, chain)
    theirs = (await globex.get("/v1/audit", params={"limit": 2})).json()
    assert len(theirs["entries"]) == 2
    for params in ({}, {"tenant": "globex"}, {"cursor": theirs["next_cursor"]}, {"limit": 500}):
        for client in (acme, platform):
            answer = await client.get("/v1/audit", params=params)
            assert answer.status_code == 200
            assert "globex" not in answer.text
    for actor in (key_id(world, "globex"), key_id(world, "platform")):
        answer = await acme.get("/v1/audit", params={"actor": actor})
        assert answer.json()["entries"] == []
    own = (await platform.get("/v1/audit", params={"action": "tenant.add"})).json()["entries"]
    assert [e["object"]["id"] for e in own] == ["initech"]


DEEP = "[" * 50_000 + "]" * 50_000
TAMPERED = {
    "at_us": ["x'ff'", "'soon'", "9223372036854775807", "1.5e300"],
    "details": [
        "x'ff'",
        "'no json'",
        "'[1, 2]'",
        """'{"a": NaN, "b": {"c": 1e999}}'""",
        """'{"a": "\\udcff"}'""",
        """'{"a": 1, "a": 2}'""",
        f"""'{{"a": {DEEP}}}'""",
        f"""'{{"a": {"[" * 900 + "]" * 900}}}'""",
        '\'{"url": "rtsp://viewer:hunter2@192.0.2.1/"} \'',
    ],
    **{
        column: ["x'ff'", "CAST(x'6bff1b' AS TEXT)", f"'{'x' * 10_000}'"]
        for column in (
            *("actor", "action", "object_kind", "object_id", "address", "reason"),
            *("prev_hash", "hash"),
        )
    },
}


async def test_rows_that_were_tampered_with_are_shown_as_far_as_they_can_be(
    world: World, acme: httpx.AsyncClient
) -> None:
    changes = [(column, value) for column, values in TAMPERED.items() for value in values]
    for n in range(len(changes) + 1):
        await acme.post("/v1/cameras", json={"id": f"gate-{n}", "url": URL})
    await entries(world)
    async with world.database._engine.begin() as connection:
        for name in ("audit_no_update", "audit_no_replace"):
            await connection.execute(text(f"DROP TRIGGER {name}"))
        for row, (column, value) in enumerate(changes, 2):
            await connection.exec_driver_sql(
                f"UPDATE audit SET {column} = {value} WHERE sequence = {row}"
            )
        await connection.execute(text("UPDATE audit SET sequence = 'x' WHERE sequence = 1"))
    found: list[dict[str, Any]] = []
    params: dict[str, Any] = {"limit": 7}
    while True:
        answer = await acme.get("/v1/audit", params=params)
        assert answer.status_code == 200
        assert PASSWORD not in answer.text
        assert len(answer.content) < 30_000
        found += answer.json()["entries"]
        params["cursor"] = answer.json()["next_cursor"]
        if params["cursor"] is None:
            break
    rows = range(len(changes) + 1, 1, -1)
    assert [e["sequence"] for e in found if e["action"] != "audit.read"] == list(rows)
    shown = dict(zip(reversed(changes), found[-len(changes) :], strict=True))
    assert shown["at_us", "'soon'"]["at"] == "soon"
    assert shown["actor", "x'ff'"]["actor"] == r"b'\xff'"
    assert shown["actor", "CAST(x'6bff1b' AS TEXT)"]["actor"] == "k\ufffd\ufffd"
    assert shown["details", "'no json'"]["details"] == {"stored": "no json"}
    assert shown["details", """'{"a": 1, "a": 2}'"""]["details"] == {"stored": '{"a": 1, "a": 2}'}


# ------------------------------------------------------------ the database is away


@pytest.fixture
async def hurried(
    settings: Settings, migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """A world whose writers give up on a locked database at once."""
    monkeypatch.setattr(engine, "SQLITE_BUSY_TIMEOUT_MS", 50)
    async with open_world(settings, migrated) as world:
        yield world


async def test_views_go_on_without_the_log_and_the_loss_is_visible(hurried: World) -> None:
    world = hurried
    acme, anonymous = await world.client("acme"), await world.client(None)
    await world.database.tenant("acme").add_camera(make_camera())
    await put_status(world)
    world.state.auditor._queue._max_of_chain = 3
    path = world.deps.settings.database_url.removeprefix("sqlite+aiosqlite:///")
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")  # readers go on, writers do not

    for _ in range(8):
        assert (await acme.post("/v1/cameras/gate/join")).status_code == 200
    assert (await acme.get("/v1/cameras/gate/snapshot")).content == b"jpeg"

    async def losing() -> bool:
        body = (await anonymous.get("/readyz")).json()
        told = body["audit"] == {"status": "losing", "waiting": 3, "lost": 6}
        return bool(told and world.state.auditor._queue.state.failing)

    await eventually(losing)
    metrics = (await anonymous.get("/metrics")).text
    assert 'atalaia_audit_events_total{result="lost"} 6.0' in metrics
    assert "atalaia_audit_waiting 3.0" in metrics
    assert await world.database.audit("acme").count() == 0
    await asyncio.to_thread(other.execute, "ROLLBACK")
    other.close()

    async def well() -> bool:
        body = (await anonymous.get("/readyz")).json()
        return bool(body["audit"] == {"status": "ok", "waiting": 0, "lost": 6})

    await eventually(well)
    found = await entries(world)
    assert [e.action for e in found] == ["live.join"] * 3 + ["audit.lost"]
    assert found[-1].details["count"] == 6
    assert 'result="delayed"} 0.0' not in (await anonymous.get("/metrics")).text


async def test_what_waits_is_written_when_the_application_ends(world: World) -> None:
    app = create_app(world.deps)
    headers = {"Authorization": f"Bearer {world.keys['acme']}"}
    async with (
        served(app) as url,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client,
    ):
        for n in range(50):
            await client.post("/v1/cameras", json={"id": f"c-{n}", "url": URL})
    assert await world.database.audit("acme").count() == 50


async def test_two_replicas_keep_one_chain(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.keys['acme']}"}

    async def use(url: str, first: int) -> None:
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as client:
            for n in range(first, first + 40):
                await client.post("/v1/cameras", json={"id": f"c-{n}", "url": URL})

    async with served(create_app(world.deps)) as one, served(create_app(world.deps)) as two:
        await asyncio.gather(use(one, 0), use(two, 100), use(world.url, 200))
    found = await entries(world)
    wanted: set[Any] = {f"c-{n}" for first in (0, 100, 200) for n in range(first, first + 40)}
    assert {entry.object_id for entry in found} == wanted
    assert len(found) == 120
