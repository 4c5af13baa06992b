"""From camera through go2rtc to the bridge: the same bytes, decodable, well timed."""

from __future__ import annotations

import asyncio
import itertools
import time

import av
from pydantic import SecretStr

from cluster.media.capture_clock import CaptureClock, CaptureStamp, pts_seconds
from cluster.media.go2rtc import Go2RtcGateway
from cluster.media.h264 import (
    PassthroughCheck,
    has_parameter_sets,
    is_key_frame,
    iter_nal_units,
    nal_type,
    with_parameter_sets,
)
from tests.integration.media.rtsp_camera import RtspCamera
from tests.unit.cluster.media.clips import Clip, decodes


def receive(url: SecretStr, seconds: float) -> tuple[list[bytes], list[CaptureStamp], str]:
    """Access units as the bridge would publish them, their stamps, and why they may not pass."""
    clock, units, stamps = CaptureClock(), [], []
    options = {"rtsp_transport": "tcp", "analyzeduration": "100000"}
    with av.open(url.get_secret_value(), options=options, timeout=(10, 5)) as container:
        stream = container.streams.video[0]
        extradata = stream.codec_context.extradata
        check = PassthroughCheck("h264", extradata or b"", stream.codec_context.reorder_depth)
        until = time.monotonic() + seconds
        for packet in container.demux(stream):
            pts = pts_seconds(packet.pts, packet.time_base)
            stamps.append(clock.stamp(pts, time.time_ns() // 1000, time.monotonic()))
            check.observe(bytes(packet), pts)
            units.append(with_parameter_sets(bytes(packet), extradata))
            if time.monotonic() > until:
                break
    return units, stamps, check.reason


async def test_h264_arrives_unchanged_decodable_and_well_timed(
    gateway: Go2RtcGateway, clip: Clip
) -> None:
    async with RtspCamera(clip).serving() as camera:
        await gateway.ensure("acme.front", SecretStr(camera.url()))
        url = gateway.rtsp_url("acme.front")
        units, stamps, reason = await asyncio.to_thread(receive, url, 4.0)
    assert reason == ""
    # Byte for byte what the camera's encoder made, parameter sets aside.
    sent = {nal for au in clip.packets for nal in iter_nal_units(au)}
    got = [nal for au in units for nal in iter_nal_units(au) if nal_type(nal) not in (7, 8)]
    assert len(got) >= 50
    assert set(got) <= sent
    keys = [n for n, au in enumerate(units) if is_key_frame(au)]
    assert len(keys) >= 2
    assert all(has_parameter_sets(units[n]) for n in keys)
    assert decodes(units[keys[0] :]) == len(units) - keys[0]
    # Once the burst at connect is over, frames are 40 ms apart whatever this machine is doing.
    spacings = [b.timestamp_us - a.timestamp_us for a, b in itertools.pairwise(stamps)]
    steady = sorted(spacings[len(spacings) // 2 :])
    assert all(spacing > 0 for spacing in spacings)
    assert 35_000 <= steady[0]
    assert steady[-1] <= 45_000
