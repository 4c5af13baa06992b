"""Somebody who watches the boxes of one camera and notes when they come."""

from __future__ import annotations

import asyncio
import time

import httpx
from livekit import rtc

from pipelines.domain import CameraKey


class BoxViewer:
    """Joins a camera's room as a front end does, and again whenever it is thrown out.

    Attributes:
        arrivals: when messages with boxes came, ascending, on the monotonic clock.
    """

    REJOIN_S = 0.5

    def __init__(self, client: httpx.AsyncClient, key: CameraKey) -> None:
        self.key = key
        self.arrivals: list[float] = []
        self._client = client
        self._readers: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._watch(), name=f"viewer {self.key.room}")

    async def aclose(self) -> None:
        """Leave the room. Safe to call twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._client.aclose()

    async def _watch(self) -> None:
        while True:
            try:
                await self._stay()
            except (httpx.HTTPError, rtc.ConnectError):
                pass  # a part is dead: that is what the run is about
            await asyncio.sleep(self.REJOIN_S)

    async def _stay(self) -> None:
        """In the room until LiveKit ends it."""
        answer = await self._client.post(f"/v1/cameras/{self.key.camera}/join")
        body = answer.raise_for_status().json()
        lost = asyncio.Event()
        room = rtc.Room()
        room.on("data_track_published", self._read_track)
        room.on("disconnected", lambda *_: lost.set())
        try:
            await room.connect(body["url"], body["token"])
            await lost.wait()
        finally:
            for reader in self._readers:
                reader.cancel()
            await asyncio.gather(*self._readers, return_exceptions=True)
            self._readers.clear()
            await room.disconnect()

    def _read_track(self, track: rtc.RemoteDataTrack) -> None:
        self._readers.add(asyncio.create_task(self._read(track)))

    async def _read(self, track: rtc.RemoteDataTrack) -> None:
        async for _ in track.subscribe():
            self.arrivals.append(time.monotonic())
