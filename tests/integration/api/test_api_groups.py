"""Camera groups over HTTP: whatever is asked by who is limited to one camera, another one is not
there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from cluster.clips.exports import manifest_key
from cluster.clips.manifest import Manifest
from cluster.core.roles import LIMITABLE, Role
from cluster.core.settings import Settings
from cluster.stores.bus import CameraStatusBoard
from cluster.stores.db import UserChanges
from pipelines.clock import ManualClock
from pipelines.domain import Alarm, CameraKey, WorkOwner
from pipelines.identity import object_snapshot_key
from pipelines.ledger import Cover, Stretch
from serve.api.app import ROUTERS
from serve.api.auth import CACHE_TTL_S
from serve.api.openapi import install_openapi
from tests.factories import (
    T0_US,
    make_alarm,
    make_camera,
    make_path,
    make_rule,
    make_sighting,
    make_status,
)
from tests.integration.api.test_api_detect import jpeg
from tests.integration.api.test_api_recordings import record, stretch
from tests.integration.api.test_api_search import RED, picture
from tests.integration.api.test_api_stream import Event, follow, take
from tests.integration.api.world import (
    World,
    add_user,
    eventually,
    logged,
    open_world,
    problem,
    sign_in,
)

HIDDEN, NOBODY = "vaulthidden", "vaultnobody"
"""A camera outside the group, and one that there never was."""
HOUR = stretch(T0_US, T0_US + 3_600_000_000)
STRETCH = {"from": "2026-01-31T08:00:00Z", "to": "2026-01-31T08:01:00Z"}


def manifest(number: int, camera: str) -> Manifest:
    return Manifest.model_validate(
        {
            "id": UUID(int=number),
            "tenant": "acme",
            "camera": camera,
            "asked": STRETCH,
            "covered": STRETCH,
            "gaps": [],
            "file": {"sha256": "0" * 64, "size": 1, "frames": 1, "audio": False},
            "sources": [],
            "created_at": "2026-01-31T08:00:00Z",
            "created_by": "key:zzzzzzzz",
        }
    )


@dataclass(frozen=True)
class Things:
    """The names of what one camera has."""

    camera: str
    alarm: UUID
    track: str
    picture: str
    job: UUID
    export: UUID


def things_of(camera: str, job: UUID, number: int) -> Things:
    track = f"{camera}-track"
    key = object_snapshot_key(camera, track)
    return Things(camera, alarm_of(camera).id, track, key, job, UUID(int=number))


def alarm_of(camera: str, number: int = 0) -> Alarm:
    alarm = make_alarm(number, camera=camera, track=f"{camera}-track")
    return alarm.model_copy(update={"snapshot": f"alarms/{alarm.id}.jpg"})


async def fill(world: World, camera: str, number: int) -> Things:
    """A camera with everything that one can have, but for recordings."""
    records, blobs = world.database.tenant("acme"), world.blobs("acme")
    await records.add_camera(make_camera(id=camera, name=f"{camera} name"))
    await records.add_rule(camera, make_rule("yard", name=f"{camera} rule"))
    alarm = alarm_of(camera)
    await records.record_alarms([alarm])
    seen = make_sighting(0, camera=camera, track=f"{camera}-track")
    seen = seen.model_copy(update={"snapshot": object_snapshot_key(camera, seen.track)})
    for key in (alarm.snapshot, seen.snapshot):
        await blobs.put(str(key), f"picture {camera}".encode())
    pixels = np.full((4, 4, 3), RED, np.uint8)
    vector = await world.deps.embedder.embed_image(pixels, WorkOwner("acme"))
    await world.memory.upsert("acme", seen, vector)
    tracks = world.database.tracks("acme")
    await tracks.record_objects([seen])
    await tracks.record_paths([make_path(0, camera=camera, track=seen.track)])
    away = Stretch(T0_US, T0_US + 60_000_000, Cover.CAMERA)
    await world.database.coverage("acme").add({camera: [away]})
    kept = manifest(number, camera).model_dump_json().encode()
    await blobs.put(manifest_key(UUID(int=number)), kept)
    world.hosts.pictures["atalaia-host-0", CameraKey("acme", camera)] = b"picture"
    job = await world.database.jobs("acme").add("reprocess", {"camera": camera})
    return things_of(camera, job.id, number)


@dataclass
class Site:
    """acme, with a camera in the group `door` and one outside it, and a key limited to it."""

    world: World
    seen: Things
    hidden: Things
    nobody: Things
    key: str

    async def plain(self) -> httpx.AsyncClient:
        """With the limited key, for questions in which the hidden camera is named."""
        client = await self.world.client(None)
        client.headers["Authorization"] = f"Bearer {self.key}"
        return client

    async def client(self, key: str | None = None) -> httpx.AsyncClient:
        """With the limited key; every answer is searched for the hidden camera, unless its name
        stands in the address."""

        async def nothing_hidden(response: httpx.Response) -> None:
            if "text/event-stream" in response.headers.get("content-type", ""):
                return
            text = (await response.aread()).decode("latin-1") + str(response.headers)
            asked = str(response.request.url)
            assert HIDDEN not in text or HIDDEN in asked

        client = await self.world.client(None, event_hooks={"response": [nothing_hidden]})
        client.headers["Authorization"] = f"Bearer {key or self.key}"
        return client


async def make_site(world: World) -> Site:
    seen = await fill(world, "gate", 1)
    hidden = await fill(world, HIDDEN, 2)
    statuses = [make_status(camera) for camera in ("gate", HIDDEN)]
    await CameraStatusBoard(world.redis).put_all("acme", statuses)
    await world.database.groups("acme").add("door", "Door", ["gate"])
    key = await world.database.keys("acme").issue("limited", Role.ANALYST, None, ["door"])
    return Site(world, seen, hidden, things_of(NOBODY, UUID(int=99), 3), key.secret)


@pytest.fixture
async def site(world: World) -> Site:
    return await make_site(world)


@pytest.fixture
async def recorded(site: Site, tmp_path: Path) -> None:
    for camera in ("gate", HIDDEN):
        await record(site.world, tmp_path / camera, T0_US, camera=camera, frames=60)


@pytest.fixture
async def limited(site: Site) -> httpx.AsyncClient:
    return await site.client()


Request = tuple[str, dict[str, Any]]
Route = tuple[str, str]


def of(things: Things) -> dict[Route, Request]:
    """For each route that takes a camera, or a thing of one: a request for it."""
    camera, alarm = f"/v1/cameras/{things.camera}", f"/v1/alarms/{things.alarm}"
    time = {"since": "2023-11-14T00:00:00Z", "until": "2023-11-15T00:00:00Z"}
    only = {"camera": things.camera}
    return {
        ("GET", "/v1/cameras/{camera}"): (camera, {}),
        ("GET", "/v1/cameras/{camera}/snapshot"): (f"{camera}/snapshot", {}),
        ("POST", "/v1/cameras/{camera}/join"): (f"{camera}/join", {}),
        ("GET", "/v1/cameras/{camera}/rules"): (f"{camera}/rules", {}),
        ("GET", "/v1/alarms/{alarm}"): (alarm, {}),
        ("POST", "/v1/alarms/{alarm}/ack"): (f"{alarm}/ack", {}),
        ("GET", "/v1/alarms/{alarm}/snapshot"): (f"{alarm}/snapshot", {}),
        ("GET", "/v1/alarms/{alarm}/clip"): (f"{alarm}/clip", {}),
        ("GET", "/v1/recordings/export"): ("/v1/recordings/export", {"params": HOUR | only}),
        ("GET", "/v1/recordings/exports/{export}"): (f"/v1/recordings/exports/{things.export}", {}),
        ("GET", "/v1/objects/{track}"): (f"/v1/objects/{things.track}", {}),
        ("GET", "/v1/tracks/{track}"): (f"/v1/tracks/{things.track}", {}),
        ("GET", "/v1/snapshots/{key}"): (f"/v1/snapshots/{things.picture}", {}),
        ("GET", "/v1/analytics/heatmap"): ("/v1/analytics/heatmap", {"params": time | only}),
        ("GET", "/v1/analytics/counts"): ("/v1/analytics/counts", {"params": time | only}),
        ("GET", "/v1/coverage"): ("/v1/coverage", {"params": time | only}),
        ("POST", "/v1/search"): ("/v1/search", {"params": {"like": things.track}}),
        ("GET", "/v1/jobs/{job}"): (f"/v1/jobs/{things.job}", {}),
        ("DELETE", "/v1/jobs/{job}"): (f"/v1/jobs/{things.job}", {}),
        ("POST", "/v1/jobs"): ("/v1/jobs", {"json": {"kind": "reprocess", **only}}),
    }


LISTS: dict[Route, Request] = {
    ("GET", "/v1/cameras"): ("/v1/cameras", {}),
    ("GET", "/v1/alarms"): ("/v1/alarms", {"params": {"limit": 500}}),
    ("GET", "/v1/objects"): ("/v1/objects", {}),
    ("GET", "/v1/recordings"): ("/v1/recordings", {}),
    ("GET", "/v1/jobs"): ("/v1/jobs", {}),
    ("GET", "/v1/analytics/counts"): (
        "/v1/analytics/counts",
        {"params": {"since": "2023-11-14T00:00:00Z", "until": "2023-11-15T00:00:00Z"}},
    ),
    ("GET", "/v1/coverage"): (
        "/v1/coverage",
        {"params": {"since": "2023-11-14T00:00:00Z", "until": "2023-11-15T00:00:00Z"}},
    ),
    ("POST", "/v1/search"): ("/v1/search", {"files": {"image": picture(RED)}}),
}
"""What lists things of several cameras: the one that is seen, and no other."""

BY_ITSELF: dict[Route, str] = {
    ("GET", "/v1/alarms/stream"): "test_a_stream_has_only_alarms_of_the_group, and those behind it",
    ("GET", "/v1/session"): "test_a_session_says_what_it_is_limited_to",
    ("GET", "/v1/quotas"): "test_quotas_count_what_is_seen",
    ("POST", "/v1/auth/password"): "is about the caller's own account",
    ("POST", "/v1/detect"): "takes a picture of the caller, and knows no camera",
}
"""Routes that are tried in a test of their own, or why they need not be."""


def operations() -> dict[Route, str | None]:
    """Every operation of the OpenAPI document, and the permission that it needs."""
    app = FastAPI()
    for module in ROUTERS:
        app.include_router(module.router)
    install_openapi(app, [route for module in ROUTERS for route in module.router.routes])
    return {
        (method.upper(), path): operation.get("x-permission")
        for path, item in app.openapi()["paths"].items()
        for method, operation in item.items()
    }


def test_every_route_is_tried() -> None:
    """A new route must be added above, unless only who has all cameras may use it."""
    open_to_limited = {
        route for route, permission in operations().items() if permission in set(LIMITABLE)
    }
    nothing = things_of(NOBODY, UUID(int=1), 1)
    assert open_to_limited == of(nothing).keys() | LISTS.keys() | BY_ITSELF.keys()


@pytest.mark.usefixtures("recorded")
async def test_what_is_seen_is_there(site: Site, limited: httpx.AsyncClient) -> None:
    """So that a 404 below means "not yours", not "wrong test"."""
    for (method, _), (path, options) in of(site.seen).items():
        response = await limited.request(method, path, **options)
        assert response.status_code < 300, (path, response.text)


@pytest.mark.usefixtures("recorded")
async def test_another_camera_is_like_one_that_does_not_exist(site: Site) -> None:
    limited, nobodys = await site.plain(), of(site.nobody)
    for route, (path, options) in of(site.hidden).items():
        missing_path, missing_options = nobodys[route]
        hidden = await limited.request(route[0], path, **options)
        missing = await limited.request(route[0], missing_path, **missing_options)
        problem(hidden, 404, "not-found")
        told = hidden.text
        for name in ("camera", "alarm", "track", "picture", "job", "export"):
            told = told.replace(str(getattr(site.hidden, name)), str(getattr(site.nobody, name)))
        assert told == missing.text, route
        assert missing.status_code == 404

    records = site.world.database.tenant("acme")
    assert (await records.alarm(site.hidden.alarm)).state == "new"
    assert (await site.world.database.jobs("acme").job(site.hidden.job)).state == "queued"
    assert site.world.controller.told == []


@pytest.mark.usefixtures("recorded")
async def test_who_is_not_limited_finds_it(site: Site) -> None:
    analyst = await site.world.client("acme analyst")
    for (method, _), (path, options) in of(site.hidden).items():
        response = await analyst.request(method, path, **options)
        assert response.status_code < 300, (path, response.text)


@pytest.mark.usefixtures("recorded")
async def test_lists_hold_only_what_is_seen(site: Site, limited: httpx.AsyncClient) -> None:
    analyst = await site.world.client("acme analyst")
    for (method, _), (path, options) in LISTS.items():
        assert HIDDEN in (await analyst.request(method, path, **options)).text, path
        response = await limited.request(method, path, **options)
        assert response.status_code == 200
        assert "gate" in response.text, path
        assert HIDDEN not in response.text, path


@pytest.mark.parametrize("path", ["/v1/alarms", "/v1/objects", "/v1/recordings"])
async def test_a_filter_by_another_camera_finds_nothing(
    site: Site, limited: httpx.AsyncClient, path: str
) -> None:
    answers = [await limited.get(path, params={"camera": c}) for c in (HIDDEN, NOBODY)]
    assert answers[0].status_code == 200
    assert answers[0].text == answers[1].text
    assert [] in answers[0].json().values()


async def test_a_search_is_narrowed_before_the_best_are_taken(
    site: Site, limited: httpx.AsyncClient
) -> None:
    files = {"image": picture(RED)}
    one = await limited.post("/v1/search", files=files, params={"limit": 1})
    assert [match["camera"] for match in one.json()["matches"]] == ["gate"]
    other = await limited.post("/v1/search", files=files, params={"camera": HIDDEN})
    assert other.json() == {"matches": []}
    by_name = {"like": site.hidden.track}
    problem(await (await site.plain()).post("/v1/search", json=by_name), 404, "not-found")
    for camera in (HIDDEN, NOBODY):
        params = {"like": site.seen.track, "like_camera": camera}
        problem(await limited.post("/v1/search", params=params), 404, "not-found")
    like = await limited.post("/v1/search", params={"like": site.seen.track})
    assert like.json() == {"matches": []}


async def test_two_cameras_with_one_track_are_no_secret_of_the_other(
    site: Site, limited: httpx.AsyncClient
) -> None:
    """409 would tell that the other camera saw something at this moment."""
    twin = make_sighting(0, camera=HIDDEN, track=site.seen.track)
    await site.world.database.tracks("acme").record_objects([twin])
    analyst = await site.world.client("acme analyst")
    problem(await analyst.get(f"/v1/objects/{site.seen.track}"), 409)
    assert (await limited.get(f"/v1/objects/{site.seen.track}")).json()["camera"] == "gate"


@pytest.mark.parametrize(
    "key",
    [
        "alarms/x.jpg",
        "clips/1.jpg",
        f"objects/gate/../{HIDDEN}/{'0' * 32}.jpg",
        f"objects/gate/{'0' * 32}/x.jpg",
        "recordings/gate/1.jpg",
    ],
)
async def test_a_picture_of_no_known_camera_is_not_there(
    site: Site, limited: httpx.AsyncClient, key: str
) -> None:
    if ".." not in key:
        await site.world.blobs("acme").put(key, b"picture")
    assert (await limited.get(f"/v1/snapshots/{key}")).status_code in (404, 422)


async def test_the_picture_of_an_alarm_is_that_of_its_camera(
    site: Site, limited: httpx.AsyncClient
) -> None:
    seen = await limited.get(f"/v1/snapshots/alarms/{site.seen.alarm}.jpg")
    assert seen.content == b"picture gate"
    hidden = await limited.get(f"/v1/snapshots/alarms/{site.hidden.alarm}.jpg")
    missing = await limited.get(f"/v1/snapshots/alarms/{site.nobody.alarm}.jpg")
    problem(hidden, 404, "not-found")
    assert hidden.text == missing.text


async def test_what_only_those_with_all_cameras_may_do_is_refused(
    site: Site, limited: httpx.AsyncClient
) -> None:
    refused = {
        route
        for route, permission in operations().items()
        if permission is not None and permission not in set(LIMITABLE)
    }
    assert len(refused) >= 25
    for method, path in refused:
        for place in ("{camera}", "{rule}", "{tenant}"):
            path = path.replace(place, "gate")
        for place in ("{hold}", "{user}", "{key}", "{group}"):
            path = path.replace(place, "zzzzzzzz")
        problem(await limited.request(method, path), 403, "forbidden")


async def test_a_session_says_what_it_is_limited_to(site: Site, limited: httpx.AsyncClient) -> None:
    assert (await limited.get("/v1/session")).json()["groups"] == ["door"]
    admin = await site.world.client("acme")
    assert (await admin.get("/v1/session")).json()["groups"] is None


async def test_quotas_count_what_is_seen(site: Site, limited: httpx.AsyncClient) -> None:
    quotas = {q["name"]: q["used"] for q in (await limited.get("/v1/quotas")).json()["quotas"]}
    assert (quotas["cameras"], quotas["rules"], quotas["jobs"]) == (1, 1, 1)


async def test_the_jobs_of_all_count_for_the_bound(site: Site, limited: httpx.AsyncClient) -> None:
    """Two analysts of different groups do not run twice as many."""
    await site.world.database.platform().set_quotas("acme", {"jobs": 2})
    site.world.state.quotas.of_tenants.forget("acme")
    body = {"kind": "reprocess", "camera": "gate"}
    problem(await limited.post("/v1/jobs", json=body), 409)


async def test_detect_needs_no_camera(limited: httpx.AsyncClient) -> None:
    answer = await limited.post("/v1/detect", files={"image": ("a.jpg", jpeg())})
    assert answer.status_code == 200


# ------------------------------------------------------------ the stream


async def test_a_stream_has_only_alarms_of_the_group(
    site: Site, limited: httpx.AsyncClient
) -> None:
    stream = site.world.stream("acme")
    await stream.publish(alarm_of("gate", 1))
    await stream.publish(alarm_of(HIDDEN, 2))
    async with follow(limited, "0") as replayed, follow(limited) as live:
        await anext(live)
        [event] = await take(replayed, 1)
        assert event.alarm == str(alarm_of("gate", 1).id)
        await stream.publish(alarm_of(HIDDEN, 3))
        # Still in the ring alone, and not there for who does not see its camera.
        recent = f"/v1/alarms/{alarm_of(HIDDEN, 3).id}/snapshot"
        problem(await limited.get(recent), 404, "not-found")
        await stream.publish(alarm_of("gate", 4))
        for events in (replayed, live):
            [event] = await take(events, 1)
            assert event.alarm == str(alarm_of("gate", 4).id)
            assert HIDDEN not in event.data
    # Where it resumes from has nothing that was hidden either.
    async with follow(limited, event.id) as events:
        await stream.publish(alarm_of(HIDDEN, 5))
        await stream.publish(alarm_of("gate", 6))
        assert [e.alarm for e in await take(events, 1)] == [str(alarm_of("gate", 6).id)]


@pytest.fixture
async def timed(settings: Settings, migrated: Path) -> AsyncIterator[tuple[Site, ManualClock]]:
    clock = ManualClock()
    async with open_world(settings, migrated, clock) as world:
        yield await make_site(world), clock


async def test_a_change_of_a_group_counts_in_an_open_stream(
    timed: tuple[Site, ManualClock],
) -> None:
    site, clock = timed
    groups, stream = site.world.database.groups("acme"), site.world.stream("acme")
    limited = await site.client()
    async with follow(limited) as events:
        await anext(events)
        await stream.publish(alarm_of("gate", 1))
        assert [e.alarm for e in await take(events, 1)] == [str(alarm_of("gate", 1).id)]
        await groups.change("door", cameras=[HIDDEN])
        clock.advance(3)
        await stream.publish(alarm_of("gate", 2))
        await stream.publish(alarm_of(HIDDEN, 3))
        assert [e.alarm for e in await take(events, 1)] == [str(alarm_of(HIDDEN, 3).id)]
    listed = (await (await site.plain()).get("/v1/alarms")).json()["alarms"]
    assert {alarm["camera"] for alarm in listed} == {HIDDEN}


async def test_another_group_of_a_user_counts_in_an_open_stream(
    timed: tuple[Site, ManualClock],
) -> None:
    site, clock = timed
    world = site.world
    await world.database.groups("acme").add("other", "Other", [HIDDEN])
    user = await add_user(world, "acme", Role.VIEWER)
    admin, anonymous = await world.client("acme"), await world.client(None)
    changed = await admin.patch(f"/v1/users/{user.id}", json={"groups": ["door"]})
    assert changed.json()["groups"] == ["door"]
    token = (await sign_in(anonymous, user)).json()["access_token"]
    client = await site.client(token)
    stream = world.stream("acme")
    async with follow(client) as events:
        await anext(events)
        await stream.publish(alarm_of("gate", 1))
        assert [e.alarm for e in await take(events, 1)] == [str(alarm_of("gate", 1).id)]
        await admin.patch(f"/v1/users/{user.id}", json={"groups": ["other"]})
        clock.advance(CACHE_TTL_S + 1)
        await stream.publish(alarm_of("gate", 2))
        await stream.publish(alarm_of(HIDDEN, 3))
        assert [e.alarm for e in await take(events, 1)] == [str(alarm_of(HIDDEN, 3).id)]
        await admin.patch(f"/v1/users/{user.id}", json={"groups": None})
        clock.advance(CACHE_TTL_S + 1)
        await stream.publish(alarm_of("gate", 4))
        await stream.publish(alarm_of(HIDDEN, 5))
        both: list[Event] = await take(events, 2)
    assert [json.loads(e.data)["camera"] for e in both] == ["gate", HIDDEN]


async def test_a_group_without_cameras_shows_nothing(site: Site) -> None:
    await site.world.database.groups("acme").change("door", cameras=[])
    client = await site.client()
    assert (await client.get("/v1/cameras")).json() == {"cameras": []}
    search = await client.post("/v1/search", files={"image": picture(RED)})
    assert search.json() == {"matches": []}


# ------------------------------------------------------------ who manages


async def test_an_admin_makes_a_group_and_limits_with_it(world: World) -> None:
    admin = await world.client("acme")
    for camera in ("gate", "yard"):
        await world.database.tenant("acme").add_camera(make_camera(id=camera))
    made = await admin.post("/v1/groups", json={"name": "Portões", "cameras": ["gate"]})
    assert made.status_code == 201, made.text
    assert made.headers["location"] == "/v1/groups/portoes"
    assert (made.json()["id"], made.json()["cameras"]) == ("portoes", ["gate"])

    key = {"name": "wall", "role": "viewer", "groups": ["portoes"]}
    issued = (await admin.post("/v1/keys", json=key)).json()
    assert issued["groups"] == ["portoes"]
    viewer = await world.client(None)
    viewer.headers["Authorization"] = f"Bearer {issued['key']}"
    assert [c["id"] for c in (await viewer.get("/v1/cameras")).json()["cameras"]] == ["gate"]
    rotated = (await admin.post(f"/v1/keys/{issued['id']}/rotate", json={})).json()
    assert rotated["groups"] == ["portoes"]

    await admin.patch("/v1/groups/portoes", json={"cameras": ["yard"]})
    assert [c["id"] for c in (await viewer.get("/v1/cameras")).json()["cameras"]] == ["yard"]
    problem(await admin.delete("/v1/groups/portoes"), 409, "conflict")
    [listed] = (await admin.get("/v1/groups")).json()["groups"]
    assert (listed["users"], listed["keys"]) == (0, 2)
    for id in (issued["id"], rotated["id"]):
        await admin.delete(f"/v1/keys/{id}")
    assert (await admin.delete("/v1/groups/portoes")).status_code == 204
    problem(await admin.get("/v1/groups/portoes"), 404, "not-found")
    changes = [e.action for e in await logged(world, "acme") if e.action.startswith("group.")]
    assert changes == ["group.remove", "group.remove", "group.change", "group.add"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/keys", {"name": "x", "role": "admin", "groups": ["door"]}, 422),
        ("/v1/keys", {"name": "x", "role": "viewer", "groups": []}, 422),
        ("/v1/keys", {"name": "x", "role": "viewer", "groups": ["gone"]}, 404),
        ("/v1/keys", {"name": "x", "role": "viewer", "groups": ["g"] * 21}, 422),
        ("/v1/groups", {"name": "x", "cameras": ["nobody"]}, 404),
        ("/v1/groups", {"name": "x", "cameras": ["c"] * 2001}, 422),
        ("/v1/groups", {"name": "Door"}, 409),
        ("/v1/groups", {"name": "x", "id": "door"}, 409),
        ("/v1/groups", {"name": ""}, 422),
        ("/v1/groups", {"name": "x", "tenant": "globex"}, 422),
    ],
)
async def test_what_is_refused(world: World, path: str, body: dict[str, Any], status: int) -> None:
    await world.database.groups("acme").add("door", "Door", [])
    admin = await world.client("acme")
    problem(await admin.post(path, json=body), status)
    assert len(await world.database.groups("acme").groups()) == 1


async def test_an_admin_cannot_become_limited_nor_a_limited_one_admin(world: World) -> None:
    await world.database.groups("acme").add("door", "Door", [])
    admin = await world.client("acme")
    boss = await add_user(world, "acme", Role.ADMIN)
    guard = await add_user(world, "acme", Role.VIEWER)
    problem(await admin.patch(f"/v1/users/{boss.id}", json={"groups": ["door"]}), 422)
    assert (await admin.patch(f"/v1/users/{guard.id}", json={"groups": ["door"]})).is_success
    problem(await admin.patch(f"/v1/users/{guard.id}", json={"role": "admin"}), 422)
    freed = await admin.patch(f"/v1/users/{guard.id}", json={"role": "admin", "groups": None})
    assert (freed.json()["role"], freed.json()["groups"]) == ("admin", None)


async def test_groups_of_another_tenant_are_not_there(world: World) -> None:
    await world.database.groups("globex").add("theirs", "Theirs", [])
    admin = await world.client("acme")
    assert (await admin.get("/v1/groups")).json() == {"groups": []}
    theirs = "/v1/groups/theirs"
    problem(await admin.get(theirs), 404, "not-found")
    problem(await admin.patch(theirs, json={"name": "mine"}), 404, "not-found")
    problem(await admin.delete(theirs), 404, "not-found")
    key = {"name": "x", "role": "viewer", "groups": ["theirs"]}
    problem(await admin.post("/v1/keys", json=key), 404, "not-found")


async def test_removing_a_group_and_limiting_to_it_at_once(world: World) -> None:
    """Whoever is first: nobody ends up with a group that is gone."""
    admin = await world.client("acme")
    for number in range(8):
        group = f"g-{number}"
        await world.database.groups("acme").add(group, group, [])
        key = {"name": group, "role": "viewer", "groups": [group]}
        issued, removed = await asyncio.gather(
            admin.post("/v1/keys", json=key), admin.delete(f"/v1/groups/{group}")
        )
        assert (issued.status_code, removed.status_code) in {(201, 409), (404, 204)}


@pytest.mark.usefixtures("recorded")
async def test_links_are_made_of_what_is_seen_and_end_with_that(
    site: Site, limited: httpx.AsyncClient
) -> None:
    """A link names one file; those that a limited key gets are of its cameras."""
    listed = (await limited.get("/v1/recordings")).json()["segments"]
    assert {segment["camera"] for segment in listed} == {"gate"}

    async def clip() -> dict[str, Any]:
        answer = await limited.get(f"/v1/alarms/{site.seen.alarm}/clip")
        found: dict[str, Any] = answer.json()
        return found

    async def settled() -> bool:
        return bool((await clip())["state"] != "pending")

    await eventually(settled)
    made = await clip()
    assert made["state"] == "ready", made
    links = [listed[0]["url"], made["url"], made["boxes"]["json"], made["boxes"]["vtt"]]
    admin = await site.world.client("acme")
    free = (await admin.get("/v1/recordings")).json()["segments"][0]["url"]
    anonymous = await site.world.client(None)
    for link in (*links, free):
        assert (await anonymous.get(link)).status_code == 200

    await site.world.database.groups("acme").change("door", cameras=[])
    for link in links:
        problem(await anonymous.get(link), 403, "forbidden")
        assert (await anonymous.head(link)).status_code == 403
    assert (await anonymous.get(free)).status_code == 200


@pytest.mark.usefixtures("recorded")
async def test_a_link_of_a_user_who_is_gone_ends(site: Site) -> None:
    world = site.world
    users = world.database.users("acme")
    anonymous = await world.client(None)
    links = []
    for name in ("stays", "goes"):
        user = await add_user(world, "acme", Role.ANALYST, name)
        await users.change(user.id, UserChanges(groups=("door",)))
        token = (await sign_in(anonymous, user)).json()["access_token"]
        client = await site.client(token)
        links.append((await client.get("/v1/recordings")).json()["segments"][0]["url"])
    await users.remove(user.id)
    assert (await anonymous.get(links[0])).status_code == 200
    problem(await anonymous.get(links[1]), 403, "forbidden")
