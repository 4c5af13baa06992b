"""Every kind of camera plays through relay and go2rtc, whatever authentication it needs."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from cluster.media.errors import CameraProblem, UnreadableCameraError
from cluster.media.go2rtc import Go2RtcGateway
from tests.integration.relay.world import frames_of, rtmp_camera
from tests.ports import free_port
from tests.unit.cluster.media.clips import Clip

NAME = "acme.front"


async def test_rtmp(gateway: Go2RtcGateway, clip: Clip) -> None:
    async with rtmp_camera(clip) as address:
        await gateway.ensure(NAME, SecretStr(f"rtmp://{address}/cam/stream?token=x"))
        assert await asyncio.to_thread(frames_of, gateway.rtsp_url(NAME), 10) == 10
    with pytest.raises(UnreadableCameraError) as caught:
        await gateway.probe(SecretStr(f"rtmp://127.0.0.1:{free_port()}/cam"))
    assert caught.value.problem is CameraProblem.REFUSED
