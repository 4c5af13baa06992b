"""Two tenants with the same ids: whatever one asks, nothing of the other comes back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from starlette.routing import Route

from cluster.clips.exports import manifest_key
from cluster.clips.manifest import Manifest
from cluster.core.roles import Role
from cluster.stores.bus import CameraStatus, CameraStatusBoard
from cluster.stores.db import RetentionRun
from pipelines.anonymisation import AnonymisationPolicy
from pipelines.domain import Alarm, CameraKey, CameraState, WorkOwner
from pipelines.erasure import Target
from pipelines.retention import HeldSpan, RetentionKind, RetentionPolicy
from serve.api.app import ROUTERS
from tests.factories import (
    make_alarm,
    make_camera,
    make_path,
    make_rule,
    make_sighting,
    make_status,
)
from tests.integration.api.test_api_auth import guarded
from tests.integration.api.test_api_detect import jpeg
from tests.integration.api.test_api_search import RED, picture
from tests.integration.api.test_api_stream import follow, take
from tests.integration.api.world import World, add_user, eventually, problem

MARK = "globex-only"
"""In every text that globex has; if acme ever reads it, something leaked."""
STRETCH = {"from": "2026-01-31T08:00:00Z", "to": "2026-01-31T08:01:00Z"}
NOT_BY_TENANT = {
    "/media/{token}",
    "/v1/tenants/{tenant}/quotas",
    "/v1/auth/oidc/{provider}/start",
    "/v1/auth/oidc/{provider}/callback",
}
"""What is open to whoever holds the link (see test_api_media); the platform's; what is for people
who have not signed in (see test_api_oidc)."""


@dataclass
class Theirs:
    """What globex has and acme has not."""

    camera: str
    rule: str
    alarm: Alarm
    snapshot: str
    job: UUID
    export: UUID
    track: str
    hold: UUID
    erasure: UUID
    key: str
    user: str
    group: str
    reveal: UUID


@pytest.fixture
async def theirs(world: World) -> Theirs:
    records = world.database.tenant("globex")
    await records.add_camera(
        make_camera("globex", "vault", name=f"{MARK} vault", url=f"rtsp://{MARK}.example/1")
    )
    await records.add_rule("vault", make_rule("thieves", name=f"{MARK} rule"))
    alarm = make_alarm(
        1, "globex", camera="vault", rule="thieves", track=f"{MARK}-track", snapshot="alarms/1.jpg"
    )
    await records.record_alarms([alarm])
    await world.stream("globex").publish(alarm)
    for key in ("alarms/1.jpg", "tracks/1.jpg"):
        await world.blobs("globex").put(key, f"picture {MARK}".encode())
    status = make_status("vault", reason=f"{MARK} reason")
    await CameraStatusBoard(world.redis).put_all("globex", [status])
    key = CameraKey("globex", "vault")
    world.hosts.pictures["atalaia-host-0", key] = f"picture {MARK}".encode()
    vector = await world.deps.embedder.embed_image(
        np.full((4, 4, 3), RED, np.uint8), WorkOwner("acme")
    )
    seen = make_sighting(1, "globex", camera="vault", track="theirs", snapshot="tracks/1.jpg")
    seen = seen.model_copy(update={"label": MARK})
    await world.memory.upsert("globex", seen, vector)
    tracks = world.database.tracks("globex")
    await tracks.record_objects([seen])
    await tracks.record_paths([make_path(1, "globex", camera="vault", track="theirs", label=MARK)])
    export = UUID(int=7)
    manifest = Manifest.model_validate(
        {
            "id": export,
            "tenant": "globex",
            "camera": MARK,
            "asked": STRETCH,
            "covered": STRETCH,
            "gaps": [],
            "file": {"sha256": "0" * 64, "size": 1, "frames": 1, "audio": False},
            "sources": [],
            "created_at": "2026-01-31T08:00:00Z",
            "created_by": "key:zzzzzzzz",
        }
    )
    jobs = world.database.jobs("globex")
    job = await jobs.add("reprocess", {"camera": "vault", "model": f"{MARK}.pt"})
    await world.blobs("globex").put(manifest_key(export), manifest.model_dump_json().encode())
    span = HeldSpan("vault", 0, alarm.capture_us)
    hold = await world.database.retention("globex").add_hold(span, f"{MARK} case", "key:zzzzzzzz")
    policy = RetentionPolicy(cameras={"vault": {RetentionKind.PATHS: 1}})
    await world.database.retention("globex").set_policy(policy, f"key:{MARK}")
    anonymisation = world.database.anonymisation("globex")
    await anonymisation.set_policy(AnonymisationPolicy(), f"key:{MARK}")
    reveal = await anonymisation.add_reveal(
        "vault", (0, 1), f"{MARK} reason", f"key:{MARK}", minutes=1, now_us=alarm.capture_us
    )
    run = RetentionRun(started_us=1, ended_us=2, complete=False, error=f"{MARK} error")
    await world.database.retention("globex").add_run(run)
    targets = [Target("vault", "theirs")]
    erasure = await world.database.erasures("globex").ask(targets, f"{MARK} request", "key:zz")
    issued = await world.database.keys("globex").issue(f"{MARK} key", Role.VIEWER)
    user = await add_user(world, "globex", Role.VIEWER, MARK)
    group = await world.database.groups("globex").add("theirs", f"{MARK} group", ["vault"])
    return Theirs(
        "vault",
        "thieves",
        alarm,
        "tracks/1.jpg",
        job.id,
        export,
        "theirs",
        hold.id,
        erasure.id,
        issued.id,
        user.id,
        group.id,
        reveal.id,
    )


@pytest.fixture
async def checked(world: World) -> httpx.AsyncClient:
    """acme's client; every answer it gets is searched for what is globex's."""

    async def nothing_leaked(response: httpx.Response) -> None:
        if "text/event-stream" not in response.headers.get("content-type", ""):
            assert MARK not in (await response.aread()).decode("latin-1")
        assert MARK not in str(response.headers)

    return await world.client("acme", event_hooks={"response": [nothing_leaked]})


def requests(theirs: Theirs) -> dict[tuple[str, str], tuple[str, dict[str, Any]]]:
    """For each route that takes an id: a request for globex's thing."""
    rule = {"kind": "zone_entry", "polygon": [[0, 0], [1, 0], [1, 1]], "id": "mine"}
    camera, alarm = f"/v1/cameras/{theirs.camera}", f"/v1/alarms/{theirs.alarm.id}"
    return {
        ("GET", "/v1/cameras/{camera}"): (camera, {}),
        ("PATCH", "/v1/cameras/{camera}"): (camera, {"json": {"name": "mine now"}}),
        ("DELETE", "/v1/cameras/{camera}"): (camera, {}),
        ("GET", "/v1/cameras/{camera}/snapshot"): (f"{camera}/snapshot", {}),
        ("POST", "/v1/cameras/{camera}/join"): (f"{camera}/join", {}),
        ("POST", "/v1/cameras/{camera}/join/unmasked"): (f"{camera}/join/unmasked", {}),
        ("POST", "/v1/cameras/{camera}/rules"): (f"{camera}/rules", {"json": rule}),
        ("GET", "/v1/cameras/{camera}/rules"): (f"{camera}/rules", {}),
        ("DELETE", "/v1/cameras/{camera}/rules/{rule}"): (f"{camera}/rules/{theirs.rule}", {}),
        ("GET", "/v1/alarms/{alarm}"): (alarm, {}),
        ("POST", "/v1/alarms/{alarm}/ack"): (f"{alarm}/ack", {}),
        ("GET", "/v1/alarms/{alarm}/clip"): (f"{alarm}/clip", {}),
        ("GET", "/v1/alarms/{alarm}/snapshot"): (f"{alarm}/snapshot", {}),
        ("GET", "/v1/jobs/{job}"): (f"/v1/jobs/{theirs.job}", {}),
        ("DELETE", "/v1/jobs/{job}"): (f"/v1/jobs/{theirs.job}", {}),
        ("GET", "/v1/recordings/exports/{export}"): (f"/v1/recordings/exports/{theirs.export}", {}),
        ("GET", "/v1/objects/{track}"): (f"/v1/objects/{theirs.track}", {}),
        ("GET", "/v1/tracks/{track}"): (f"/v1/tracks/{theirs.track}", {}),
        ("GET", "/v1/holds/{hold}"): (f"/v1/holds/{theirs.hold}", {}),
        ("DELETE", "/v1/holds/{hold}"): (f"/v1/holds/{theirs.hold}", {}),
        ("GET", "/v1/erasures/{erasure}"): (f"/v1/erasures/{theirs.erasure}", {}),
        ("DELETE", "/v1/reveals/{reveal}"): (f"/v1/reveals/{theirs.reveal}", {}),
        ("GET", "/v1/users/{user}"): (f"/v1/users/{theirs.user}", {}),
        ("PATCH", "/v1/users/{user}"): (f"/v1/users/{theirs.user}", {"json": {"name": "x"}}),
        ("DELETE", "/v1/users/{user}"): (f"/v1/users/{theirs.user}", {}),
        ("POST", "/v1/keys/{key}/rotate"): (f"/v1/keys/{theirs.key}/rotate", {"json": {}}),
        ("DELETE", "/v1/keys/{key}"): (f"/v1/keys/{theirs.key}", {}),
        ("GET", "/v1/groups/{group}"): (f"/v1/groups/{theirs.group}", {}),
        ("PATCH", "/v1/groups/{group}"): (f"/v1/groups/{theirs.group}", {"json": {"name": "x"}}),
        ("DELETE", "/v1/groups/{group}"): (f"/v1/groups/{theirs.group}", {}),
        ("GET", "/v1/snapshots/{key:path}"): (f"/v1/snapshots/{theirs.snapshot}", {}),
    }


def routes_with_ids() -> set[tuple[str, str]]:
    return {
        (method, route.path)
        for module in ROUTERS
        for route in module.router.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if "{" in route.path and route.path not in NOT_BY_TENANT
    }


async def test_every_route_with_an_id_is_tried(theirs: Theirs) -> None:
    """A new route must be added to the list above."""
    assert routes_with_ids() == set(requests(theirs))


async def test_the_owner_reaches_all_of_it(world: World, theirs: Theirs) -> None:
    """So that a 404 below means "not yours", not "wrong test"."""
    globex = await world.client("globex")
    for (method, _), (path, options) in requests(theirs).items():
        if method == "GET":
            assert (await globex.request(method, path, **options)).status_code == 200, path


async def test_nothing_of_another_tenant_is_there(
    checked: httpx.AsyncClient, world: World, theirs: Theirs
) -> None:
    for (method, _), (path, options) in requests(theirs).items():
        problem(await checked.request(method, path, **options), 404, "not-found")

    records = world.database.tenant("globex")
    assert (await records.camera("vault")).name == f"{MARK} vault"
    assert [rule.id for rule in await records.rules("vault")] == ["thieves"]
    assert (await records.alarm(theirs.alarm.id)).state == "new"
    assert world.controller.told == []
    assert (await world.database.jobs("globex").job(theirs.job)).state == "queued"
    assert (await world.database.retention("globex").hold(theirs.hold)).released_us is None
    [key] = [k for k in await world.database.keys("globex").keys() if k.id == theirs.key]
    assert (key.revoked_us, key.expires_us) == (None, None)
    assert (await world.database.users("globex").user(theirs.user)).name == MARK


async def test_a_404_tells_not_whether_another_tenant_has_it(
    checked: httpx.AsyncClient, theirs: Theirs
) -> None:
    """The same answer for a thing of globex and for one that nobody has, but for its name."""
    theirs_answer = await checked.get("/v1/cameras/vault")
    nobodys_answer = await checked.get("/v1/cameras/vaulx")

    assert theirs_answer.text.replace("vault", "vaulx") == nobodys_answer.text


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"camera": "vault"},
        {"rule": "thieves"},
        {"since": "2000-01-01T00:00:00Z"},
        {"tenant": "globex"},
        {"limit": 500},
    ],
)
async def test_lists_hold_only_ones_own(
    checked: httpx.AsyncClient, theirs: Theirs, params: dict[str, Any]
) -> None:
    lists = ("cameras", "alarms", "objects", "jobs", "holds", "users", "groups", "erasures")
    for path in (f"/v1/{name}" for name in lists):
        response = await checked.get(path, params=params)
        assert response.status_code == 200
        assert [] in response.json().values()
    privacy = ("/v1/policies/retention", "/v1/policies/anonymisation", "/v1/reveals")
    for path in ("/v1/compliance", *privacy):  # searched by `checked`
        assert (await checked.get(path, params=params)).status_code == 200
    answer = await checked.post("/v1/search", files={"image": picture(RED)}, params=params)
    assert answer.json() == {"matches": []} or answer.status_code == 422


async def test_like_an_object_of_another_tenant(
    checked: httpx.AsyncClient, world: World, theirs: Theirs
) -> None:
    """Neither by its name, nor where one has an object of the same name oneself."""
    by_name = {"like": theirs.track}
    problem(await checked.post("/v1/search", params=by_name), 404, "not-found")
    problem(await checked.post("/v1/search", json=by_name), 404, "not-found")
    mine = make_sighting(1, camera="vault", track=theirs.track)
    await world.database.tracks("acme").record_objects([mine])
    problem(await checked.post("/v1/search", params=by_name), 404, "not-found")
    await world.memory.upsert("acme", mine, np.array([1, 0, 0], np.float32))
    answer = await checked.post("/v1/search", params=by_name)
    assert answer.json() == {"matches": []}


async def test_nothing_of_another_tenant_is_erased(
    checked: httpx.AsyncClient, platform: httpx.AsyncClient, world: World, theirs: Theirs
) -> None:
    for subject in (
        {"object": theirs.track},
        {"object": theirs.track, "camera": theirs.camera},
        {"objects": [{"camera": theirs.camera, "track": theirs.track}]},
    ):
        body = {"subject": subject, "reason": "mine now"}
        problem(await checked.post("/v1/erasures", json=body), 404, "not-found")
    body = {"subject": {"tenant": True}, "reason": "mine now", "confirm": "globex"}
    problem(await checked.post("/v1/erasures", json=body), 422, "invalid-input")
    assert [r.id for r in await world.database.erasures("globex").erasures()] == [theirs.erasure]
    assert await world.database.erasures("acme").erasures() == []
    # The operator sees those of whole tenants only.
    assert (await platform.get("/v1/erasures")).json() == {"erasures": []}
    problem(await platform.get(f"/v1/erasures/{theirs.erasure}"), 404, "not-found")


async def test_analytics_count_only_ones_own(checked: httpx.AsyncClient, theirs: Theirs) -> None:
    time = {"since": "2023-11-14T00:00:00Z", "until": "2023-11-15T00:00:00Z"}
    counts = await checked.get("/v1/analytics/counts", params=time)
    assert counts.json()["counts"] == []
    for path in ("counts", "heatmap"):
        asked = time | {"camera": theirs.camera}
        problem(await checked.get(f"/v1/analytics/{path}", params=asked), 404, "not-found")


async def test_the_same_ids_are_two_things(
    checked: httpx.AsyncClient, world: World, theirs: Theirs
) -> None:
    created = await checked.post("/v1/cameras", json={"id": "vault", "url": "rtsp://acme.example/"})
    assert created.status_code == 201
    assert (await checked.get("/v1/cameras/vault")).json()["state"] == "connecting"
    assert (await checked.get("/v1/cameras/vault/rules")).json() == {"rules": []}
    problem(await checked.get("/v1/cameras/vault/snapshot"), 503)
    assert (await checked.post("/v1/cameras/vault/join")).json()["room"] == "acme.vault"
    assert (await checked.delete("/v1/cameras/vault")).status_code == 204
    assert (await world.database.tenant("globex").camera("vault")).name == f"{MARK} vault"


async def test_the_audit_log_holds_only_ones_own(
    checked: httpx.AsyncClient, world: World, theirs: Theirs
) -> None:
    """globex does all that it can, and acme's log stays as it was; so does the platform's."""
    globex = await world.client("globex")
    for (method, _), (path, options) in requests(theirs).items():
        await globex.request(method, path, **options)

    async def written() -> bool:
        return world.state.auditor.health().waiting == 0

    await eventually(written)
    assert await world.database.audit("globex").count() > 8
    assert await world.database.audit("acme").count() == 0
    assert await world.database.platform_audit().count() == 0
    platform = await world.client("platform")
    for client in (checked, platform):
        for params in ({}, {"tenant": "globex"}, {"cursor": "999"}):
            answer = await client.get("/v1/audit", params=params)
            assert answer.status_code == 200
            assert not {"vault", "thieves", "globex"} & set(answer.text.split('"'))


async def test_a_cursor_of_another_tenant_shows_nothing_of_it(
    checked: httpx.AsyncClient, world: World, theirs: Theirs
) -> None:
    await world.database.tenant("globex").record_alarms(
        [make_alarm(n, "globex", track=f"{MARK}-{n}") for n in range(10, 20)]
    )
    await world.database.tenant("acme").record_alarms([make_alarm(0)])
    globex = await world.client("globex")
    cursor = (await globex.get("/v1/alarms", params={"limit": 3})).json()["next_cursor"]

    body = (await checked.get("/v1/alarms", params={"cursor": cursor})).json()

    assert [alarm["id"] for alarm in body["alarms"]] == [str(make_alarm(0).id)]


@pytest.mark.parametrize("last", [None, "0"])
async def test_streams_are_apart(
    checked: httpx.AsyncClient, world: World, theirs: Theirs, last: str | None
) -> None:
    globex = await world.client("globex")
    async with follow(checked, last) as mine, follow(globex) as other:
        await anext(mine)
        await anext(other)
        for n in range(20, 30):
            await world.stream("globex").publish(
                make_alarm(n, "globex", track=f"{MARK}-{n}", snapshot="alarms/1.jpg")
            )
        await take(other, 10)
        # In the other tenant's ring now, and still not for acme.
        recent = make_alarm(29, "globex").id
        problem(await checked.get(f"/v1/alarms/{recent}/snapshot"), 404, "not-found")
        await world.stream("acme").publish(make_alarm(99))

        [event] = await take(mine, 1)

    assert event.alarm == str(make_alarm(99).id)


async def test_the_tenant_cannot_be_named(
    checked: httpx.AsyncClient, world: World, theirs: Theirs
) -> None:
    """By header, query or body: it comes from the key."""
    for headers in ({"X-Tenant": "globex"}, {"Tenant": "globex"}, {"X-Forwarded-User": "globex"}):
        assert (await checked.get("/v1/cameras", headers=headers)).json() == {"cameras": []}
        assert (await checked.get("/v1/session", headers=headers)).json()["tenant"] == "acme"
    for path in ("/v1/cameras", "/v1/cameras/vault/rules"):
        answer = await checked.post(
            path, json={"id": "x", "url": "rtsp://h/", "tenant": "globex", "kind": "loiter"}
        )
        assert answer.status_code in (404, 422)
    assert len(await world.database.tenant("globex").cameras()) == 1


async def test_two_keys_at_once_never_mix(world: World, theirs: Theirs) -> None:
    acme, globex = await world.client("acme"), await world.client("globex")

    async def ask(client: httpx.AsyncClient, tenant: str) -> bool:
        return bool((await client.get("/v1/session")).json()["tenant"] == tenant)

    answers = await asyncio.gather(
        *(ask(acme, "acme") for _ in range(50)), *(ask(globex, "globex") for _ in range(50))
    )
    assert all(answers)


async def test_no_credential_is_ever_answered_or_logged(
    world: World, platform: httpx.AsyncClient, logs: Any
) -> None:
    """Every route once, good and bad, with passwords in every place that takes one."""
    seen: list[str] = []

    async def remember(response: httpx.Response) -> None:
        seen.append(str(response.headers) + (await response.aread()).decode("latin-1"))

    acme = await world.client("acme", event_hooks={"response": [remember]})
    url = "rtsp://viewer:hunter2@192.0.2.1/?token=hunter2"
    await acme.post("/v1/cameras", json={"id": "gate", "url": url, "substream_url": url})
    await acme.post("/v1/cameras", json={"id": "gate", "url": url})
    await acme.post("/v1/cameras", json={"id": "yard", "url": "rtsp://viewer:hunter2@h:99999/"})
    await acme.post("/v1/cameras", json={"id": "yard", "url": {"hunter2": 1}})
    await acme.patch("/v1/cameras/gate", json={"url": url, "detect_fps": 99})
    await acme.patch("/v1/cameras/gate", json={"url": url.replace("rtsp", "gopher")})
    await CameraStatusBoard(world.redis).put_all(
        "acme",
        [
            CameraStatus(
                camera="gate",
                state=CameraState.OFFLINE,
                reason=f"cannot open {url.partition('?')[0]}",
                since_us=1,
                fps=0.0,
                width=0,
                height=0,
                codec="",
                host=None,
                watched_fps=0.0,
                skipped={},
                dropped={"boxes": 1},
                last_frame_us=0,
            )
        ],
    )
    for method, path in guarded():
        if path != "/v1/alarms/stream":
            await acme.request(method, path, files={"image": ("a.jpg", jpeg())})
            await acme.request(method, path)
    world.controller.away = True
    await acme.patch("/v1/cameras/gate", json={"url": url})
    world.hosts.snapshot = None  # type: ignore[method-assign,assignment]
    await acme.get("/v1/cameras/gate/snapshot")
    for path in ("/readyz", "/metrics", "/openapi.json"):
        await acme.get(path)

    everything = "\n".join(seen) + logs.getvalue()
    assert len(seen) > 40
    secrets = [key.split("_", 2)[2] for key in world.keys.values()]
    for secret in ("hunter2", "a-livekit-secret", *secrets):
        assert secret not in everything
