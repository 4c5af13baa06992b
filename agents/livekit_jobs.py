"""The jobs that LiveKit sends this host: livekit-agents' AgentServer, and one watcher per job."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from livekit import agents, rtc
from livekit.agents import AutoSubscribe, JobContext, JobExecutorType, JobRequest

from agents.plans import PlanBook
from agents.watcher import Watcher
from cluster.core.log import get_logger
from cluster.core.names import AGENT_NAME, WATCHER_IDENTITY
from cluster.core.settings import LiveKitSettings
from pipelines.domain import CameraKey, CameraPlan

log = get_logger("jobs")

LOAD_THRESHOLD = 0.999
"""Load is watchers/capacity: below 1 there is room for one more."""
DRAIN_TIMEOUT_S = 5
RETRY_S = 1.0

WatcherFactory = Callable[[CameraKey, rtc.Room, CameraPlan], Watcher]
"""Called on the job's event loop."""


@dataclass(frozen=True, slots=True)
class _Job:
    watcher: Watcher
    context: JobContext
    loop: asyncio.AbstractEventLoop

    def end(self, reason: str) -> None:
        self.loop.call_soon_threadsafe(self.context.shutdown, reason)


class WatcherJobs:
    """Registers with LiveKit and carries the watchers of its jobs. Made on the host's loop.

    livekit-agents runs each job in a thread with an event loop of its own (`watch`); the list of
    jobs belongs to the host's loop.

    Args:
        livekit: where to register.
        capacity: watchers that fit into this host.
        plans: what to watch.
        make_watcher: makes the watcher of a room that was joined.
    """

    def __init__(
        self,
        livekit: LiveKitSettings,
        capacity: int,
        plans: PlanBook,
        make_watcher: WatcherFactory,
    ) -> None:
        # Of each of its threads, idle ones too, livekit-agents asks 50 times a second whether its
        # loop is blocked: 2,000 wake-ups a second, a twentieth of a core. A watcher that hangs is
        # found by the controller, by its frames.
        os.environ.setdefault("LIVEKIT_AGENTS_LOOP_BLOCK_WARN_MS", "0")
        self.registered = False
        self._livekit = livekit
        self._capacity = capacity
        self._plans = plans
        self._make_watcher = make_watcher
        self._loop = asyncio.get_running_loop()
        self._jobs: dict[CameraKey, _Job] = {}
        self._server: agents.AgentServer | None = None

    # ------------------------------------------------------------ on the host's loop

    async def serve(self) -> None:
        """Keep an AgentServer registered: it gives up after a number of failed connections."""
        while True:
            self._server = self._new_server()
            try:
                await self._server.run()
            except (RuntimeError, OSError, ValueError) as error:
                log.warning("agent server ended, starting another", error=str(error))
            self.registered = False
            await asyncio.sleep(RETRY_S)

    async def aclose(self) -> None:
        """Let every watcher go. Call it when `serve` was cancelled."""
        if self._server is not None:
            await self._server.aclose()

    @property
    def watchers(self) -> tuple[Watcher, ...]:
        return tuple(job.watcher for job in self._jobs.values())

    def watcher(self, key: CameraKey) -> Watcher | None:
        job = self._jobs.get(key)
        return job.watcher if job else None

    def drop(self, key: CameraKey) -> None:
        """End this camera's watcher, because it hangs; the controller sends another."""
        job = self._jobs.get(key)
        if job is not None:
            job.end("dropped by the controller")

    def end_unwanted(self) -> None:
        """End the watchers of cameras that are not to be watched any more."""
        for key, job in self._jobs.items():
            if not self._plans.wants(key):
                job.end("the camera was removed")

    def _enter(self, key: CameraKey, job: _Job) -> None:
        self._jobs[key] = job

    def _leave(self, key: CameraKey, job: _Job) -> None:
        if self._jobs.get(key) is job:  # else another job has taken its place
            del self._jobs[key]

    # ------------------------------------------------------------ called by livekit-agents

    def _new_server(self) -> agents.AgentServer:
        server = agents.AgentServer(
            job_executor_type=JobExecutorType.THREAD,
            ws_url=self._livekit.url,
            api_key=self._livekit.api_key,
            api_secret=self._livekit.api_secret.get_secret_value(),
            host="127.0.0.1",
            port=0,
            load_fnc=lambda: len(self._jobs) / self._capacity,
            load_threshold=LOAD_THRESHOLD,
            # An empty worker takes its whole threshold for one job per idle runner: with as many
            # as its capacity a burst of dispatches is accepted (measured: with 0, all but one
            # were refused and never sent again).
            num_idle_processes=self._capacity,
            drain_timeout=DRAIN_TIMEOUT_S,
        )
        server.rtc_session(self.watch, agent_name=AGENT_NAME, on_request=self._accept)
        server.on("worker_registered", self._on_registered)
        return server

    def _on_registered(self, *_: object) -> None:
        self.registered = True

    async def _accept(self, request: JobRequest) -> None:
        await request.accept(identity=WATCHER_IDENTITY, name="Atalaia watcher")

    async def watch(self, context: JobContext) -> None:
        """Entry point of a job: runs in a thread and event loop of its own."""
        key = CameraKey.from_room(context.job.room.name)
        plan = await self._plans.wait_for(key) if key is not None else None
        if key is None or plan is None:
            context.shutdown("no camera of ours")
            return
        await context.connect(auto_subscribe=AutoSubscribe.SUBSCRIBE_NONE)
        watcher = self._make_watcher(key, context.room, plan)
        job = _Job(watcher, context, asyncio.get_running_loop())
        self._loop.call_soon_threadsafe(self._enter, key, job)

        async def end(reason: str) -> None:
            self._loop.call_soon_threadsafe(self._leave, key, job)
            await watcher.aclose()
            log.info("watcher left", room=key.room, reason=reason)

        context.add_shutdown_callback(end)
        await watcher.start()
        log.info("watcher joined", room=key.room)
