"""What was recorded before a camera had masks: open to all, or only to who may see below them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from cluster.core.roles import Role
from pipelines.domain import Stages
from serve.api.app import create_app
from serve.api.times import rfc3339
from tests.factories import T0_US, make_alarm, make_camera
from tests.integration.api.world import World, problem, served
from tests.recorded import segments_of, ship, units

S = 1_000_000
FRAMES, PER_SEGMENT = 100, 30
BEFORE_US, SINCE_US = T0_US, T0_US + 60 * S
LEFT = [((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))]
ALARMS = {
    at_us: make_alarm(n, stages=Stages(capture_us=at_us + S))
    for n, at_us in enumerate((BEFORE_US, SINCE_US))
}


async def record(world: World, folder: Path, camera: str, start_us: int, **row: Any) -> None:
    files = segments_of(folder, units(FRAMES, start_us), per_segment=PER_SEGMENT)
    recordings, blobs = world.database.recordings("acme"), world.blobs("acme")
    await ship(files, recordings, blobs, camera, **row)


@pytest.fixture
async def footage(world: World, tmp_path: Path) -> None:
    """The gate got its masks between two recordings and two alarms; the yard has none."""
    records = world.database.tenant("acme")
    rolls = {"pre_roll_s": 1, "post_roll_s": 1}
    await records.add_camera(make_camera(masks=LEFT, recording=rolls))
    await records.add_camera(make_camera(id="yard"))
    await record(world, tmp_path / "before", "gate", BEFORE_US)
    await record(world, tmp_path / "since", "gate", SINCE_US, masked=True)
    await record(world, tmp_path / "yard", "yard", BEFORE_US)
    await records.record_alarms(list(ALARMS.values()))


Serve = Callable[[Literal["allow", "block"], Role], Awaitable[httpx.AsyncClient]]


@pytest.fixture
async def client(world: World, footage: None) -> Serve:
    async def serve(policy: Literal["allow", "block"], role: Role) -> httpx.AsyncClient:
        settings = world.deps.settings
        recording = settings.recording.model_copy(update={"before_mask": policy})
        deps = replace(world.deps, settings=settings.model_copy(update={"recording": recording}))
        url = await world.stack.enter_async_context(served(create_app(deps)))
        made = await world.client(f"acme {role}")
        made.base_url = httpx.URL(url)
        return made

    return serve


async def listed(client: httpx.AsyncClient, camera: str) -> tuple[list[bool], int]:
    """Whether each file is masked, and how many are left out."""
    page = (await client.get("/v1/recordings", params={"camera": camera})).json()
    assert len(page["spans"]) == len({segment["masked"] for segment in page["segments"]})
    return [segment["masked"] for segment in page["segments"]], page["left_out"]


def export(client: httpx.AsyncClient, camera: str, start_us: int, s: int = 4) -> Any:
    asked = {"camera": camera, "from": rfc3339(start_us), "to": rfc3339(start_us + s * S)}
    return client.get("/v1/recordings/export", params=asked)


async def clip(client: httpx.AsyncClient, at_us: int) -> dict[str, Any]:
    response = await client.get(f"/v1/alarms/{ALARMS[at_us].id}/clip")
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


@pytest.mark.parametrize(("policy", "role"), [("allow", Role.ANALYST), ("block", Role.ADMIN)])
async def test_all_is_open(client: Serve, policy: Literal["allow", "block"], role: Role) -> None:
    caller = await client(policy, role)
    assert await listed(caller, "gate") == ([False] * 4 + [True] * 4, 0)
    assert (await export(caller, "gate", BEFORE_US)).status_code == 200
    answer = await clip(caller, BEFORE_US)
    assert (answer["state"], answer["masked"]) == ("ready", False)


async def test_what_is_unmasked_of_a_masked_camera_is_closed(client: Serve) -> None:
    caller = await client("block", Role.ANALYST)
    assert await listed(caller, "gate") == ([True] * 4, 4)
    assert await listed(caller, "yard") == ([False] * 4, 0)
    for whole in (export(caller, "gate", BEFORE_US), export(caller, "gate", BEFORE_US, 90)):
        body = problem(await whole, 403, "forbidden")
        assert body["permission"] == "live.unmasked"
        assert "admin" in body["hint"]
    assert (await export(caller, "gate", SINCE_US)).status_code == 200
    assert (await export(caller, "yard", BEFORE_US)).status_code == 200
    closed = await clip(caller, BEFORE_US)
    assert (closed["state"], closed["code"], closed["url"]) == ("none", "before-mask", None)
    answer = await clip(caller, SINCE_US)
    assert (answer["state"], answer["masked"]) == ("ready", True)
