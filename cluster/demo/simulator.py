"""The demo's cameras, which can be added to a running Atalaia like any camera."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from pydantic import SecretStr

from cluster.core.log import get_logger
from cluster.core.settings import Settings
from cluster.demo.cast import CAST, Role
from cluster.demo.footage import make
from cluster.demo.rtp import Clip, load_clip
from cluster.demo.rtsp import CameraServer, Channel
from pipelines.clock import Clock
from pipelines.domain import Rule

log = get_logger(__name__)

USERNAME = "viewer"
# All the characters that have ever broken a camera URL. It only protects demo footage on loopback,
# so it may be public. It must not change, because cameras stay in the database between runs.
PASSWORD = "p@ss:w/rd#1?%20 {x}"


@dataclass(frozen=True, slots=True)
class DemoCamera:
    """A playing camera of the demo.

    Attributes:
        url: RTSP address with percent-encoded credentials.
        loop_s: seconds until its frames repeat.
    """

    tenant: str
    id: str
    name: str
    url: SecretStr
    rules: tuple[Rule, ...]
    loop_s: float


class DemoCameras:
    """Plays the demo's footage over RTSP on loopback, and makes the footage if it is missing.

    The cameras belong to the event loop that starts them. So they end with the process, however it
    ends.

    Args:
        settings: clips are cached in its `data_dir`.
        roles: which cameras to play.
        port: of the RTSP server; 0 for a free one.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        roles: tuple[Role, ...] = CAST,
        port: int = 0,
        clock: Clock | None = None,
    ) -> None:
        self._folder = settings.data_dir.resolve() / "demo"
        self._roles = roles
        self._port = port
        self._clock = clock
        self._server: CameraServer | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def server(self) -> CameraServer:
        """The RTSP server, to disconnect cameras in tests. Raises RuntimeError before `start`."""
        if self._server is None:
            raise RuntimeError("the demo cameras have not been started")
        return self._server

    @property
    def started_us(self) -> int:
        """UTC microseconds at which every camera showed the first frame of its loop."""
        return self.server.started_us

    async def start(self) -> list[DemoCamera]:
        """Play all roles. On first use, making the footage takes some ten seconds of one core.

        Raises:
            ConfigError: a package of the extra `demo` is missing.
            OSError: the port is taken.
        """
        clips = await self._clips()
        server = CameraServer(
            tuple(
                Channel(_channel_name(role), clip, USERNAME, PASSWORD)
                for role, clip in zip(self._roles, clips, strict=True)
            ),
            port=self._port,
            clock=self._clock,
        )
        await server.start()
        self._server = server
        log.info("demo cameras are playing", cameras=len(self._roles), port=server.port)
        return [
            DemoCamera(r.tenant, r.id, r.name, self._url(r, server.port), r.rules, clip.duration_s)
            for r, clip in zip(self._roles, clips, strict=True)
        ]

    async def aclose(self) -> None:
        """Stop playing. Idempotent."""
        if self._server is not None:
            await self._server.aclose()
            self._server = None

    async def _clips(self) -> list[Clip]:
        # One thread: encoding already takes all the cores it can use.
        with ThreadPoolExecutor(1, thread_name_prefix="demo-footage") as executor:
            loop = asyncio.get_running_loop()
            jobs = [loop.run_in_executor(executor, _clip, r, self._folder) for r in self._roles]
            return list(await asyncio.gather(*jobs))

    def _url(self, role: Role, port: int) -> SecretStr:
        user, password = quote(USERNAME, safe=""), quote(PASSWORD, safe="")
        return SecretStr(f"rtsp://{user}:{password}@127.0.0.1:{port}/{_channel_name(role)}")


def _channel_name(role: Role) -> str:
    return f"{role.tenant}-{role.id}"


def _clip(role: Role, folder: Path) -> Clip:
    return load_clip(make(role.footage(), folder))
