"""Runs a session in the foreground: starts it, shows it, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeVar

from rich.console import Console

from cluster.cli.common import EXIT_FAILURE, show_error
from cluster.cli.view import CameraLine, RunView, make_view
from cluster.core.log import get_logger
from cluster.local.files import LOG_MAX_BYTES
from pipelines.errors import AtalaiaError

log = get_logger("cli")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CAMERA_POLL_S = 2.0
"""The controller's default interval: states do not change more often."""
# Ctrl-C under `make` arrives twice: from the terminal, and forwarded by make. Count it once.
SAME_REQUEST_S = 1.0

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
R = TypeVar("R")


class Session(Protocol[A_co]):
    """Something that runs until it is closed, or until a part of it fails for good."""

    async def start(self) -> A_co: ...

    async def wait_failed(self) -> AtalaiaError: ...

    async def aclose(self) -> None: ...


class StopRequest:
    """Stop signals. The first triggers an orderly stop; the second exits at once.

    Exiting at once leaves nothing behind either: every server has a subreaper that notices it.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._requested = asyncio.Event()
        self._requested_at = 0.0

    async def wait(self) -> None:
        await self._requested.wait()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._on, number)
        try:
            yield
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)

    def _on(self, number: signal.Signals) -> None:
        now = asyncio.get_running_loop().time()
        if self.signal is not None:
            if now - self._requested_at > SAME_REQUEST_S:
                os._exit(128 + number)
            return
        self.signal, self._requested_at = number, now
        self._requested.set()


@contextlib.contextmanager
def quiet_stderr(log_path: Path) -> Iterator[TextIO]:
    """Send file descriptor 2 to `log_path` and yield the real one.

    Ray's and LiveKit's native code write to the descriptor itself and would garble the live view.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    if log_path.exists() and log_path.stat().st_size > LOG_MAX_BYTES:
        flags |= os.O_TRUNC
    target = os.open(log_path, flags, 0o600)
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(target, 2)
    os.close(target)
    real = os.fdopen(os.dup(kept), "w", encoding="utf-8")
    try:
        yield real
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)
        real.close()


async def run_session(
    make: Callable[[RunView], Session[A]],
    *,
    describe: Callable[[A], Iterable[tuple[str, str]]],
    cameras: Callable[[A], Awaitable[list[CameraLine]]] | None,
    log_path: Path,
) -> int:
    """Start, show and end a session.

    Args:
        make: builds the session, which reports its progress to the view.
        describe: labels and values to show once it runs.
        cameras: polled every two seconds for the states of the cameras; None: not shown.
        log_path: receives stderr while a terminal shows the live view, and during the stop.

    Returns:
        0 after a requested stop, 1 after a failure, 128 + signal when stopped during the start.

    Raises:
        AtalaiaError: the session did not start. It has been closed.
    """
    console = Console(highlight=False)
    stop = StopRequest()
    with contextlib.ExitStack() as stack:
        stack.enter_context(stop.installed())
        if console.is_terminal:
            stack.enter_context(quiet_stderr(log_path))
        view = make_view(console)
        stack.callback(view.close)
        view.step("Loading")  # Ray and the media libraries take seconds
        session = make(view)
        try:
            started = await _until_stopped(session.start(), stop)
            if started is None:
                return 128 + (stop.signal or signal.SIGINT)
            view.ready(describe(started))
            async with _watched(started, cameras, view):
                failure = await _until_stopped(session.wait_failed(), stop)
        finally:
            view.stopping()
            with contextlib.ExitStack() as stop_log:
                if not console.is_terminal:
                    # Ray says that its own controller, which is being stopped, was killed.
                    stop_log.enter_context(quiet_stderr(log_path))
                await session.aclose()
    if failure is not None:
        show_error(failure)
        return EXIT_FAILURE
    return 0


async def _until_stopped(work: Coroutine[Any, Any, R], stop: StopRequest) -> R | None:
    """The result of `work`, or None if a stop was requested first; `work` has ended either way."""
    doing = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({doing, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        return None
    finally:
        for task in (doing, stopped):
            task.cancel()
        await asyncio.gather(doing, stopped, return_exceptions=True)


@contextlib.asynccontextmanager
async def _watched(
    started: A, cameras: Callable[[A], Awaitable[list[CameraLine]]] | None, view: RunView
) -> AsyncIterator[None]:
    """Update the cameras' states in the view while the block runs."""

    async def watch(fetch: Callable[[A], Awaitable[list[CameraLine]]]) -> None:
        while True:
            try:
                view.cameras(await fetch(started))
            except AtalaiaError as error:
                log.warning("cannot fetch the cameras", error=error.message)
            await asyncio.sleep(CAMERA_POLL_S)

    task = asyncio.create_task(watch(cameras)) if cameras is not None else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
