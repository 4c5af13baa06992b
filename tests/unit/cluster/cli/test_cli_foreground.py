"""A session in the foreground: how it ends decides the exit code, and it is always closed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.cli.foreground import run_session
from cluster.cli.view import CameraLine, RunView
from pipelines.domain import CameraState
from pipelines.errors import AtalaiaError, UnavailableError


class Scripted:
    """A fake session with a given start and end."""

    def __init__(
        self,
        view: RunView,
        start: Callable[[], None] = lambda: None,
        *,
        starts: bool = True,
        failure: AtalaiaError | None = None,
    ) -> None:
        self.view = view
        self.closed = 0
        self._start, self._starts, self._failure = start, starts, failure

    async def start(self) -> str:
        self.view.step("starting it")
        self._start()
        if not self._starts:
            await asyncio.Event().wait()
        return "http://127.0.0.1:1"

    async def wait_failed(self) -> AtalaiaError:
        if self._failure is None:
            await asyncio.Event().wait()
        assert self._failure is not None
        return self._failure

    async def aclose(self) -> None:
        self.closed += 1
        os.write(2, b"(raylet) the controller was killed\n")


def signalled(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


def fail() -> None:
    raise UnavailableError("no way")


async def run(tmp_path: Path, make: Callable[[RunView], Scripted]) -> tuple[int, Scripted]:
    made: list[Scripted] = []

    def keep(view: RunView) -> Scripted:
        made.append(make(view))
        return made[0]

    async def cameras(api: str) -> list[CameraLine]:
        return [CameraLine("acme", "gate", CameraState.LIVE, "")]

    code = await run_session(
        keep,
        describe=lambda api: [("Dashboard", api)],
        cameras=cameras,
        log_path=tmp_path / "log" / "a.log",
    )
    return code, made[0]


async def test_what_ray_says_while_it_is_stopped_is_in_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    await run(tmp_path, lambda view: Scripted(view, failure=UnavailableError("livekit was lost")))
    shown = capfd.readouterr()
    assert "raylet" not in shown.out + shown.err
    assert "livekit was lost" in shown.err
    assert "the controller was killed" in (tmp_path / "log" / "a.log").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_requested_stop_is_not_a_failure(
    number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(view: RunView) -> Scripted:
        loop = asyncio.get_running_loop()
        return Scripted(view, lambda: loop.call_later(0.05, signalled, number) and None)

    code, session = await run(tmp_path, make)
    assert (code, session.closed) == (0, 1)
    output = capsys.readouterr().out
    for words in ("starting it", "Dashboard: http://127.0.0.1:1", "acme/gate is live", "stopped"):
        assert words in output


async def test_a_stop_during_the_start_sets_the_exit_code(tmp_path: Path) -> None:
    code, session = await run(
        tmp_path, lambda view: Scripted(view, lambda: signalled(signal.SIGTERM), starts=False)
    )
    assert (code, session.closed) == (128 + 15, 1)


async def test_a_part_lost_for_good_ends_the_session_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failure = UnavailableError("livekit was lost", hint="The whole log: x")
    code, session = await run(tmp_path, lambda view: Scripted(view, failure=failure))
    assert (code, session.closed) == (1, 1)
    assert "livekit was lost" in capsys.readouterr().err


async def test_a_start_that_fails_is_closed_and_raised(tmp_path: Path) -> None:
    made: list[Scripted] = []

    def make(view: RunView) -> Scripted:
        made.append(Scripted(view, fail))
        return made[0]

    with pytest.raises(UnavailableError, match="no way"):
        await run(tmp_path, make)
    assert made[0].closed == 1


async def test_the_same_request_twice_is_one_request(tmp_path: Path) -> None:
    """Ctrl-C under make comes from the terminal and from make."""

    def make(view: RunView) -> Scripted:
        loop = asyncio.get_running_loop()

        def twice() -> None:
            signalled(signal.SIGINT)
            signalled(signal.SIGTERM)

        return Scripted(view, lambda: loop.call_later(0.05, twice) and None)

    code, session = await run(tmp_path, make)
    assert (code, session.closed) == (0, 1)
