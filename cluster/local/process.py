"""One supervised server process: start, probe, log, restart and stop it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from cluster.core.log import get_logger
from cluster.local.files import LogFile
from cluster.local.lifecycle import RestartBudget, RestartPolicy, State, Trigger, advance
from cluster.local.probes import Probe
from pipelines.clock import Clock
from pipelines.errors import AtalaiaError, UnavailableError

log = get_logger("cluster.local.process")

SUBREAPER = Path(__file__).with_name("subreaper.py")

# Interval of health probes. Three consecutive failures mean a hang; a single one is just load.
HEALTH_INTERVAL_S = 5.0
HEALTH_FAILURES = 3
# Interval of readiness probes; these servers take 0.05 s to 1 s to start.
READY_POLL_S = 0.1
# Time for the subreaper, after its own deadline, to reap the processes that it killed.
SUBREAPER_MARGIN_S = 6.0
PUMP_CHUNK = 65_536
"""Bytes per read of a server's output: the size of a Linux pipe."""


def supervised_argv(argv: tuple[str, ...], grace_s: float) -> list[str]:
    """The command line that runs `argv` under a subreaper, owned by this process."""
    return [sys.executable, "-I", "-S", str(SUBREAPER), str(os.getpid()), str(grace_s), "--", *argv]


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """How to run and probe a server.

    Attributes:
        name: for logs and messages; also the log file's name.
        argv: command line; never contains a secret, as every user of the machine can read it.
        prepare: called before every start, e.g. to write the configuration file.
        cleanup: called in a thread when the process has been stopped for good, once.
        environment: added to this process's environment.
    """

    name: str
    argv: tuple[str, ...]
    probe: Probe
    log_dir: Path
    prepare: Callable[[], None] = lambda: None
    cleanup: Callable[[], None] = lambda: None
    environment: Mapping[str, str] = field(default_factory=dict)
    start_timeout_s: float = 20.0
    stop_timeout_s: float = 8.0
    health_interval_s: float = HEALTH_INTERVAL_S
    restart: RestartPolicy = field(default_factory=RestartPolicy)


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """The current status of a process.

    Attributes:
        pid: of the server itself, not of its subreaper; None while it does not run.
        start_s: seconds from the latest start until ready; None before that.
        reason: why it was last lost; empty if it never was.
        log_tail: last lines of its log, oldest first, credentials redacted.
    """

    name: str
    state: State
    pid: int | None
    restarts: int
    start_s: float | None
    reason: str
    log_path: Path
    log_tail: tuple[str, ...] = ()


class SupervisedProcess:
    """Owns one server process from `start` to `aclose`.

    Args:
        spec: what to run.
        clock: for start times and the restart budget.
        rng: for the jitter of restarts.
        on_change: called in the event loop after every change of state.
    """

    def __init__(
        self,
        spec: ProcessSpec,
        *,
        clock: Clock,
        rng: random.Random | None = None,
        on_change: Callable[[ProcessStatus], None] = lambda _: None,
    ) -> None:
        self.spec = spec
        self._clock = clock
        self._budget = RestartBudget(spec.restart, rng or random.Random())
        self._on_change = on_change
        self._state = State.IDLE
        self._settled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._log: LogFile | None = None
        self._restarts = 0
        self._start_s: float | None = None
        self._reason = ""

    @property
    def state(self) -> State:
        return self._state

    def status(self) -> ProcessStatus:
        return ProcessStatus(
            name=self.spec.name,
            state=self._state,
            pid=self._server_pid(),
            restarts=self._restarts,
            start_s=self._start_s,
            reason=self._reason,
            log_path=self._log_path,
            log_tail=tuple(self._log.tail()) if self._log else (),
        )

    async def start(self) -> None:
        """Start the server and return once it is ready.

        Raises:
            UnavailableError: the start failed too often; includes the last log lines.
        """
        self._log = LogFile(self._log_path)
        self._advance(Trigger.START)
        self._task = asyncio.create_task(self._supervise(), name=f"supervise {self.spec.name}")
        await self._settled.wait()
        if self._state is State.FAILED:
            raise self._failure()

    async def aclose(self) -> None:
        """Stop the server: SIGTERM, then SIGKILL after `stop_timeout_s`; then clean up.
        Idempotent."""
        if self._state in (State.IDLE, State.STARTING, State.READY, State.WAITING):
            self._advance(Trigger.STOP)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
            await asyncio.to_thread(self.spec.cleanup)
        if self._state is State.STOPPING:
            self._advance(Trigger.ENDED)
        if self._log is not None:
            self._log.close()

    # -- the supervisor

    async def _supervise(self) -> None:
        while True:
            self._reason = await self._run_once()
            was_ready = self._state is State.READY
            self._advance(Trigger.LOST)
            pause_s = self._budget.take(self._clock.monotonic(), was_ready=was_ready)
            log.warning(
                "server lost", server=self.spec.name, reason=self._reason, retry_in_s=pause_s
            )
            if pause_s is None:
                self._advance(Trigger.GIVE_UP)
                return
            await asyncio.sleep(pause_s)
            self._restarts += 1
            self._advance(Trigger.RETRY)

    async def _run_once(self) -> str:
        """Run the process until it ends. Returns the reason."""
        began = self._clock.monotonic()
        try:
            self.spec.prepare()
        except (AtalaiaError, OSError) as error:
            return f"not prepared: {error}"
        process = self._process = await asyncio.create_subprocess_exec(
            *supervised_argv(self.spec.argv, self.spec.stop_timeout_s),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self.spec.environment},
            # Its own group: Ctrl-C in the terminal reaches only us, and we stop servers in order.
            start_new_session=True,
        )
        pump = asyncio.create_task(self._pump(process), name=f"log of {self.spec.name}")
        try:
            reason = await self._until_ready(process, began)
            if reason is None:
                self._start_s = self._clock.monotonic() - began
                self._advance(Trigger.BECAME_READY)
                reason = await self._until_lost(process)
            return reason
        finally:
            await self._end(process)
            await pump
            self._process = None

    async def _until_ready(self, process: asyncio.subprocess.Process, began: float) -> str | None:
        """None once the probe succeeds, else the reason why the start failed."""
        complaint: str | None = "it was not probed"
        while self._clock.monotonic() - began < self.spec.start_timeout_s:
            if process.returncode is not None:
                return _exit_reason(process.returncode)
            complaint = await self.spec.probe()
            # Something else may answer on the port after ours has died: check again.
            if complaint is None and process.returncode is None:
                return None
            await asyncio.sleep(READY_POLL_S)
        return f"not ready within {self.spec.start_timeout_s:g} s ({complaint})"

    async def _until_lost(self, process: asyncio.subprocess.Process) -> str:
        silent = 0
        while True:
            try:
                code = await asyncio.wait_for(process.wait(), self.spec.health_interval_s)
                return _exit_reason(code)
            except TimeoutError:
                complaint = await self.spec.probe()
            silent = silent + 1 if complaint else 0
            if silent >= HEALTH_FAILURES:
                return f"no longer healthy ({complaint})"

    async def _pump(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert self._log is not None
        while chunk := await process.stdout.read(PUMP_CHUNK):
            self._log.feed(chunk)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Stop the subreaper and with it the server's process tree; then kill its group."""
        if process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(
                    process.wait(), self.spec.stop_timeout_s + SUBREAPER_MARGIN_S
                )
            except TimeoutError:
                log.warning("server does not stop", server=self.spec.name)
        # If the subreaper was killed from outside, its group still contains the others.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    # -- status

    @property
    def _log_path(self) -> Path:
        return self.spec.log_dir / f"{self.spec.name}.log"

    def _server_pid(self) -> int | None:
        if self._process is None or self._process.returncode is not None:
            return None
        try:
            children = psutil.Process(self._process.pid).children()
        except psutil.NoSuchProcess:
            return None
        return children[0].pid if children else None

    def _advance(self, trigger: Trigger) -> None:
        self._state = advance(self._state, trigger)
        if self._state.settled:
            self._settled.set()
        self._on_change(self.status())

    def _failure(self) -> UnavailableError:
        last = self._log.tail(8) if self._log else []
        lines = "".join(f"\n    {line}" for line in last)
        return UnavailableError(
            f"{self.spec.name} could not be started: {self._reason}."
            + (f" Last log lines:{lines}" if lines else ""),
            hint=f"\nFull log: {self._log_path}",
        )


def _exit_reason(code: int) -> str:
    """Describe the subreaper's exit code; 128 + n means signal n, as in shells."""
    number = code - 128 if code > 128 else -code if code < 0 else 0
    if number:
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(number).name}"
    return f"ended with exit code {code}"
