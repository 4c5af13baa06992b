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
# Ctrl-C under `make` arrives twice: from the terminal, and passed on by make. One is meant.
SAME_REQUEST_S = 1.0

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
R = TypeVar("R")


class Session(Protocol[A_co]):
    """Something that runs until it is closed, or until a part of it is lost for good."""

    async def start(self) -> A_co: ...

    async def wait_failed(self) -> AtalaiaError: ...

    async def aclose(self) -> None: ...


class StopRequest:
    """Signals that ask us to stop. The first is obeyed in order; the second ends at once.

    Ending at once leaves nothing behind either: every server has a subreaper that notices our exit.
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

    Not only Python's: Ray's and LiveKit's native code write there too, and would tear the picture.
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
        make: builds the session; it tells the view what happens.
        describe: what to show once it runs: label and value.
        cameras: asked every two seconds for the state of the cameras; None: they are not shown.
        log_path: where stderr goes while a terminal shows the picture.

    Returns:
        0 after a stop that was asked for, 1 after a failure, 128 + signal when stopped before
        everything ran.

    Raises:
        AtalaiaError: it did not start. It has been closed.
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
            await session.aclose()
    if failure is not None:
        show_error(failure)
        return EXIT_FAILURE
    return 0


async def _until_stopped(work: Coroutine[Any, Any, R], stop: StopRequest) -> R | None:
    """What `work` returns, or None when a stop was asked for first; `work` has ended either way."""
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
    """Keep the cameras' states in the view while the block runs."""

    async def watch(fetch: Callable[[A], Awaitable[list[CameraLine]]]) -> None:
        while True:
            try:
                view.cameras(await fetch(started))
            except AtalaiaError as error:
                log.warning("cannot ask for the cameras", error=error.message)
            await asyncio.sleep(CAMERA_POLL_S)

    task = asyncio.create_task(watch(cameras)) if cameras is not None else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
