"""Rates of tenants and keys, over the real API and a real Valkey, with a clock that tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from cluster.core.roles import Role
from cluster.core.settings import QuotaSettings, Settings
from cluster.stores.db import StorageUse
from pipelines.clock import ManualClock
from serve.api.quotas.limits import KNOWN_FOR_S, Quota
from tests.factories import make_camera
from tests.integration.api.test_api_detect import jpeg
from tests.integration.api.test_api_stream import follow
from tests.integration.api.world import Frail, World, eventually, open_world, problem

MINUTE = 63.0
"""Seconds after which every unit is back: a window and a slice."""


def limited(
    settings: Settings, migrated: Path, clock: ManualClock | None = None, **quotas: object
) -> AbstractAsyncContextManager[World]:
    """An API with these quotas, and one key per tenant that may use all of a rate."""
    section = QuotaSettings.model_validate({"key_share": 1.0} | quotas)
    return open_world(settings.model_copy(update={"quotas": section}), migrated, clock)


async def statuses(client: httpx.AsyncClient, count: int, path: str = "/v1/session") -> list[int]:
    return [(await client.get(path)).status_code for _ in range(count)]


async def test_the_rate_of_requests(settings: Settings, migrated: Path) -> None:
    clock = ManualClock()
    async with limited(settings, migrated, clock, requests_per_minute=3) as world:
        acme = await world.client("acme")
        assert await statuses(acme, 3) == [200] * 3
        refused = await acme.get("/v1/cameras")
        body = problem(refused, 429, "quota-exceeded")
        assert body["quota"] == "requests"
        assert body["hint"]
        assert refused.headers["retry-after"] == "63"
        clock.advance(MINUTE)
        assert await statuses(acme, 4) == [200] * 3 + [429]


async def test_every_answer_says_what_is_left(settings: Settings, migrated: Path) -> None:
    async with limited(
        settings, migrated, ManualClock(), requests_per_minute=10, key_share=0.5
    ) as world:
        acme = await world.client("acme")
        await acme.get("/v1/session")
        for answer in (await acme.get("/v1/cameras"), await acme.get("/v1/cameras/nothing")):
            assert (
                answer.headers["ratelimit-policy"]
                == '"requests";q=10;w=60, "requests-per-key";q=5;w=60'
            )
        # The clock starts two seconds into a slice, which goes 63 s after its begin.
        assert answer.headers["ratelimit"] == '"requests";r=7;t=61, "requests-per-key";r=2;t=61'
        anonymous = await world.client(None)
        for path in ("/healthz", "/v1/session"):
            assert "ratelimit" not in (await anonymous.get(path)).headers


async def test_a_key_uses_its_part_and_leaves_the_rest(settings: Settings, migrated: Path) -> None:
    async with limited(settings, migrated, requests_per_minute=8, key_share=0.5) as world:
        first = await world.client("acme")
        issued = await world.database.platform().create_key("acme", "other")
        second = await world.client(None)
        second.headers["Authorization"] = f"Bearer {issued.secret}"
        assert await statuses(first, 5) == [200] * 4 + [429]
        body = problem(await first.get("/v1/session"), 429, "quota-exceeded")
        assert body["quota"] == "requests-per-key"
        # What was refused cost the tenant nothing.
        assert await statuses(second, 5) == [200] * 4 + [429]


async def test_a_flood_of_one_tenant_is_nobody_elses(settings: Settings, migrated: Path) -> None:
    async with limited(settings, migrated, requests_per_minute=20) as world:
        acme, globex = await world.client("acme"), await world.client("globex")
        platform = await world.client("platform")
        flood = asyncio.gather(*(acme.get("/v1/session") for _ in range(60)))
        others = [await statuses(client, 10) for client in (globex, platform)]
        answers = [answer.status_code for answer in await flood]
        assert answers.count(200) == 20
        assert answers.count(429) == 40
        assert others == [[200] * 10] * 2


async def test_pictures_have_rates_of_their_own(settings: Settings, migrated: Path) -> None:
    async with limited(settings, migrated, detect_per_minute=2, search_per_minute=1) as world:
        acme = await world.client("acme")
        files = {"image": ("a.jpg", jpeg())}
        for path, fit in (("/v1/detect", 2), ("/v1/search", 1)):
            for _ in range(fit):
                assert (await acme.post(path, files=files)).status_code == 200
            refused = await acme.post(path, files=files)
            body = problem(refused, 429, "quota-exceeded")
            assert body["quota"] == path.removeprefix("/v1/")
            assert '"upload-bytes";q=' in refused.headers["ratelimit-policy"]
            assert ';qu="content-bytes"' in refused.headers["ratelimit-policy"]
        assert (await acme.get("/v1/cameras")).status_code == 200


async def test_bytes_are_counted_before_they_are_read(settings: Settings, migrated: Path) -> None:
    """One body of a megabyte fits into a rate of one, a second one does not; its length is enough
    to refuse it."""
    async with limited(settings, migrated, upload_mb_per_minute=1) as world:
        acme = await world.client("acme")
        files = {"image": ("a.jpg", bytes(600 * 1024))}
        problem(await acme.post("/v1/detect", files=files), 415)
        body = problem(await acme.post("/v1/search", files=files), 429, "quota-exceeded")
        assert body["quota"] == "upload-bytes"
        assert (await acme.post("/v1/search", json={"like": "x"})).status_code == 404


async def test_a_body_of_unknown_length_costs_the_most(settings: Settings, migrated: Path) -> None:
    async with limited(settings, migrated, upload_mb_per_minute=1) as world:
        acme = await world.client("acme")

        async def pieces() -> AsyncIterator[bytes]:
            yield b"{}"

        refused = await acme.post(
            "/v1/search", content=pieces(), headers={"Content-Type": "application/json"}
        )
        body = problem(refused, 429, "quota-exceeded")
        assert "more than that" in str(body["hint"])


async def test_requests_at_once(settings: Settings, migrated: Path) -> None:
    async with limited(settings, migrated, concurrent_requests=1) as world:
        acme, globex = await world.client("acme"), await world.client("globex")
        async with follow(acme) as stream:
            await anext(stream)
            body = problem(await acme.get("/v1/session"), 429, "quota-exceeded")
            assert body["quota"] == "concurrent-requests"
            assert (await globex.get("/v1/session")).status_code == 200

        async def free() -> bool:
            return (await acme.get("/v1/session")).status_code == 200

        await eventually(free)


async def test_one_key_leaves_requests_at_once_for_the_others(
    settings: Settings, migrated: Path
) -> None:
    """Else who holds a weak key could keep an admin from revoking it."""
    async with limited(settings, migrated, concurrent_requests=4, key_share=0.5) as world:
        issued = await world.database.keys("acme").issue("weak", Role.VIEWER)
        weak = await world.client(None)
        weak.headers["Authorization"] = f"Bearer {issued.secret}"
        acme = await world.client("acme")
        async with follow(weak) as one, follow(weak) as two:
            await anext(one)
            await anext(two)
            body = problem(await weak.get("/v1/session"), 429, "quota-exceeded")
            assert body["quota"] == "concurrent-requests"
            assert "Your key already has 2" in str(body["detail"])
            assert (await acme.delete(f"/v1/keys/{issued.id}")).status_code == 204


async def test_who_may_not_detect_does_not_use_it_up(settings: Settings, migrated: Path) -> None:
    async with limited(settings, migrated, detect_per_minute=2, key_share=1.0) as world:
        issued = await world.database.keys("acme").issue("weak", Role.VIEWER)
        weak, acme = await world.client(None), await world.client("acme")
        weak.headers["Authorization"] = f"Bearer {issued.secret}"
        for _ in range(3):
            problem(await weak.post("/v1/detect", files={"image": ("a.jpg", jpeg())}), 403)
        answer = await acme.post("/v1/detect", files={"image": ("a.jpg", jpeg())})
        assert answer.status_code == 200


async def test_a_line_break_behind_an_address_is_no_way_round(acme: httpx.AsyncClient) -> None:
    problem(await acme.post("/v1/detect%0A", files={"image": ("a.jpg", jpeg())}), 404)
    problem(await acme.post("/v1/search%0A", json={"text": "a red car"}), 404)


async def test_without_redis_the_replica_counts_alone(frail: Frail, migrated: Path) -> None:
    quotas = QuotaSettings(requests_per_minute=3, key_share=1.0)
    frail.redis.kill()

    @asynccontextmanager
    async def restarted() -> AsyncIterator[World]:
        frail.redis.start()
        folder = frail.world.deps.settings.data_dir.with_name("other")
        settings = frail.world.deps.settings.model_copy(
            update={"quotas": quotas, "data_dir": folder}
        )
        async with open_world(settings, migrated, ManualClock()) as world:
            frail.redis.kill()
            yield world

    async with restarted() as world:
        acme = await world.client("acme")
        assert await statuses(acme, 5) == [200] * 3 + [429] * 2
        answer = await acme.get("/metrics")
        assert "atalaia_rate_fallbacks_total 1.0" in answer.text
        assert 'atalaia_quota_refusals_total{quota="requests"} 2.0' in answer.text


@pytest.mark.parametrize("field", ["requests_per_minute", "key_share", "cameras", "storage_mb"])
def test_no_quota_is_without_a_bound(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        QuotaSettings.model_validate({field: 0})


# ------------------------------------------------------------ what there may be


def camera(number: int) -> dict[str, object]:
    return {"id": f"camera-{number}", "url": f"rtsp://192.0.2.{number}/"}


ZONE = {"kind": "zone_entry", "polygon": [[0, 0], [1, 0], [1, 1]]}


async def test_cameras_are_counted_per_tenant(settings: Settings, migrated: Path) -> None:
    async with limited(settings, migrated, cameras=2) as world:
        acme, globex = await world.client("acme"), await world.client("globex")
        for number in (1, 2):
            assert (await acme.post("/v1/cameras", json=camera(number))).status_code == 201
        refused = await acme.post("/v1/cameras", json=camera(3))
        body = problem(refused, 409, "quota-exceeded")
        assert body["quota"] == "cameras"
        # What exists is another trouble than what does not fit.
        assert "quota" not in problem(
            await acme.post("/v1/cameras", json=camera(2)), 409, "conflict"
        )
        assert (await globex.post("/v1/cameras", json=camera(3))).status_code == 201
        assert (await acme.delete("/v1/cameras/camera-1")).status_code == 204
        assert (await acme.post("/v1/cameras", json=camera(3))).status_code == 201


async def test_of_many_cameras_at_once_as_many_as_fit_are_added(
    settings: Settings, migrated: Path
) -> None:
    async with limited(settings, migrated, cameras=3) as world:
        acme = await world.client("acme")
        answers = await asyncio.gather(
            *(acme.post("/v1/cameras", json=camera(number)) for number in range(8))
        )
        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5
        assert len(await world.database.tenant("acme").cameras()) == 3


async def test_rules_are_counted_per_camera_and_in_all(settings: Settings, migrated: Path) -> None:
    async with limited(settings, migrated, rules_per_camera=2, rules=3) as world:
        for tenant in ("globex", "acme"):
            client = await world.client(tenant)
            for number in (1, 2):
                await client.post("/v1/cameras", json=camera(number))
            codes = []
            for number in (1, 1, 1, 2, 2):
                answer = await client.post(f"/v1/cameras/camera-{number}/rules", json=ZONE)
                codes.append(answer.json().get("quota", answer.status_code))
            assert codes == [201, 201, "rules-per-camera", 201, "rules"]


# ------------------------------------------------------------ what is used


async def used(client: httpx.AsyncClient) -> dict[tuple[str, str], dict[str, object]]:
    body = (await client.get("/v1/quotas")).json()
    return {(item["name"], item["scope"]): item for item in body["quotas"]}


async def test_what_is_used_is_shown(settings: Settings, migrated: Path) -> None:
    async with limited(settings, migrated, ManualClock(), requests_per_minute=10) as world:
        acme, globex = await world.client("acme"), await world.client("globex")
        await acme.post("/v1/cameras", json=camera(1) | {"detect_fps": 2.5})
        await acme.post("/v1/cameras", json=camera(2) | {"detect_fps": 5})
        await acme.post("/v1/cameras", json=camera(3) | {"detect_fps": 9, "enabled": False})
        await acme.post("/v1/cameras/camera-1/rules", json=ZONE)
        async with follow(acme) as stream:
            await anext(stream)
            shown = await used(acme)
        numbers = {name: (item["used"], item["limit"]) for name, item in shown.items()}
        assert numbers == {
            # Five before, and the one that asks.
            ("requests", "tenant"): (6, 10),
            ("requests", "key"): (6, 10),
            ("detect", "tenant"): (0, 3_000),
            ("detect", "key"): (0, 3_000),
            ("search", "tenant"): (0, 1_200),
            ("search", "key"): (0, 1_200),
            ("upload-bytes", "tenant"): (0, 6_000 * 1024 * 1024),
            ("upload-bytes", "key"): (0, 6_000 * 1024 * 1024),
            ("concurrent-requests", "tenant"): (2, 300),
            ("event-streams", "tenant"): (1, 100),
            ("exports", "tenant"): (0, 2),
            ("clips", "tenant"): (0, 4),
            ("cameras", "tenant"): (3, 1_000),
            ("rules", "tenant"): (1, 10_000),
            ("rules-per-camera", "tenant"): (1, 100),
            ("jobs", "tenant"): (0, 2),
            # Not measured yet.
            ("storage-bytes", "tenant"): (0, 10**9 * 1024 * 1024),
            ("analysed-frames-per-second", "tenant"): (7.5, 30_000),
        }
        assert shown["requests", "tenant"]["window_s"] == 60
        assert shown["requests", "tenant"]["reset_s"] == 61
        others = await used(globex)
        assert others["requests", "tenant"]["used"] == 1
        assert others["cameras", "tenant"]["used"] == 0
        assert others["event-streams", "tenant"]["used"] == 0


async def test_the_platform_has_no_use_of_a_tenant(platform: httpx.AsyncClient) -> None:
    problem(await platform.get("/v1/quotas"), 403, "forbidden")


# ------------------------------------------------------------ what the platform gives a tenant


OWN = "/v1/tenants/acme/quotas"


async def test_a_tenant_has_limits_of_its_own(
    world: World, acme: httpx.AsyncClient, globex: httpx.AsyncClient, platform: httpx.AsyncClient
) -> None:
    assert (await platform.get(OWN)).json()["own"] == {}
    given = await platform.put(OWN, json={"quotas": {"cameras": 1, "event-streams": 7}})
    assert given.status_code == 200
    assert given.json()["own"] == {"cameras": 1, "event-streams": 7}
    limits = given.json()["limits"]
    assert (limits["cameras"], limits["event-streams"], limits["rules"]) == (1, 7, 10_000)
    assert (await platform.get(OWN)).json() == given.json()

    for client, codes in ((acme, [201, 409]), (globex, [201, 201])):
        answers = [await client.post("/v1/cameras", json=camera(number)) for number in (1, 2)]
        assert [answer.status_code for answer in answers] == codes
    assert (await used(acme))["cameras", "tenant"]["limit"] == 1

    # Replaced, not added to.
    await platform.put(OWN, json={"quotas": {"rules": 5}})
    assert (await platform.get(OWN)).json()["own"] == {"rules": 5}
    assert (await acme.post("/v1/cameras", json=camera(2))).status_code == 201

    async def logged() -> bool:
        entries = (await acme.get("/v1/audit", params={"action": "quota.change"})).json()["entries"]
        return [entry["details"] for entry in entries] == [
            {"rules": 5},
            {"cameras": 1, "event-streams": 7},
        ]

    await eventually(logged)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (OWN, {"quotas": {"cameras": 0}}, 422),
        (OWN, {"quotas": {"cameras": True}}, 422),
        (OWN, {"quotas": {"camels": 1}}, 422),
        (OWN, {}, 422),
        ("/v1/tenants/nobody/quotas", {"quotas": {"cameras": 1}}, 404),
        ("/v1/tenants/A/quotas", {"quotas": {"cameras": 1}}, 422),
    ],
)
async def test_what_cannot_be_given(
    platform: httpx.AsyncClient, path: str, body: dict[str, object], status: int
) -> None:
    problem(await platform.put(path, json=body), status)


async def test_a_tenant_neither_sees_nor_sets_them(acme: httpx.AsyncClient) -> None:
    problem(await acme.get(OWN), 403, "forbidden")
    problem(await acme.put(OWN, json={"quotas": {"cameras": 9_999}}), 403, "forbidden")


async def test_above_its_storage_a_tenant_makes_no_files(
    world: World, acme: httpx.AsyncClient, globex: httpx.AsyncClient, platform: httpx.AsyncClient
) -> None:
    use = StorageUse(recordings=900, files=100, listed_us=1, measured_us=2)
    for tenant in ("acme", "globex"):
        await world.database.tenant(tenant).add_camera(make_camera(tenant))
        await world.database.retention(tenant).set_storage(use)
    # One byte more than it may.
    await platform.put(OWN, json={"quotas": {"storage-bytes": 999}})
    shown = (await used(acme))["storage-bytes", "tenant"]
    assert (shown["used"], shown["limit"], shown["kind"]) == (1_000, 999, "count")
    asked = {"camera": "gate", "from": "2026-01-31T08:00:00Z", "to": "2026-01-31T08:01:00Z"}
    refused = await acme.get("/v1/recordings/export", params=asked)
    body = problem(refused, 507, "quota-exceeded")
    assert body["quota"] == "storage-bytes"
    assert "operator" in str(body["hint"])
    job = {"kind": "reprocess", "camera": "gate"}
    problem(await acme.post("/v1/jobs", json=job), 507, "quota-exceeded")
    # Nothing is recorded, so that there is nothing to export; but nobody refuses it for its size.
    problem(await globex.get("/v1/recordings/export", params=asked), 404, "not-found")
    assert (await globex.post("/v1/jobs", json=job)).status_code == 202
    # As much as it may is not too much.
    await platform.put(OWN, json={"quotas": {"storage-bytes": 1_000}})
    assert (await acme.post("/v1/jobs", json=job)).status_code == 202


async def test_other_replicas_know_after_a_while(settings: Settings, migrated: Path) -> None:
    clock = ManualClock()
    async with limited(settings, migrated, clock) as world:
        limits, records = world.state.quotas.of_tenants, world.database.platform()
        assert (await limits.of("acme"))[Quota.CAMERAS] == 1_000
        await records.set_quotas("acme", {"cameras": 3, "of another version": 1})
        assert (await limits.of("acme"))[Quota.CAMERAS] == 1_000
        clock.advance(KNOWN_FOR_S)
        assert (await limits.of("acme"))[Quota.CAMERAS] == 3
        assert (await limits.of("globex"))[Quota.CAMERAS] == 1_000
        assert (await limits.of(None))[Quota.CAMERAS] == 1_000
        # A tenant that is unknown, as one would be whose records are away, has those of all.
        assert (await limits.of("nobody"))[Quota.CAMERAS] == 1_000
