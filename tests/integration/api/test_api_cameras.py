"""`/v1/cameras`: adding, changing, removing, watching."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import jwt
import pytest
from sqlalchemy import text

from cluster.core.roles import Role
from cluster.stores.bus import CameraStatus, CameraStatusBoard
from pipelines.domain import CameraKey, CameraState
from tests.factories import make_rule
from tests.integration.api.world import LIVEKIT_SECRET, World, problem

URL = "rtsp://viewer:p@ss#w%rd@192.0.2.10:554/stream1"
REDACTED = "rtsp://***@192.0.2.10:554/stream1"
HALF = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
T0_US = 1_700_000_000_000_000


async def add(client: httpx.AsyncClient, id: str = "gate", **fields: Any) -> httpx.Response:
    # httpx would refuse the surrogates that one of the tests sends.
    content = json.dumps({"id": id, "name": "Gate", "url": URL} | fields)
    return await client.post(
        "/v1/cameras", content=content, headers={"content-type": "application/json"}
    )


def live(camera: str = "gate", **fields: Any) -> CameraStatus:
    return CameraStatus(
        **{
            "camera": camera,
            "state": CameraState.LIVE,
            "reason": "frames arrive",
            "since_us": T0_US,
            "fps": 25.0,
            "width": 1920,
            "height": 1080,
            "codec": "h264",
            "host": "atalaia-host-0",
            "watched_fps": 5.0,
            "skipped": {"busy": 3},
            "dropped": {"crops": 1},
            "last_frame_us": T0_US + 5,
            "recording": {
                "state": "failing",
                "reason": "cannot write to s3://key:secret@store/",
                "segments": 7,
                "dropped": {"pictures": 2},
            },
            **fields,
        }
    )


async def test_a_new_camera_is_answered_stored_and_announced(
    acme: httpx.AsyncClient, world: World
) -> None:
    response = await add(acme)

    assert response.status_code == 201
    assert response.headers["location"] == "/v1/cameras/gate"
    body = response.json()
    assert body["id"] == "gate"
    assert body["url"] == REDACTED
    assert body["state"] == "connecting"
    assert body["detect_fps"] == 5.0
    assert (body["attention"], body["detect_fps_min"], body["detect_fps_max"]) == (False, 0.5, 12.0)
    assert body["enabled"] is True
    assert body["stats"]["fps"] is None
    assert world.controller.told == [("acme", "gate")]
    stored = await world.database.tenant("acme").camera("gate")
    assert "p%40ss%23w%25rd" in stored.url.get_secret_value()
    assert (await acme.get("/v1/cameras")).json() == {"cameras": [body]}
    assert (await acme.get(response.headers["location"])).json() == body


async def _unreadable(world: World) -> str:
    """Take the camera's stored url for one of another camera; returns what is stored."""
    async with world.database._engine.begin() as connection:
        await connection.execute(
            text(
                "UPDATE cameras SET url = (SELECT url FROM cameras WHERE id = 'yard')"
                " WHERE id = 'gate'"
            )
        )
        return str(await connection.scalar(text("SELECT url FROM cameras WHERE id = 'gate'")))


async def test_a_camera_whose_url_does_not_decrypt_is_listed_and_can_be_mended(
    acme: httpx.AsyncClient, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await add(acme, substream_url=URL)
    await add(acme, "yard")
    stored = await _unreadable(world)

    gate, yard = (await acme.get("/v1/cameras")).json()["cameras"]
    assert (gate["url"], gate["substream_url"]) == ("***", REDACTED)
    assert gate["state"] == "offline"
    assert "url does not decrypt" in gate["reason"]
    assert "Enter it again" in gate["reason"]
    assert (yard["url"], yard["state"]) == (REDACTED, "connecting")

    renamed = (await acme.patch("/v1/cameras/gate", json={"name": "North"})).json()
    assert (renamed["name"], renamed["url"], renamed["state"]) == ("North", "***", "offline")
    assert (await acme.post("/v1/cameras/gate/join")).status_code == 200
    assert (await acme.patch("/v1/cameras/gate", json={"url": "***"})).status_code == 422
    shown = [json.dumps(gate), json.dumps(renamed), caplog.text]
    assert all(part not in "".join(shown) for part in (stored.split(".")[2], "p%40ss"))

    mended = (await acme.patch("/v1/cameras/gate", json={"url": URL})).json()
    assert (mended["url"], mended["state"]) == (REDACTED, "connecting")
    assert (await acme.get("/v1/cameras/gate")).json() == mended


async def test_a_camera_whose_url_does_not_decrypt_can_be_removed(
    acme: httpx.AsyncClient, world: World
) -> None:
    await add(acme)
    await add(acme, "yard")
    await _unreadable(world)
    assert (await acme.delete("/v1/cameras/gate")).status_code == 204
    assert [c["id"] for c in (await acme.get("/v1/cameras")).json()["cameras"]] == ["yard"]


async def test_the_name_defaults_to_the_id(acme: httpx.AsyncClient) -> None:
    response = await acme.post("/v1/cameras", json={"id": "yard", "url": "rtsp://192.0.2.1/"})

    assert response.json()["name"] == "yard"


async def test_the_id_that_stands_for_the_storage_is_reserved(acme: httpx.AsyncClient) -> None:
    """A camera of this id could be put into a group, and its recording would hide, or seem to be,
    what is wrong with the storage."""
    body = {"id": "atalaia-storage", "url": "rtsp://192.0.2.1/"}
    refused = problem(await acme.post("/v1/cameras", json=body), 422, "invalid-input")
    assert refused["errors"][0]["pointer"] == "#/id"


async def test_an_id_is_taken_once(acme: httpx.AsyncClient) -> None:
    await add(acme)

    body = problem(await add(acme), 409, "conflict")
    assert body["hint"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"id": "Gate"}, "#/id"),
        ({"id": "a.b"}, "#/id"),
        ({"id": ""}, "#/id"),
        ({"id": "x" * 41}, "#/id"),
        ({"id": None}, "#/id"),
        ({"name": ""}, "#/name"),
        ({"name": "a\x00b"}, "#/name"),
        ({"name": "a\ud800b"}, "#/name"),
        ({"name": "x" * 121}, "#/name"),
        ({"url": ""}, "#/url"),
        ({"url": 7}, "#/url"),
        ({"detect_fps": 0}, "#/detect_fps"),
        ({"detect_fps": 1e-305}, "#/detect_fps"),
        ({"detect_fps": 31}, "#/detect_fps"),
        ({"detect_fps": "fast"}, "#/detect_fps"),
        ({"attention": "sometimes"}, "#/attention"),
        ({"detect_fps_min": 0.4}, "#/detect_fps_min"),
        ({"detect_fps_max": 31}, "#/detect_fps_max"),
        ({"detect_fps_min": 6, "detect_fps_max": 5}, "#"),
        ({"enabled": "perhaps"}, "#/enabled"),
        ({"tenant": "globex"}, "#/tenant"),
        ({"colour": "red"}, "#/colour"),
    ],
)
async def test_a_wrong_field_is_pointed_at(
    acme: httpx.AsyncClient, fields: dict[str, Any], pointer: str
) -> None:
    body = problem(await add(acme, **fields), 422, "invalid-input")

    assert [error["pointer"] for error in body["errors"]] == [pointer]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "url",
    [
        "not a url",
        "file:///etc/passwd",
        "exec:rm -rf /",
        "rtsp://",
        "rtsp://host:99999/",
        "rtsp://***@192.0.2.10:554/stream1",
    ],
)
async def test_what_is_no_camera_url_is_refused(acme: httpx.AsyncClient, url: str) -> None:
    body = problem(await add(acme, url=url), 422)

    assert body["detail"]


async def test_a_password_is_not_repeated_in_an_error(acme: httpx.AsyncClient) -> None:
    for url in ("rtsp://viewer:hunter2@host:99999/", "ftp://viewer:hunter2@host/"):
        assert "hunter2" not in (await add(acme, url=url)).text
    assert "hunter2" not in (await acme.post("/v1/cameras", json={"url": ["hunter2"]})).text


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_numbers_that_are_none_are_refused(acme: httpx.AsyncClient, number: str) -> None:
    content = f'{{"id": "gate", "url": "rtsp://h/", "detect_fps": {number}}}'

    response = await acme.post(
        "/v1/cameras", content=content, headers={"content-type": "application/json"}
    )

    problem(response, 422)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[]", b'"x"', b"null", b"[" * 100_000, b"1" * 5_000],
    ids=["empty", "cut", "no text", "list", "text", "null", "deep", "long number"],
)
async def test_a_body_that_is_no_object_is_a_4xx(acme: httpx.AsyncClient, content: bytes) -> None:
    response = await acme.post(
        "/v1/cameras", content=content, headers={"content-type": "application/json"}
    )

    assert response.status_code in (400, 422)
    problem(response, response.status_code)


async def test_state_and_stats_come_from_the_board(acme: httpx.AsyncClient, world: World) -> None:
    await add(acme)
    reason = "open failed: rtsp://viewer:p@ss@192.0.2.10/"
    await CameraStatusBoard(world.redis).put_all(
        "acme", [live(state=CameraState.DEGRADED, reason=reason)]
    )

    body = (await acme.get("/v1/cameras/gate")).json()

    assert body["state"] == "degraded"
    assert body["reason"] == "open failed: rtsp://***@192.0.2.10/"
    assert body["since"] == "2023-11-14T22:13:20.000000Z"
    assert body["stats"] == {
        "fps": 25.0,
        "width": 1920,
        "height": 1080,
        "codec": "h264",
        "watched_fps": 5.0,
        "skipped": {"busy": 3},
        "dropped": {"crops": 1},
        "last_frame_at": "2023-11-14T22:13:20.000005Z",
        "recording": {
            "state": "failing",
            "reason": "cannot write to s3://***@store/",
            "segments": 7,
            "dropped": {"pictures": 2},
        },
    }
    assert "host" not in str(body)


async def test_a_disabled_camera_is_offline_whatever_the_board_says(
    acme: httpx.AsyncClient, world: World
) -> None:
    await add(acme, enabled=False)
    await CameraStatusBoard(world.redis).put_all("acme", [live()])

    body = (await acme.get("/v1/cameras/gate")).json()

    assert (body["state"], body["reason"]) == ("offline", "disabled")
    assert body["stats"]["fps"] is None


async def test_a_patch_changes_only_what_it_names(acme: httpx.AsyncClient, world: World) -> None:
    await add(acme, substream_url="rtsp://u:pw@192.0.2.10/sub")
    before = await world.database.tenant("acme").camera("gate")

    changes = {"detect_fps": 10, "attention": True, "detect_fps_min": 1, "detect_fps_max": 20}
    body = (await acme.patch("/v1/cameras/gate", json=changes)).json()

    assert {name: body[name] for name in changes} == changes
    after = await world.database.tenant("acme").camera("gate")
    assert after == before.model_copy(update=changes)
    assert world.controller.told == [("acme", "gate")] * 2


async def test_a_patch_can_replace_urls_and_remove_the_substream(
    acme: httpx.AsyncClient, world: World
) -> None:
    await add(acme, substream_url="rtsp://u:pw@192.0.2.10/sub")

    body = (
        await acme.patch(
            "/v1/cameras/gate", json={"url": "rtsp://a:b@192.0.2.11/", "substream_url": None}
        )
    ).json()

    assert body["url"] == "rtsp://***@192.0.2.11/"
    assert body["substream_url"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"name": None},
        {"url": None},
        {"detect_fps": None},
        {"attention": None},
        {"detect_fps_min": 13},
        {"enabled": None},
        {"id": "other"},
        {"tenant": "globex"},
        {"colour": "red"},
        {"url": REDACTED},
        {"url": "file:///etc/passwd"},
        {"detect_fps": 0},
    ],
)
async def test_a_wrong_patch_changes_nothing(
    acme: httpx.AsyncClient, world: World, changes: dict[str, Any]
) -> None:
    await add(acme)
    before = await world.database.tenant("acme").camera("gate")

    problem(await acme.patch("/v1/cameras/gate", json={"name": "New"} | changes), 422)

    assert await world.database.tenant("acme").camera("gate") == before


async def test_an_empty_patch_announces_nothing(acme: httpx.AsyncClient, world: World) -> None:
    await add(acme)

    assert (await acme.patch("/v1/cameras/gate", json={})).status_code == 200
    assert world.controller.told == [("acme", "gate")]


async def test_removing_takes_the_rules_along(acme: httpx.AsyncClient, world: World) -> None:
    await add(acme)
    await world.database.tenant("acme").add_rule("gate", make_rule())

    response = await acme.delete("/v1/cameras/gate")

    assert (response.status_code, response.content) == (204, b"")
    assert world.controller.told[-1] == ("acme", "gate")
    problem(await acme.get("/v1/cameras/gate"), 404, "not-found")
    problem(await acme.delete("/v1/cameras/gate"), 404, "not-found")
    problem(await acme.get("/v1/cameras/gate/rules"), 404, "not-found")


async def test_a_controller_that_is_away_does_not_undo_a_change(
    acme: httpx.AsyncClient, world: World
) -> None:
    world.controller.away = True

    assert (await add(acme)).status_code == 201
    assert (await acme.get("/v1/cameras/gate")).status_code == 200
    metrics = (await acme.get("/metrics")).text
    assert "atalaia_controller_announce_errors_total 1.0" in metrics


async def test_a_controller_that_hangs_holds_nobody_up(
    acme: httpx.AsyncClient, world: World
) -> None:
    world.controller.hangs = True
    begin = time.monotonic()

    for n in range(3):
        assert (await add(acme, id=f"gate-{n}")).status_code == 201

    assert time.monotonic() - begin < 5
    assert len((await acme.get("/v1/cameras")).json()["cameras"]) == 3


async def test_join_gives_a_token_for_one_room_and_nothing_else(acme: httpx.AsyncClient) -> None:
    await add(acme)

    first = (await acme.post("/v1/cameras/gate/join")).json()
    second = (await acme.post("/v1/cameras/gate/join")).json()

    assert (first["url"], first["room"]) == ("wss://live.example", "acme.gate")
    claims = jwt.decode(first["token"], LIVEKIT_SECRET, algorithms=["HS256"])
    assert claims["video"] == {
        "roomJoin": True,
        "room": "acme.gate",
        "canSubscribe": True,
        "canPublish": False,
        "canPublishData": False,
        "canUpdateOwnMetadata": False,
    }
    assert claims["exp"] - claims["nbf"] == 300
    assert claims["sub"].startswith("viewer-")
    assert claims["sub"] != jwt.decode(second["token"], LIVEKIT_SECRET, algorithms=["HS256"])["sub"]
    assert LIVEKIT_SECRET not in str(first)


async def test_join_needs_a_camera(acme: httpx.AsyncClient) -> None:
    problem(await acme.post("/v1/cameras/gate/join"), 404, "not-found")
    problem(await acme.post("/v1/cameras/gate/join/unmasked"), 404, "not-found")


def rooms_of(answer: dict[str, Any]) -> set[str]:
    claims = jwt.decode(answer["token"], LIVEKIT_SECRET, algorithms=["HS256"])
    return {answer["room"], claims["video"]["room"]}


async def test_masks_are_left_out_only_for_admins_and_in_a_room_of_its_own(
    acme: httpx.AsyncClient, world: World
) -> None:
    await add(acme, masks=[HALF])
    for role in (Role.VIEWER, Role.OPERATOR, Role.ANALYST):
        client = await world.client(f"acme {role}")
        shown = (await client.post("/v1/cameras/gate/join")).json()
        assert (shown["masked"], rooms_of(shown)) == (True, {"acme.gate"})
        refused = problem(await client.post("/v1/cameras/gate/join/unmasked"), 403, "forbidden")
        assert refused["permission"] == "live.unmasked"
    usual = (await acme.post("/v1/cameras/gate/join")).json()
    assert (usual["masked"], rooms_of(usual)) == (True, {"acme.gate"})
    bare = (await acme.post("/v1/cameras/gate/join/unmasked")).json()
    assert (bare["masked"], rooms_of(bare)) == (False, {"acme.gate.unmasked"})
    claims = jwt.decode(bare["token"], LIVEKIT_SECRET, algorithms=["HS256"])["video"]
    assert not claims["canPublish"]
    assert not claims["canPublishData"]


async def test_a_camera_without_masks_has_no_unmasked_room(acme: httpx.AsyncClient) -> None:
    await add(acme)
    shown = (await acme.post("/v1/cameras/gate/join")).json()
    assert shown["masked"] is False
    body = problem(await acme.post("/v1/cameras/gate/join/unmasked"), 409, "conflict")
    assert "/join " in body["hint"]


async def test_a_snapshot_comes_from_the_host_that_watches(
    acme: httpx.AsyncClient, world: World
) -> None:
    await add(acme)
    await CameraStatusBoard(world.redis).put_all("acme", [live()])
    world.hosts.pictures["atalaia-host-0", CameraKey("acme", "gate")] = b"\xff\xd8picture"

    response = await acme.get("/v1/cameras/gate/snapshot")

    assert response.status_code == 200
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["cache-control"] == "no-store"
    assert response.content == b"\xff\xd8picture"


@pytest.mark.parametrize(
    "status",
    [
        None,
        live(state=CameraState.OFFLINE, reason="no route to host"),
        live(state=CameraState.CONNECTING),
        live(host=None),
        live(),
    ],
)
async def test_no_snapshot_while_there_is_no_picture(
    acme: httpx.AsyncClient, world: World, status: CameraStatus | None
) -> None:
    await add(acme)
    if status:
        await CameraStatusBoard(world.redis).put_all("acme", [status])

    response = await acme.get("/v1/cameras/gate/snapshot")

    body = problem(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) > 0
    if status and status.state is CameraState.OFFLINE:
        assert "no route to host" in str(body["detail"])


async def test_no_snapshot_of_an_unknown_camera(acme: httpx.AsyncClient) -> None:
    problem(await acme.get("/v1/cameras/gate/snapshot"), 404, "not-found")
