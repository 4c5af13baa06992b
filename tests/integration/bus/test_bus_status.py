from __future__ import annotations

from redis.asyncio import Redis

from cluster.stores.bus import CameraStatus, CameraStatusBoard
from cluster.stores.bus.keys import cameras_key
from pipelines.domain import CameraState


def _status(camera: str, state: CameraState = CameraState.LIVE) -> CameraStatus:
    return CameraStatus(camera=camera, state=state, since_us=1, skipped={"busy": 2})


async def test_the_board_is_replaced_as_a_whole(redis_client: Redis) -> None:
    board = CameraStatusBoard(redis_client)
    assert await board.get_all("acme") == {}
    await board.put_all("acme", [_status("gate"), _status("hall")])
    await board.put_all("globex", [_status("gate", CameraState.OFFLINE)])
    await board.put_all("acme", [_status("hall", CameraState.DEGRADED)])
    assert await board.get_all("acme") == {"hall": _status("hall", CameraState.DEGRADED)}
    assert await board.get_all("globex") == {"gate": _status("gate", CameraState.OFFLINE)}
    await board.put_all("acme", [])
    assert await board.get_all("acme") == {}


async def test_a_board_that_nobody_keeps_ends(redis_client: Redis) -> None:
    board = CameraStatusBoard(redis_client, life_s=7)
    await board.put_all("acme", [_status("gate")])
    assert 0 < await redis_client.ttl(cameras_key("acme")) <= 7


async def test_a_status_of_another_version_hides_no_other(redis_client: Redis) -> None:
    board = CameraStatusBoard(redis_client)
    await board.put_all("acme", [_status("gate")])
    await redis_client.hset(cameras_key("acme"), "hall", '{"version": 9}')
    assert await board.get_all("acme") == {"gate": _status("gate")}
