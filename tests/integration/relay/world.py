"""Cameras with other protocols than RTSP, and clients of a gateway."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import av
import pytest
from pydantic import SecretStr

from tests.integration.media.rtsp_camera import RtspCamera
from tests.ports import free_port
from tests.unit.cluster.media.clips import Clip


def frames_of(url: SecretStr, count: int) -> int:
    """How many of `count` frames could be decoded."""
    options = {"rtsp_transport": "tcp", "analyzeduration": "100000"}
    decoded = 0
    with av.open(url.get_secret_value(), options=options, timeout=(10, 5)) as container:
        for _ in container.decode(video=0):
            decoded += 1
            if decoded >= count:
                break
    return decoded


@asynccontextmanager
async def rtmp_camera(clip: Clip) -> AsyncIterator[str]:
    """A real RTMP server that plays `clip`: another go2rtc. Yields its address, host and port."""
    binary = shutil.which("go2rtc")
    if binary is None:
        pytest.skip("needs go2rtc on PATH (`make servers` builds it)")
    port = free_port()
    async with RtspCamera(clip).serving() as behind:
        config = {
            "api": {"listen": ""},
            "rtsp": {"listen": ""},
            "webrtc": {"listen": ""},
            "rtmp": {"listen": f"127.0.0.1:{port}"},
            "streams": {"cam": behind.url()},
        }
        process = await asyncio.create_subprocess_exec(
            binary, "-config", json.dumps(config), stdout=asyncio.subprocess.DEVNULL
        )
        try:
            for _ in range(100):
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    await asyncio.sleep(0.05)
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()
